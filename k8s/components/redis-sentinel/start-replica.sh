#!/bin/sh
# One of three: primary if the Sentinels say so, or if nobody knows and this is the first; else a replica of the primary.
set -eu
umask 077
. /etc/redis/find-primary.sh
{
    cat /etc/redis/redis.conf
    echo "replica-announce-ip $own"
    # Replicas log in as the one user that may copy everything.
    echo "masteruser admin"
    echo "masterauth $ADMIN_PASSWORD"
    # A reader of an old primary would see entries that the new one never had.
    echo "replica-serve-stale-data no"
    [ "$primary" = "$own" ] || echo "replicaof $primary 6379"
} >/run/redis/redis.conf
CONFIG=/run/redis/redis.conf exec sh /etc/redis/start.sh
