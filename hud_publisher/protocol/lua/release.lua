-- Free the channel: by its holder, or by anyone when forced (reset). Idempotent.
-- KEYS  1 lock  2 fence  3 events  4 prefix of the session hashes
-- ARGV  1 session id, or '' to force  2 what ended it ('released' | 'reset')  3 longest events stream
-- Reply {'released' | 'not held', SID or ''}
local held = redis.call('GET', KEYS[1])
if not held or (ARGV[1] ~= '' and held ~= ARGV[1]) then return {'not held', ''} end
local sid = redis.call('GET', KEYS[2])
local info = KEYS[4] .. sid
local now = redis.call('TIME')
redis.call('DEL', KEYS[1])
redis.call('HSET', info, 'ended', string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000)), 'ended_by', ARGV[2])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], '*', 'kind', 'ended', 'sid', sid,
  'name', redis.call('HGET', info, 'name') or '')
return {'released', sid}
