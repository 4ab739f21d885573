#!/bin/sh
# A Sentinel: anybody who reaches it may ask who is primary; only Sentinels may change that.
set -eu
umask 077
. /etc/redis/find-primary.sh
cat >/run/sentinel/sentinel.conf <<CONF
bind * -::*
port 26379
protected-mode no
dir /run/sentinel
sentinel announce-ip $own
sentinel monitor zelda-hud $primary 6379 2
sentinel auth-user zelda-hud admin
sentinel auth-pass zelda-hud $ADMIN_PASSWORD
# 3 s of silence and a primary counts as lost: below the time in which viewers notice, above a slow disk's pause.
sentinel down-after-milliseconds zelda-hud 3000
sentinel failover-timeout zelda-hud 10000
sentinel parallel-syncs zelda-hud 1
sentinel sentinel-user sentinel
sentinel sentinel-pass $ADMIN_PASSWORD
user sentinel on >$ADMIN_PASSWORD allchannels +@all
user default on nopass resetchannels -@all +ping +auth +hello +sentinel|masters +sentinel|master +sentinel|replicas +sentinel|slaves +sentinel|get-master-addr-by-name
CONF
exec redis-server /run/sentinel/sentinel.conf --sentinel
