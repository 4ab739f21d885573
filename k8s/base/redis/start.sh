#!/bin/sh
# Writes who may do what, with the passwords of the Secret, and starts Redis. The passwords stand in memory only.
set -eu
umask 077
run="${RUN_FOLDER:-/run/redis}"
config="${CONFIG:-/etc/redis/redis.conf}"
for name in WEB_PASSWORD PUBLISHER_PASSWORD ADMIN_PASSWORD; do
    eval "value=\${$name:-}"
    case "$value" in
        "" | *[!A-Za-z0-9_-]*) echo "expected $name of letters, digits, '_' and '-' in the Secret zelda-hud-redis" >&2; exit 1 ;;
    esac
done

# Commands of the scripts in hud_publisher/protocol/lua: Redis checks a script's commands against its caller's rights.
writes="+evalsha +get +set +del +exists +pexpire +persist +pttl +time +hget +hmget +hset +hdel +hvals +hgetall +hlen +hexists +xadd +xlen +xtrim +zadd +zrange +zrem +zremrangebyscore +zremrangebyrank +memory|usage"
# Replicas also read, and they load the scripts. Publishers may run only loaded scripts: one of their own could block Redis.
reads="+eval +script|exists +script|load +xread +xrange +xrevrange +xinfo +zcard +zrevrange +multi +exec +discard"
anyone="+auth +hello +ping +select +echo +quit +reset +info"
cat >"$run/users.acl" <<ACL
user default off
user probe on nopass resetkeys resetchannels -@all +ping
user web on >$WEB_PASSWORD ~hud:* resetchannels -@all $anyone $writes $reads
user publisher on >$PUBLISHER_PASSWORD ~hud:* resetchannels -@all $anyone $writes
user admin on >$ADMIN_PASSWORD ~* &* +@all
ACL
exec redis-server "$config" --dir "${DATA_FOLDER:-/data}" --aclfile "$run/users.acl" "$@"
