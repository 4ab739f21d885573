-- Remove a session that does not hold its channel, with all its keys.
-- KEYS  1 lock  STRING  the session id of the holder   2 sessions  ZSET  index of the channel's sessions
--       3 info  HASH    of the session; other keys extend its name
-- ARGV  1 sid
-- Reply 'deleted' | 'live' | 'unknown'
local lock, sessions, info = KEYS[1], KEYS[2], KEYS[3]
local sid = ARGV[1]

if fence_of(redis.pcall('GET', lock)) == sid then return 'live' end
local is_known = redis.call('EXISTS', info) == 1
drop(info, NUMBERS)
drop(info, PICTURES)
local is_indexed = redis.pcall('ZREM', sessions, sid) == 1
return (is_known or is_indexed) and 'deleted' or 'unknown'
