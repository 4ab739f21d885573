-- Append one batch, if and only if its session still holds the channel; with no entries it is the heartbeat.
-- KEYS  1 lock     STRING  the session id of the holder
--       2 info     HASH    of the session        3 state  HASH  path → '{entry id} {JSON}'
--       4 seq      HASH    writer → number of its last batch
--       5 metrics  6 iterations  7 frames  8 thumbs  9 vision  STREAMs
--      10 viewers  HASH    replica → '{count} {expires ms}'      11 reporter  STRING  the wanted env
--      12 past and 13 piece of metrics, 14 past and 15 piece of iterations: see fold.lua, which stands before this
-- ARGV  1 session id (holds the fence)  2 ttl in ms  3 retention in ms  4 writer  5 batch number, 0 for a heartbeat
--       6 env that claims to be the reporter, or ''  7 '1' if it is the one that was asked for
--       8 number of entries, then for each: KEYS index, longest stream in entries and in bytes (0: any), greatest age in
--         ms (0: any), field count, fields …
--       after them: number of state fields, then path, JSON …
-- Reply {'ok' | 'duplicate' | 'lost' | 'full', viewers, wanted reporter or '', id of the last entry or '',
--        env that is the reporter or '', ms since it last said so}
local SILENT_MS = 10000  -- after so long without a claim another env may be the reporter
local CLAIM_MS = 250  -- a claim that only says the same again is written down so often
local MOST_FIELDS = 10000  -- values.MAX_STATE_FIELDS: names that change with every step must not fill the memory
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local shown, since = '', 0
local function side(status, id)
  local viewers = 0
  for _, seen in ipairs(redis.call('HVALS', KEYS[10])) do
    local count, expires = seen:match('^(%d+) (%d+)$')
    if count and tonumber(expires) > now then viewers = viewers + tonumber(count) end
  end
  return {status, viewers, redis.call('GET', KEYS[11]) or '', id, shown, now - since}
end

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return side('lost', '') end
-- Redis checks maxmemory at a script's first write only: SET is refused when memory is full, so it comes first and the
-- streams cannot outgrow the limit; PEXPIRE never is, so the lease survives.
local renewed = redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if renewed.err then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
local known = redis.call('HMGET', KEYS[2], 'shown', 'shown_ms')
shown, since = known[1] or '', tonumber(known[2] or 0)
if ARGV[6] ~= '' and (ARGV[6] == shown or ARGV[7] == '1' or now - since > SILENT_MS) then
  if ARGV[6] ~= shown or now - since > CLAIM_MS then
    redis.call('HSET', KEYS[2], 'shown', ARGV[6], 'shown_ms', string.format('%.0f', now))
  end
  shown, since = ARGV[6], now
end
-- Who was shown until just now goes on for a moment: its frames would stand between those of the env that is shown.
local passes_frames = ARGV[6] == '' or ARGV[6] == shown
local number = tonumber(ARGV[5])
if number > 0 and number <= tonumber(redis.call('HGET', KEYS[4], ARGV[4]) or 0) then return side('duplicate', '') end
if renewed.err and ARGV[8] ~= '0' then return side('full', '') end

local function keep(i) redis.call('PEXPIRE', KEYS[i], ARGV[3]) end
local at, id, oldest = 9, '', nil
local most = {}  -- bytes by stream
local fresh = {[5] = {}, [6] = {}}  -- what the history takes up, by stream
for _ = 1, tonumber(ARGV[8]) do
  local stream, count = tonumber(ARGV[at]), tonumber(ARGV[at + 4])
  local key = KEYS[stream]
  if stream ~= 7 or passes_frames then
    id = redis.call('XADD', key, 'NOMKSTREAM', 'MAXLEN', '~', ARGV[at + 1], '*', unpack(ARGV, at + 5, at + 4 + count))
    if not id then  -- the stream's first entry
      id = redis.call('XADD', key, '*', unpack(ARGV, at + 5, at + 4 + count))
      keep(stream)
    end
    most[stream] = tonumber(ARGV[at + 2])
    if ARGV[at + 3] ~= '0' then
      oldest = tonumber(id:match('^%d+')) - tonumber(ARGV[at + 3])
      redis.call('XTRIM', key, 'MINID', '~', string.format('%.0f', oldest))
    end
  end
  if fresh[stream] then
    local known = {}
    for i = at + 5, at + 4 + count, 2 do known[ARGV[i]] = ARGV[i + 1] end
    table.insert(fresh[stream], id .. ' ' .. known.time .. ' ' .. (known.step or '') .. ' ' .. known.data)
  end
  at = at + 5 + count
end
for stream, bytes in pairs(most) do
  local used = bytes > 0 and redis.pcall('MEMORY', 'USAGE', KEYS[stream])
  if type(used) == 'number' and used > bytes then
    redis.call('XTRIM', KEYS[stream], 'MAXLEN', '~', math.floor(redis.call('XLEN', KEYS[stream]) * 0.9))
  end
end
local states, room = tonumber(ARGV[at]), MOST_FIELDS - redis.call('HLEN', KEYS[3])
local fields, added = {}, 0
local function lay_down()
  added, fields = added + redis.call('HSET', KEYS[3], unpack(fields)), {}
end
for i = at + 1, at + 2 * states, 2 do
  if states <= room or added < room or redis.call('HEXISTS', KEYS[3], ARGV[i]) == 1 then
    fields[#fields + 1], fields[#fields + 2] = ARGV[i], id .. ' ' .. ARGV[i + 1]
    -- Where not all may fit, each is counted before the next. Lua's stack holds a few thousand values.
    if states > room or #fields == 1000 then lay_down() end
  end
end
if #fields > 0 then lay_down() end
local is_first = number > 0 and redis.call('HSET', KEYS[4], ARGV[4], ARGV[5]) == 1
for stream, entries in pairs(fresh) do
  local past, piece = KEYS[2 * stream + 2], KEYS[2 * stream + 3]
  if #entries > 0 then
    local is_done, why = pcall(fold, past, piece, entries, ARGV[3])
    -- What goes wrong with the history must not cost the entries, nor go unseen.
    if not is_done then redis.call('HSET', piece, 'error', type(why) == 'table' and why.err or tostring(why)) end
  end
end
-- To put off the end of every key at every write would be half of the script. It is done when a hundredth of the time
-- is over; until then for those alone that may be new.
if redis.call('PTTL', KEYS[2]) < 0.99 * ARGV[3] then
  for i = 2, 15 do
    if i ~= 10 and i ~= 11 then keep(i) end
  end
else
  if added > 0 then keep(3) end
  if is_first then keep(4) end
end
return side('ok', id)
