-- Remove a channel from the index of channels with alerts to deliver, unless it has newer alerts.
-- KEYS  1 index  ZSET  channel → time of its newest alert in ms
-- ARGV  1 channel  2 the time that the index had
for _, name in ipairs(safe_call('ZRANGE', KEYS[1], ARGV[2], ARGV[2], 'BYSCORE')) do
  if name == ARGV[1] then redis.call('ZREM', KEYS[1], name) end
end
