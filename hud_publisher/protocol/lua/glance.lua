-- Read the few values of a session that the wall shows, and of the larger ones only those that the reader does not know yet.
-- KEYS  1 lock  2 info  3 state  4 monitor  5 metrics  6 iterations  7 frames
-- ARGV  1 sid  2 version of the verdict and 3 time of the labels that the reader knows
--       4 id of the newest frame that it has, '-' if it wants none  5 largest frame in bytes  after them: fields of the state
-- Reply {'1' if the session holds the channel, {started, ended, ended_by, labelled}, {tags, note, pinned} or {},
--        number of fields in the state, {version, verdict} or {}, {id, step} or {} of the newest entry of metrics and
--        of iterations, {id, field, value …} of a newer frame or {}, {stored value of each field}}
local lock, info, state, monitor, metrics, iterations, frames = unpack(KEYS)
local sid, version, labelled, frame, most_bytes = unpack(ARGV, 1, 5)

-- Return a reply, or nil for a key whose value is of another type.
local function ask(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then return nil end
  return reply
end
local function newest(stream)
  local found = ask('XREVRANGE', stream, '+', '-', 'COUNT', 1)
  return found and found[1]
end
local function place(stream)
  local entry = newest(stream)
  if not entry then return {} end
  for i = 1, #entry[2], 2 do
    if entry[2][i] == 'step' then return {entry[1], entry[2][i + 1]} end
  end
  return {entry[1], ''}
end

local about = ask('HMGET', info, 'started', 'ended', 'ended_by', 'labelled') or {false, false, false, false}
local labels, verdict, shown, values = {}, {}, {}, {}
if about[4] and about[4] ~= labelled then labels = ask('HMGET', info, 'tags', 'note', 'pinned') end
local judged = ask('HGET', monitor, 'version')
if judged and judged ~= version then verdict = {judged, ask('HGET', monitor, 'verdict') or ''} end
local entry = frame ~= '-' and newest(frames)
if entry and entry[1] ~= frame then
  shown = {entry[1], unpack(entry[2])}
  for i = 2, #shown, 2 do
    if shown[i] == 'image' and #shown[i + 1] > tonumber(most_bytes) then
      shown = {entry[1]}
      break
    end
  end
end
if #ARGV > 5 then values = ask('HMGET', state, unpack(ARGV, 6)) or {} end
return {fence_of(redis.pcall('GET', lock)) == sid and '1' or '', about, labels, ask('HLEN', state) or 0, verdict,
  place(metrics), place(iterations), shown, values}
