-- Say how many viewers a web replica has, and learn how many there are in all.
-- KEYS  1 viewers  HASH  replica → '{count} {expires ms}'
-- ARGV  1 replica  2 count, 0 to leave  3 how long it counts, in ms
-- Reply viewers over all replicas
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
if ARGV[2] == '0' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. string.format('%.0f', now + ARGV[3]))
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
local viewers, seen = 0, redis.call('HGETALL', KEYS[1])
for i = 1, #seen, 2 do
  local count, expires = seen[i + 1]:match('^(%d+) (%d+)$')
  if count and tonumber(expires) > now then
    viewers = viewers + tonumber(count)
  else
    redis.call('HDEL', KEYS[1], seen[i])  -- a replica that died without leaving
  end
end
return viewers
