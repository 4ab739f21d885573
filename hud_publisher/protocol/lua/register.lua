-- Take a free channel, join the session of the caller's own run, or report the holder.
-- KEYS  1 lock    STRING  the session id of the holder, with the lease as its TTL
--       2 fence   STRING  the newest session's fence (SID); no TTL
--       3 events  STREAM  events of the channel's sessions
--       4 sessions ZSET   SIDs, scored by themselves
--       5 prefix          s:{SID} hashes are prefix .. SID; this script chooses the fence, so it completes their names
--       6 aside   STRING  number of the channel in which this run continues, because it found this one held
-- ARGV  1 channel  2 new secret  3 digest of the run id ('' joins no session)  4 ttl in ms
--       5 '1' to take over  6 retention in ms  7 longest events stream  8 sessions and 9 bytes to keep besides the new
--       one (forget.lua)  10 name of the run  11 its describing fields, one JSON object  12 role → path, one JSON object
--       13 '1' to continue the run's own session only  14 how long the note in `aside` stays, in ms
-- Reply {'registered' | 'joined' | 'held' | 'ended' (nothing to continue), session id or '', SID, name, started ms,
--        TTL left in ms, ms since the holder's main process wrote or ''}, or {'aside', number}
-- The lock is written last: an error before it leaves the channel as free as it was.
local lock, fence, events, sessions, prefix, aside = unpack(KEYS)
local channel, secret, run, ttl, takes_over, retention = unpack(ARGV, 1, 6)
local most_events, most_sessions, most_bytes, run_name, description, roles = unpack(ARGV, 7, 12)
local continues_only, note_ms = unpack(ARGV, 13, 14)

local held = redis.pcall('GET', lock)
local holder = fence_of(held)
local sid = fence_in(fence)
if not holder then held = false end  -- a text that is no session id holds nothing
if holder and (not sid or tonumber(holder) > tonumber(sid)) then sid = holder end  -- the fence's key is missing or old
local info = prefix .. (sid or '')
local now = now_ms()
local same_run = sid and run ~= '' and safe_call('HGET', info, 'run') == run

local unwritten = unwritten_ms(ttl, retention)
local function new_session_id() return channel .. '.' .. sid .. '.' .. secret end
local function append_event(kind)
  safe_call('XADD', events, 'MAXLEN', '~', most_events, '*', 'kind', kind, 'sid', sid,
    'name', redis.call('HGET', info, 'name') or '')
  stay_at_least(events, unwritten)
end
local function reply(status, id)
  local wrote = tonumber(redis.call('HGET', info, 'main_ms') or '')
  return {status, id, sid, redis.call('HGET', info, 'name') or '', redis.call('HGET', info, 'started') or '0',
    redis.call('PTTL', lock), wrote and digits(math.max(0, now - wrote)) or ''}
end

if held and same_run then
  redis.call('PEXPIRE', lock, ttl)
  append_event('joined')
  return reply('joined', held)
end
if continues_only ~= '1' and takes_over ~= '1' and run ~= '' then
  local number = redis.pcall('GET', aside)
  if type(number) == 'string' and number:match('^[1-9]%d?%d?%d?$') then
    redis.call('PEXPIRE', aside, note_ms)
    return {'aside', number}
  end
end
if held and takes_over ~= '1' then
  safe_call('HGET', info, 'name')
  return reply('held', '')
end
local ended = sid and safe_call('HGET', info, 'ended')
if continues_only == '1' and (not same_run or ended) then return {'ended', '', sid or '', '', '0', 0, ''} end
if not held and same_run and not ended then
  -- The run's own lease ran out and no other run came: the session continues under a new secret.
  local id = new_session_id()
  redis.call('SET', lock, id, 'PX', ttl)
  append_event('started')
  return reply('registered', id)
end
if sid and not ended and redis.call('EXISTS', info) == 1 then
  redis.call('HSET', info, 'ended', digits(now), 'ended_by', held and 'taken over' or 'expired')
  append_event(held and 'taken over' or 'ended')
end
-- The clock keeps the fence growing after a failover that lost a takeover; the max does so after the clock went back.
sid = digits(math.max((tonumber(sid) or 0) + 1, now))
info = prefix .. sid
local id = new_session_id()
redis.call('SET', fence, sid)
safe_call('HSET', info, 'run', run, 'started', digits(now), 'name', run_name, 'info', description, 'roles', roles)
redis.call('PEXPIRE', info, unwritten)
safe_call('ZADD', sessions, sid, sid)
stay_at_least(sessions, unwritten)
forget(sessions, prefix, sid, tonumber(most_sessions), tonumber(most_bytes))
append_event('started')
redis.call('SET', lock, id, 'PX', ttl)
return reply('registered', id)
