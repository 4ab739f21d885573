-- Store the labels of a session: its tags, a note, a pin. A pinned session that has ended stays until it is
-- unpinned; then its keys stay for the retention again.
-- KEYS  1 lock  STRING  the session id of the holder   2 info  HASH  of the session; other keys extend its name
-- ARGV  1 sid  2 retention in ms  after them field, value, …: of tags (JSON list), note, pinned ('1' or '')
-- Reply 'stored' | 'unknown'
local lock, info = KEYS[1], KEYS[2]
local sid, retention = ARGV[1], ARGV[2]

if not safe_call('HGET', info, 'started') then return 'unknown' end
local was_pinned = redis.call('HGET', info, 'pinned') == '1'
redis.call('HSET', info, 'labelled', digits(now_ms()), unpack(ARGV, 3))
local is_pinned = redis.call('HGET', info, 'pinned') == '1'
if fence_of(redis.pcall('GET', lock)) ~= sid then  -- each write of a live session sets these times again
  if is_pinned then
    each_part(info, function(key) redis.call('PERSIST', key) end)
  elseif was_pinned then
    each_part(info, function(key) redis.call('PEXPIRE', key, retention) end)
  end
end
return 'stored'
