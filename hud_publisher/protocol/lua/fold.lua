-- Stands before publish.lua. Keeps the run's whole course when the entries themselves have gone: of every number the
-- lowest and the highest within each piece of a stream. A piece is STEP entries at first and 1/PIECES of all entries so
-- far later; so their number grows with the run's logarithm (4,000 after 40 hours of 20 entries per second), and a chart
-- of the whole has PIECES of them at the least. It reads no stream: who may write need not be allowed to read.
--   past    STREAM  one entry per piece, under the id of its last entry: low, high (JSON path → number), n (entries),
--                   time, step (of the first), until_time, until_step (of the last)
--   piece   HASH    the piece in the making: the same fields, total (entries folded so far), waiting (entries that are
--                   not folded yet, a line each) and count (of those)
--   fresh           entries just appended: 'id time step data', step may be ''
--   retention       in ms, for the keys that this makes
local STEP, PIECES, WAITING_BYTES = 10, 500, 16384
local MOST_PATHS, MOST_PIECES = 500, 20000  -- names that change with every step, and runs of years, must not fill memory

local function lay(low, high, room, prefix, data)
  for name, value in pairs(data) do
    if type(value) == 'table' and type(name) == 'string' then
      room = lay(low, high, room, prefix .. name .. '/', value)
    elseif type(value) == 'number' and type(name) == 'string' and value > -1e300 and value < 1e300 then
      local path = prefix .. name
      if low[path] == nil and room > 0 then
        low[path], high[path], room = value, value, room - 1
      elseif low[path] ~= nil then
        if value < low[path] then low[path] = value end
        if value > high[path] then high[path] = value end
      end
    end
  end
  return room
end

local function fold(past, piece, fresh, retention)
  local known = redis.call('HMGET', piece, 'waiting', 'count', 'total', 'n', 'low', 'high', 'time', 'step')
  local lines, count = (known[1] or '') .. table.concat(fresh, '\n') .. '\n', tonumber(known[2] or 0) + #fresh
  if count < STEP and #lines < WAITING_BYTES then
    if redis.call('HSET', piece, 'waiting', lines, 'count', count) > 0 then redis.call('PEXPIRE', piece, retention) end
    return
  end
  local total, n = tonumber(known[3] or 0), tonumber(known[4] or 0)
  local low, high, since, from = cjson.decode(known[5] or '{}'), cjson.decode(known[6] or '{}'), known[7], known[8]
  local room = MOST_PATHS
  for _ in pairs(low) do room = room - 1 end
  for id, time, step, text in lines:gmatch('(%S+) (%d+) (%d*) ([^\n]*)\n') do
    local is_json, data = pcall(cjson.decode, text)
    if is_json and type(data) == 'table' then room = lay(low, high, room, '', data) end
    if n == 0 then since, from = time, step end
    n, total = n + 1, total + 1
    if n >= math.max(STEP, math.floor(total / PIECES)) then
      redis.call('XADD', past, 'MAXLEN', '~', MOST_PIECES, id, 'low', cjson.encode(low), 'high', cjson.encode(high),
        'n', n, 'time', since, 'step', from, 'until_time', time, 'until_step', step)
      redis.call('PEXPIRE', past, retention)
      low, high, room, n = {}, {}, MOST_PATHS, 0
    end
  end
  redis.call('HSET', piece, 'waiting', '', 'count', 0, 'total', total, 'n', n, 'low', cjson.encode(low),
    'high', cjson.encode(high), 'time', since or '0', 'step', from or '')
  if not known[3] then redis.call('PEXPIRE', piece, retention) end
end

