-- Precedes publish.lua. Keeps the whole course of a run after its entries are trimmed: the lowest and the highest value
-- of every number within each piece of a stream. A piece has STEP entries at first, later 1/PIECES of all entries until
-- then, so the number of pieces grows with the logarithm of the run (4,000 after 40 hours of 20 entries per second),
-- and a chart of the whole run has at least PIECES of them. It reads no stream, so writers need no right to read
-- streams.
--   past    STREAM  one entry per piece, under the id of its last entry: low, high (JSON path → number), n (entries),
--                   time, step (of the first), until_time, until_step (of the last)
--   piece   HASH    the unfinished piece: the same fields, total (entries in all pieces), waiting (entries that are in
--                   no piece yet, a line each) and count (of those)
--   lines           entries just appended: 'id time step data', step may be ''
--   retention       in ms, for the keys that this script creates
local STEP, PIECES, WAITING_BYTES = 10, 500, 16384
local MOST_PATHS, MOST_PIECES = 500, 20000  -- names that change with every step, and runs of years, must not fill memory

-- Widen the ranges in `low` and `high` to the numbers in `data`. At most `left` paths are new; return how many remain.
local function widen(low, high, left, prefix, data)
  for name, value in pairs(data) do
    if type(value) == 'table' and type(name) == 'string' then
      left = widen(low, high, left, prefix .. name .. '/', value)
    elseif type(value) == 'number' and type(name) == 'string' and value > -1e300 and value < 1e300 then
      local path = prefix .. name
      if low[path] == nil and left > 0 then
        low[path], high[path], left = value, value, left - 1
      elseif low[path] ~= nil then
        if value < low[path] then low[path] = value end
        if value > high[path] then high[path] = value end
      end
    end
  end
  return left
end

local function downsample(past, piece, lines, retention)
  local known = safe_call('HMGET', piece, 'waiting', 'count', 'total', 'n', 'low', 'high', 'time', 'step')
  local waiting, count = (known[1] or '') .. table.concat(lines, '\n') .. '\n', tonumber(known[2] or 0) + #lines
  if count < STEP and #waiting < WAITING_BYTES then
    if redis.call('HSET', piece, 'waiting', waiting, 'count', count) > 0 then
      redis.call('PEXPIRE', piece, retention)
    end
    return
  end
  local total, n = tonumber(known[3] or 0), tonumber(known[4] or 0)
  local low, high = cjson.decode(known[5] or '{}'), cjson.decode(known[6] or '{}')
  local first_time, first_step = known[7], known[8]
  local left = MOST_PATHS
  for _ in pairs(low) do left = left - 1 end
  for id, time, step, text in waiting:gmatch('(%S+) (%d+) (%d*) ([^\n]*)\n') do
    local is_json, data = pcall(cjson.decode, text)
    if is_json and type(data) == 'table' then left = widen(low, high, left, '', data) end
    if n == 0 then first_time, first_step = time, step end
    n, total = n + 1, total + 1
    if n >= math.max(STEP, math.floor(total / PIECES)) then
      safe_call('XADD', past, 'MAXLEN', '~', MOST_PIECES, id, 'low', cjson.encode(low), 'high', cjson.encode(high),
        'n', n, 'time', first_time, 'step', first_step, 'until_time', time, 'until_step', step)
      redis.call('PEXPIRE', past, retention)
      low, high, left, n = {}, {}, MOST_PATHS, 0
    end
  end
  redis.call('HSET', piece, 'waiting', '', 'count', 0, 'total', total, 'n', n, 'low', cjson.encode(low),
    'high', cjson.encode(high), 'time', first_time or '0', 'step', first_step or '')
  if not known[3] then redis.call('PEXPIRE', piece, retention) end
end

