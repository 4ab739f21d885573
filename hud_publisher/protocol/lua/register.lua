-- Take a free channel, join one's own run's session, or learn who holds it.
-- KEYS  1 lock    STRING  the session id of the holder, with the lease as its TTL
--       2 fence   STRING  the newest session's fence (SID); no TTL
--       3 events  STREAM  what happened to the channel's sessions
--       4 sessions ZSET   SIDs, scored by themselves
--       5 prefix          s:{SID} hashes are prefix .. SID; the fence is chosen here, so their names end here too
-- ARGV  1 channel  2 new secret  3 digest of the run id ('' joins nobody)  4 ttl in ms
--       5 '1' to take over  6 retention in ms  7 longest events stream  8 sessions and 9 bytes to keep besides the new
--       one (forget.lua)  10 … name, value of the session hash
-- Reply {'registered' | 'joined' | 'held', session id or '', SID, name, started ms, TTL left in ms}
local held = redis.call('GET', KEYS[1])
local sid = redis.call('GET', KEYS[2])
local info = KEYS[5] .. (sid or '')
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local same_run = sid and ARGV[3] ~= '' and redis.call('HGET', info, 'run') == ARGV[3]

local function tell(kind)
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[7], '*', 'kind', kind, 'sid', sid,
    'name', redis.call('HGET', info, 'name') or '')
end
local function reply(status, id)
  return {status, id, sid, redis.call('HGET', info, 'name') or '', redis.call('HGET', info, 'started') or '0',
    redis.call('PTTL', KEYS[1])}
end

if held and same_run then
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  tell('joined')
  return reply('joined', held)
end
if held and ARGV[5] ~= '1' then
  return reply('held', '')
end
local ended = sid and redis.call('HGET', info, 'ended')
if not held and same_run and not ended then
  -- The run's own lease ran out and nobody came: it goes on in the same session, under a new secret.
  local id = ARGV[1] .. '.' .. sid .. '.' .. ARGV[2]
  redis.call('SET', KEYS[1], id, 'PX', ARGV[4])
  tell('started')
  return reply('registered', id)
end
if sid and not ended and redis.call('EXISTS', info) == 1 then
  redis.call('HSET', info, 'ended', string.format('%.0f', now), 'ended_by', held and 'taken over' or 'expired')
  tell(held and 'taken over' or 'ended')
end
-- A takeover that a failover forgot must not let the fence go back, hence the clock; a clock that went back, hence the max.
sid = string.format('%.0f', math.max((tonumber(sid) or 0) + 1, now))
info = KEYS[5] .. sid
local id = ARGV[1] .. '.' .. sid .. '.' .. ARGV[2]
redis.call('SET', KEYS[2], sid)
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], id, 'NX', 'PX', ARGV[4])
redis.call('HSET', info, 'run', ARGV[3], 'started', string.format('%.0f', now), unpack(ARGV, 10))
redis.call('PEXPIRE', info, ARGV[6])
redis.call('ZADD', KEYS[4], sid, sid)
forget(KEYS[4], KEYS[5], sid, tonumber(ARGV[8]), tonumber(ARGV[9]))
tell('started')
return reply('registered', id)
