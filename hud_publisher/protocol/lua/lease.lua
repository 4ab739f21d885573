-- Take or renew the lease of a channel's monitor, and read the state of the session that it monitors.
-- KEYS  1 lease  STRING  token of the replica that monitors the channel
--       2 fence  STRING  the newest session's fence (SID)        3 lock  STRING  the holder's session id
-- ARGV  1 token of this replica  2 TTL of the lease in ms
-- Reply {1 if the lease is ours, else 0, SID or '', ms left of the session's own lease or below 0, Unix time in ms}
local lease, fence, lock = KEYS[1], KEYS[2], KEYS[3]
local token, ttl = ARGV[1], ARGV[2]

local holder = safe_call('GET', lease)
local is_ours = holder == token
if not holder then
  redis.call('SET', lease, token, 'PX', ttl)
  is_ours = true
elseif is_ours then
  redis.call('PEXPIRE', lease, ttl)
end
return {is_ours and 1 or 0, fence_in(fence) or '', redis.call('PTTL', lock), now_ms()}
