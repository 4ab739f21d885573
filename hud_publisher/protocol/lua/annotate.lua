-- Append annotations and alerts and save the monitor's position in one step, so that each of them exists exactly once.
-- KEYS  1 lease        STRING  token of the replica that monitors the channel
--       2 memory       HASH    version, memory (JSON: positions and detectors), rhythm, not_finite and verdict (JSON)
--       3 annotations  STREAM  4 info  HASH  of the session; the two keys before it stay as long as it
--       5 alerts  STREAM  of the channel, to be delivered
-- ARGV  1 token of this replica  2 version that the memory has now, 0 for none  3 new memory  4 rhythm
--       5 not_finite  6 verdict  7 longest stream in entries and 8 in bytes
--       9 number of annotations, then for each: field count, fields …
--       then the TTL of the alerts in ms, their greatest number in the stream, the number of new ones, and those alike
-- Reply {'saved'}, or {'lost'}: the lease or the position belongs to another replica, or the session is gone
local lease, memory, annotations, info, alerts = unpack(KEYS)
local token, version, saved, rhythm, not_finite, verdict, most_entries, most_bytes, number = unpack(ARGV, 1, 9)
local read = arguments_after(9)

if redis.pcall('GET', lease) ~= token then return {'lost'} end
local stored = safe_call('HGET', memory, 'version') or '0'
if not (stored:match('^%d+$') and #stored <= 15) then stored = '0' end  -- as readers take a text that is no version
if stored ~= version then return {'lost'} end
local left = redis.call('PTTL', info)
if left == -2 then return {'lost'} end
for _ = 1, tonumber(number) do
  safe_call('XADD', annotations, 'MAXLEN', '~', most_entries, '*', read(tonumber(read(1))))
end
local alerts_ttl, most_alerts, new_alerts = read(3)
for _ = 1, tonumber(new_alerts) do
  safe_call('XADD', alerts, 'MAXLEN', '~', most_alerts, '*', read(tonumber(read(1))))
end
if new_alerts ~= '0' then redis.call('PEXPIRE', alerts, alerts_ttl) end
local used = number ~= '0' and redis.pcall('MEMORY', 'USAGE', annotations)
if type(used) == 'number' and used > tonumber(most_bytes) then
  redis.call('XTRIM', annotations, 'MAXLEN', '~', math.floor(redis.call('XLEN', annotations) * 0.9))
end
redis.call('HSET', memory, 'version', digits(tonumber(version) + 1), 'memory', saved, 'rhythm', rhythm,
  'not_finite', not_finite, 'verdict', verdict)
if left >= 0 then
  for _, key in ipairs({memory, annotations}) do redis.call('PEXPIRE', key, left) end
end
return {'saved'}
