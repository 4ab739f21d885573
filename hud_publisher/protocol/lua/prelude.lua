-- Functions that precede the other scripts.

-- Run a command on one of HUD's keys. A value of another type under such a key, or a stream with the greatest id of
-- all, was not written by HUD. It would fail every batch or registration of the channel, so it is deleted.
local function safe_call(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  local why = tostring(reply.err)
  if why:find('WRONGTYPE', 1, true) or why:find('exhausted the last', 1, true) then redis.call('DEL', key) end
  return redis.call(command, key, ...)  -- any other error is raised here as Redis words it
end

-- Return the Unix time in ms, on Redis' clock.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Return a whole number as decimal digits; tostring would write 1.0e+12.
local function digits(number) return string.format('%.0f', number) end

-- Return a function that returns the next `count` arguments at each call, beginning after ARGV[at].
local function arguments_after(at)
  return function(count)
    at = at + count
    return unpack(ARGV, at - count + 1, at)
  end
end

-- How long the keys of a session stay before its first write: registering channel after channel must not fill memory.
local function unwritten_ms(ttl, retention)
  return math.min(tonumber(retention), math.max(600000, 10 * ttl))
end

local function stay_at_least(key, ms)
  if redis.call('PTTL', key) < ms then redis.call('PEXPIRE', key, ms) end
end

-- Return the fence within a session id, `{channel}.{fence}.{secret}`; nil for anything else.
local function fence_of(held)
  return type(held) == 'string' and held:match('%.(%d+)%.[%w_-]+$') or nil
end

-- Return a stored fence; nil without one, or for a text that no session of HUD has as its fence.
local function fence_in(key)
  local fence = redis.pcall('GET', key)
  local is_fence = type(fence) == 'string' and fence:match('^%d+$') and #fence <= 16 and tonumber(fence) < 9e15
  return is_fence and fence or nil
end

