-- Claim a lane of a channel's alerts for one attempt of delivery, so that two replicas never send the same alert at once.
-- KEYS  1 lease      STRING  token of the replica that monitors the channel
--       2 delivered  HASH    lane → its progress (lanes.lua)
-- ARGV  1 lane  2 token of this replica  3 the new attempt's secret  4 how long the claim lasts in ms  5 TTL of the hash
-- Reply {'claimed', position, failures, Unix time in ms}, {'lost'}: the lease belongs to another replica, or {'refused'}:
--       another attempt is under way, or the next one is not due yet
local lease, delivered = KEYS[1], KEYS[2]
local lane, token, attempt, lasts_ms, ttl = unpack(ARGV)

if redis.pcall('GET', lease) ~= token then return {'lost'} end
local position, _, till, tries, next_ms = lane_in(delivered, lane)
local now = now_ms()
if till > now or next_ms > now then return {'refused'} end
store_lane(delivered, lane, ttl, position, attempt, now + tonumber(lasts_ms), tries, 0)
return {'claimed', position, tries, now}
