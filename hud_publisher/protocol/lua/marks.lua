-- Report which of a reader's entries the keys of a session still hold, without the entries themselves.
-- KEYS  1 info  2 state  3 … STREAMs
-- ARGV  for each stream: id of the newest entry read
-- Reply {1 if info exists, number of state fields, for each stream: its newest id ever or '', 1 if that entry is kept,
--        number of entries ever added, -1 where Redis does not say (before 7.0)}
local info, state, streams = KEYS[1], KEYS[2], {unpack(KEYS, 3)}

local fields = redis.pcall('HLEN', state)
local reply = {redis.call('EXISTS', info), type(fields) == 'number' and fields or 0}
for i, stream in ipairs(streams) do
  local newest_read = ARGV[i]
  local entry = redis.pcall('XRANGE', stream, newest_read, newest_read, 'COUNT', 1)
  local flat, about = redis.pcall('XINFO', 'STREAM', stream), {}  -- an error without a stream
  for j = 1, #flat, 2 do about[flat[j]] = flat[j + 1] end
  reply[#reply + 1] = about['last-generated-id'] or ''
  reply[#reply + 1] = entry.err and 0 or #entry
  reply[#reply + 1] = #flat == 0 and 0 or about['entries-added'] or -1
end
return reply
