-- Store the number of viewers of a web replica and return the number over all replicas.
-- KEYS  1 viewers  HASH  replica → '{count} {expires ms}'
-- ARGV  1 replica  2 count, 0 to leave  3 how long it counts, in ms
-- Reply viewers over all replicas
local viewers = KEYS[1]
local replica, own_count, lasts_ms = ARGV[1], ARGV[2], ARGV[3]

local now = now_ms()
if own_count == '0' then
  safe_call('HDEL', viewers, replica)
else
  safe_call('HSET', viewers, replica, own_count .. ' ' .. digits(now + lasts_ms))
  redis.call('PEXPIRE', viewers, lasts_ms)
end
local total, flat = 0, redis.call('HGETALL', viewers)
for i = 1, #flat, 2 do
  local count, expires = flat[i + 1]:match('^(%d+) (%d+)$')
  if count and tonumber(expires) > now then
    total = total + math.min(tonumber(count), 1e6)
  else
    redis.call('HDEL', viewers, flat[i])  -- a replica that died without leaving
  end
end
return total
