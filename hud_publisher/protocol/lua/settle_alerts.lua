-- End an attempt of delivery. A success counts even if its claim has ended, since the receiver has the message.
-- KEYS  1 delivered  HASH  lane → its progress (lanes.lua)
-- ARGV  1 lane  2 the attempt's secret  3 id of the newest delivered alert, 0-0 after a failure
--       4 time until the next attempt in ms  5 TTL of the hash
-- Reply {'settled'}, or {'late'}: another attempt has begun
local delivered = KEYS[1]
local lane, attempt, sent, delay_ms, ttl = unpack(ARGV)

local position, current, till, tries, next_ms = lane_in(delivered, lane)
local is_ours = current == attempt
if sent ~= '0-0' then
  if is_above(sent, position) then position = sent end
  if is_ours then tries = 0 end
elseif is_ours then
  tries = tries + 1
end
if is_ours then
  current, till, next_ms = '-', 0, now_ms() + tonumber(delay_ms)
end
store_lane(delivered, lane, ttl, position, current, till, tries, next_ms)
return {is_ours and 'settled' or 'late'}
