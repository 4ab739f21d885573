-- Free the channel: by its holder, or by any caller when forced (reset). Idempotent.
-- KEYS  1 lock  2 fence  3 events  4 prefix of the session hashes
-- ARGV  1 session id, or '' to force  2 reason ('released' | 'reset')  3 longest events stream
-- Reply {'released' | 'not held', SID or ''}
local lock, fence, events, prefix = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local session_id, reason, most_events = ARGV[1], ARGV[2], ARGV[3]

local held = redis.pcall('GET', lock)
if not held or (session_id ~= '' and held ~= session_id) then return {'not held', ''} end
redis.call('DEL', lock)
local sid = fence_of(held) or fence_in(fence)
if not sid then return {'not held', ''} end
local info = prefix .. sid
local name = redis.pcall('HGET', info, 'name')
if type(name) == 'string' then  -- a hash or stream created here would have no TTL
  redis.call('HSET', info, 'ended', digits(now_ms()), 'ended_by', reason)
  if redis.call('HGET', info, 'pinned') == '1' then
    each_part(info, function(key) redis.call('PERSIST', key) end)
  end
end
redis.pcall('XADD', events, 'NOMKSTREAM', 'MAXLEN', '~', most_events, '*', 'kind', 'ended', 'sid', sid,
  'name', type(name) == 'string' and name or '')
return {'released', sid}
