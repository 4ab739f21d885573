-- Functions that precede the scripts about lanes: a lane is the alerts of one target and urgency. Its progress is a field
-- of a hash: `POSITION ATTEMPT UNTIL_MS TRIES NEXT_MS`.

-- Return the progress of a lane: position, attempt or '', end of its claim in ms, failures, earliest next attempt in ms.
local function lane_in(delivered, lane)
  local text = safe_call('HGET', delivered, lane)
  local position, attempt, till, tries, next_ms = (text or ''):match('^(%d+%-%d+) (%S+) (%d+) (%d+) (%d+)$')
  if not position then return '0-0', '-', 0, 0, 0 end
  return position, attempt, tonumber(till), tonumber(tries), tonumber(next_ms)
end

local function store_lane(delivered, lane, ttl, position, attempt, till, tries, next_ms)
  local text = table.concat({position, attempt, digits(till), digits(tries), digits(next_ms)}, ' ')
  safe_call('HSET', delivered, lane, text)
  redis.call('PEXPIRE', delivered, ttl)
end

-- Whether a stream id is above another.
local function is_above(id, other)
  local ms, number = id:match('^(%d+)%-(%d+)$')
  local other_ms, other_number = other:match('^(%d+)%-(%d+)$')
  if tonumber(ms) ~= tonumber(other_ms) then return tonumber(ms) > tonumber(other_ms) end
  return tonumber(number) > tonumber(other_number)
end

