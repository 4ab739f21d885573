-- Run several commands atomically, so that their replies are of one moment. Unlike a transaction, whose commands Redis
-- refuses while they queue, it reads from a full Redis. A failing command returns its error and does not affect others.
-- KEYS  the key of each command
-- ARGV  for each command: number of its parts, then the parts
-- Reply the raw reply of each command
local replies, at = {}, 1
while ARGV[at] do
  local first, last = at + 1, at + tonumber(ARGV[at])
  replies[#replies + 1] = redis.pcall(unpack(ARGV, first, last))
  at = last + 1
end
return replies
