# Sets `own`, the address of this pod's server, and `primary`; read by both start scripts.
# Each server has an address of its own that stays when its pod moves (services.yaml).
address() { getent ahostsv4 "zelda-hud-redis-node-$1" | awk 'NR == 1 { print $1 }'; }
until own="$(address "${HOSTNAME##*-}")" && first="$(address 0)" && [ -n "$own" ] && [ -n "$first" ]; do sleep 0.5; done
# A Sentinel that knows who is primary; none answers while all start for the first time.
primary=""
for node in 0 1 2; do
    [ -n "$primary" ] && break
    primary="$(timeout 2 redis-cli -h "$(address $node)" -p 26379 sentinel get-master-addr-by-name zelda-hud 2>/dev/null |
        head -n 1 | tr -d '"')" || true
    case "$primary" in *[!0-9.]*) primary="" ;; esac
done
[ -n "$primary" ] || primary="$first"
