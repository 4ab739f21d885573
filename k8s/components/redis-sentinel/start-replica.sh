#!/bin/sh
# One of three: primary if the Sentinels say so, or if nobody knows and this is the first; else a replica of the primary.
set -eu
umask 077
own="$(hostname).zelda-hud-redis"
first="zelda-hud-redis-0.zelda-hud-redis"
# The Sentinels of the other pods; none answers while all start for the first time.
primary="$(timeout 5 redis-cli -h zelda-hud-redis -p 26379 sentinel get-master-addr-by-name zelda-hud 2>/dev/null |
    head -n 1 | tr -d '"')" || true
case "$primary" in
    *.zelda-hud-redis) ;;
    *) primary="$first" ;;
esac
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
