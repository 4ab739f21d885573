-- Run commands as one, so that their replies fit together. Unlike a transaction, whose commands are refused while they
-- queue, it reads from a Redis that is full.
-- KEYS  each command's key
-- ARGV  for each command: number of its parts, then the parts
-- Reply each command's, as it is
local replies, at = {}, 1
while ARGV[at] do
  local count = tonumber(ARGV[at])
  replies[#replies + 1] = redis.call(unpack(ARGV, at + 1, at + count))
  at = at + count + 1
end
return replies
