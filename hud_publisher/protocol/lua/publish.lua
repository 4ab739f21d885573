-- Append one batch, if and only if its session still holds the channel; with no entries it is the heartbeat.
-- KEYS  1 lock     STRING  the session id of the holder
--       2 info     HASH    of the session        3 state  HASH  path → '{entry id} {JSON}'
--       4 seq      HASH    writer → '{number of its last batch} {ms}', the time of its last entry of training; older
--                          versions stored the number alone
--       5 metrics  6 iterations  7 frames  8 thumbs  9 vision  10 mind  11 machine  12 reports  STREAMs
--      13 viewers  HASH    replica → '{count} {expires ms}'      14 reporter  STRING  the wanted env
--      15 past and 16 piece of metrics, 17 past and 18 piece of iterations: see downsample.lua, which precedes this
--      19 events and 20 sessions of the channel, and 21 config of the session: their TTL is renewed with the session's
-- ARGV  1 session id (holds the fence)  2 ttl in ms  3 retention in ms  4 writer  5 batch number, 0 for a heartbeat
--       6 env that claims to be the reporter, or ''  7 '1' if it is the one that was asked for
--       8 '1' if the run's main process writes  9 number of entries  10 number of state fields, then for each: path, JSON
--       after them for each entry: index in KEYS of its stream, longest stream in entries and in bytes (0: any),
--         greatest age in ms (0: any), field count, fields …
-- Reply {'ok' | 'duplicate' | 'lost' | 'full' | 'crowded', viewers, wanted reporter or '', id of the last entry or '',
--        env that is the reporter or '', ms since its last claim}
local lock, info, state, seq, metrics, iterations, frames = unpack(KEYS, 1, 7)
local mind, machine, reports = unpack(KEYS, 10, 12)
local viewers, reporter, metrics_past, metrics_piece, iterations_past, iterations_piece, events, sessions =
  unpack(KEYS, 13, 20)
local session_id, ttl, retention, writer, batch, env, is_preferred, is_main = unpack(ARGV, 1, 8)
local number, entries, states = tonumber(batch), tonumber(ARGV[9]), tonumber(ARGV[10])
local first_state, last_state = 11, 10 + 2 * states
local read = arguments_after(last_state)

local SILENT_MS = 10000  -- without a claim for this time, another env may be the reporter
local CLAIM_MS = 250  -- a claim that repeats the last one, and a sign of life, are stored at most this often
local MOST_WRITERS = 2000  -- 150 bytes each
local FORGOTTEN_MS = 600000  -- above that number, a writer without a batch for this time is removed
local MOST_FIELDS = 20000  -- values.MAX_STATE_FIELDS: names that change with every step must not fill the memory
local MOST_STATE_BYTES = 4194304  -- beyond it the state takes short values of known fields only
local SHORT_BYTES = 128  -- path and value together

local now = now_ms()
local shown, claimed_ms = '', 0
local function reply(status, id)
  local total = 0
  for _, seen in ipairs(safe_call('HVALS', viewers)) do
    local count, expires = seen:match('^(%d+) (%d+)$')
    if count and tonumber(expires) > now then total = total + math.min(tonumber(count), 1e6) end
  end
  return {status, total, safe_call('GET', reporter) or '', id, shown, now - claimed_ms}
end

if redis.pcall('GET', lock) ~= session_id then return reply('lost', '') end
-- Redis checks maxmemory at a script's first write only. SET is refused when memory is full, so it comes first and the
-- streams cannot outgrow the limit; PEXPIRE is never refused, so the lease survives.
local renewed = redis.pcall('SET', lock, session_id, 'PX', ttl)
if renewed.err then redis.call('PEXPIRE', lock, ttl) end
local known = safe_call('HMGET', info, 'shown', 'shown_ms', 'started', 'main_ms')
shown = known[1] or ''
claimed_ms = tonumber(known[2] or 0) or 0  -- in sessions of older versions, a user's field may have that name
if not (claimed_ms <= now) then claimed_ms = 0 end  -- the clock was set back, or the text was no time
if not known[3] then  -- the hash was deleted; without it no viewer finds the session
  redis.pcall('HSET', info, 'started', fence_of(session_id) or '0')
  redis.call('PEXPIRE', info, retention)
end
local wrote_ms = tonumber(known[4] or 0) or 0
-- Another run that finds the channel held learns by this that this run lives (register.lua). When memory is full, the
-- command is refused.
if is_main == '1' and not (now - wrote_ms <= CLAIM_MS and wrote_ms <= now) then
  redis.pcall('HSET', info, 'main_ms', digits(now))
end
if env ~= '' and (env == shown or is_preferred == '1' or now - claimed_ms > SILENT_MS) then
  if env ~= shown or now - claimed_ms > CLAIM_MS then
    redis.call('HSET', info, 'shown', env, 'shown_ms', digits(now))
  end
  shown, claimed_ms = env, now
end
-- The env that was shown before keeps sending for a moment; its frames and its policy's view would mix with those of
-- the env that is shown.
local passes_frames = env == '' or env == shown
local last = number > 0 and safe_call('HGET', seq, writer)
if last and number <= (tonumber(last:match('^%d+')) or 0) then return reply('duplicate', '') end
if renewed.err and entries > 0 then return reply('full', '') end
if number > 0 and not last and redis.call('HLEN', seq) >= MOST_WRITERS then
  local flat, has_space = redis.call('HGETALL', seq), false
  for i = 1, #flat, 2 do
    if now - (tonumber(flat[i + 1]:match(' (%d+)$')) or 0) > FORGOTTEN_MS then
      redis.call('HDEL', seq, flat[i])
      has_space = true
    end
  end
  if not has_space then return reply('crowded', '') end
end

local function renew(key) redis.call('PEXPIRE', key, retention) end
local id = ''
local most_bytes_of = {}  -- by stream
-- The machine is measured while training hangs, and log lines may come then: neither shows that training goes on.
local trained_ms = last and last:match(' (%d+)$') or '0'
local lines_of = {[metrics] = {}, [iterations] = {}}  -- entries for the history, by stream
for _ = 1, entries do
  local index, most_entries, most_bytes, most_ms, count = read(5)
  local stream, fields = KEYS[tonumber(index)], {read(tonumber(count))}
  if stream ~= machine and stream ~= reports then trained_ms = digits(now) end
  if (stream ~= frames and stream ~= mind) or passes_frames then
    id = safe_call('XADD', stream, 'NOMKSTREAM', 'MAXLEN', '~', most_entries, '*', unpack(fields))
    if not id then  -- the stream's first entry
      id = redis.call('XADD', stream, '*', unpack(fields))
      renew(stream)
    end
    most_bytes_of[stream] = tonumber(most_bytes)
    if most_ms ~= '0' then
      redis.call('XTRIM', stream, 'MINID', '~', digits(id:match('^%d+') - most_ms))
    end
  end
  if lines_of[stream] then
    local field = {}
    for i = 1, #fields, 2 do field[fields[i]] = fields[i + 1] end
    table.insert(lines_of[stream], id .. ' ' .. id:match('^%d+') .. ' ' .. (field.step or '') .. ' ' .. field.data)
  end
end
for stream, bytes in pairs(most_bytes_of) do
  local used = bytes > 0 and redis.pcall('MEMORY', 'USAGE', stream)
  if type(used) == 'number' and used > bytes then
    redis.call('XTRIM', stream, 'MAXLEN', '~', math.floor(redis.call('XLEN', stream) * 0.9))
  end
end

local space = MOST_FIELDS - safe_call('HLEN', state)  -- for fields that are new
local size, is_full = 0, false
for i = first_state, last_state do size = size + #ARGV[i] end
if size > SHORT_BYTES * states then  -- fields that are all short cannot fill the state
  local used = redis.pcall('MEMORY', 'USAGE', state, 'SAMPLES', 100)
  is_full = type(used) == 'number' and used > MOST_STATE_BYTES
  if is_full then space = 0 end
end
local fields, added = {}, 0
local function store_fields()
  added, fields = added + redis.call('HSET', state, unpack(fields)), {}
end
for i = first_state, last_state, 2 do
  local path, value = ARGV[i], ARGV[i + 1]
  local is_short = not is_full or #value <= SHORT_BYTES
  if is_short and (states <= space or added < space or redis.call('HEXISTS', state, path) == 1) then
    fields[#fields + 1], fields[#fields + 2] = path, id .. ' ' .. value
    -- Near the limit, each field is stored and counted before the next. Lua's stack holds a few thousand values.
    if states > space or #fields == 1000 then store_fields() end
  end
end
if #fields > 0 then store_fields() end
local is_first = number > 0 and redis.call('HSET', seq, writer, batch .. ' ' .. trained_ms) == 1

local function keep_history(past, piece, lines)
  if #lines == 0 then return end
  local is_done, why = pcall(downsample, past, piece, lines, retention)
  -- A failure of the history must not lose the entries, nor stay hidden; without the DEL every later batch would fail.
  if not is_done then
    redis.call('DEL', piece)
    redis.call('HSET', piece, 'error', type(why) == 'table' and why.err or tostring(why))
    renew(piece)
  end
end
keep_history(metrics_past, metrics_piece, lines_of[metrics])
keep_history(iterations_past, iterations_piece, lines_of[iterations])

-- Renewing the TTL of every key at every write would be half of the script's time. It happens when a hundredth of the
-- retention has passed; before that, only keys that may be new get their TTL.
local left, unwritten = redis.call('PTTL', info), unwritten_ms(ttl, retention)
if entries == 0 and left <= unwritten then  -- a heartbeat of a session that has written nothing yet
  for _, key in ipairs({info, events, sessions}) do stay_at_least(key, unwritten) end
elseif left < 0.99 * retention then
  for _, key in ipairs(KEYS) do
    if key ~= lock and key ~= viewers then renew(key) end  -- those two have a TTL of seconds
  end
else
  if added > 0 then renew(state) end
  if is_first then renew(seq) end
end
return reply('ok', id)
