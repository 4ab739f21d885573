-- Store sections of a run's configuration, if and only if its session still holds the channel.
-- KEYS  1 lock  STRING  the session id of the holder   2 config  HASH  section → JSON
-- ARGV  1 session id  2 ttl in ms  3 retention in ms  4 '1' to replace sections that are stored, '0' to leave them
--       5 most sections and 6 most bytes of the session   after them for each section: name, JSON
-- Reply {'stored' | 'lost' | 'too large'}
local lock, config = KEYS[1], KEYS[2]
local session_id, ttl, retention, replaces, most_sections, most_bytes = unpack(ARGV, 1, 6)

if redis.pcall('GET', lock) ~= session_id then return {'lost'} end
redis.call('PEXPIRE', lock, ttl)
local sections, count, size = {}, 0, 0
local known = safe_call('HGETALL', config)
for i = 1, #known, 2 do sections[known[i]] = known[i + 1] end
local fields = {}
for i = 7, #ARGV, 2 do
  if replaces == '1' or not sections[ARGV[i]] then
    sections[ARGV[i]] = ARGV[i + 1]
    fields[#fields + 1], fields[#fields + 2] = ARGV[i], ARGV[i + 1]
  end
end
for name, text in pairs(sections) do count, size = count + 1, size + #name + #text end
if count > tonumber(most_sections) or size > tonumber(most_bytes) then return {'too large'} end
if #fields > 0 then redis.call('HSET', config, unpack(fields)) end
redis.call('PEXPIRE', config, retention)
return {'stored'}
