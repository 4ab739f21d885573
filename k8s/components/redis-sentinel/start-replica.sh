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
    # A primary that reaches no replica refuses writes. Otherwise a replaced primary would acknowledge entries for the 8 s
    # until Sentinel turns it into a replica, which discards them. Replicas report once a second, so 2 s is the shortest
    # limit that a healthy replica always meets.
    echo "min-replicas-to-write 1"
    echo "min-replicas-max-lag 2"
    [ "$primary" = "$own" ] || echo "replicaof $primary 6379"
} >/run/redis/redis.conf
CONFIG=/run/redis/redis.conf exec sh /etc/redis/start.sh
