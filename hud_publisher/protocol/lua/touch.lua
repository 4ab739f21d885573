-- Record in the index of all channels that a channel is in use. The key is outside of every channel's hash tag, so on
-- Redis Cluster it lies in a different slot, and this script runs apart from the others.
-- KEYS  1 channels  ZSET  channel → time of its last activity in ms, on Redis' clock
-- ARGV  1 channel  2 how long a channel stays without activity, in ms  3 most channels; the oldest activity goes first
-- Reply 'ok'
local channels = KEYS[1]
local channel, lasts_ms, most_channels = ARGV[1], ARGV[2], ARGV[3]

local now = now_ms()
safe_call('ZADD', channels, digits(now), channel)
redis.call('ZREMRANGEBYSCORE', channels, '-inf', digits(now - lasts_ms))
redis.call('ZREMRANGEBYRANK', channels, 0, -1 - most_channels)
redis.call('PEXPIRE', channels, lasts_ms)
return 'ok'
