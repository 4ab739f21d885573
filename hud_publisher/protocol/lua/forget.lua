-- Precedes register.lua, after parts.lua. Makes room when a session begins: it keeps a number of earlier sessions and
-- of their bytes. The oldest sessions go first, and pictures go before numbers. Pinned sessions stay and do not count.
--   index   ZSET    SIDs, scored by themselves        prefix  of the session hashes; the others' names extend theirs
--   most    sessions besides the new one, 0 for any number      room  bytes besides the new one, 0 for any number

local function size(info, parts)
  local total = 0
  for _, part in ipairs(parts) do
    local bytes = redis.pcall('MEMORY', 'USAGE', info .. part)  -- refused where the caller has no right to it
    if type(bytes) == 'number' then total = total + bytes end
  end
  return total
end

local function forget(index, prefix, newest, most, room)
  local kept, used = 0, 0
  for _, sid in ipairs(redis.call('ZRANGE', index, 0, -1, 'REV')) do
    local info = prefix .. sid
    if redis.call('EXISTS', info) == 0 then
      redis.call('ZREM', index, sid)
    elseif sid ~= newest and redis.pcall('HGET', info, 'pinned') == '1' then
      each_part(info, function(key) redis.call('PERSIST', key) end)  -- it may have been pinned before its last write
    elseif sid ~= newest then
      kept = kept + 1
      if room > 0 then used = used + size(info, NUMBERS) end
      if (most > 0 and kept > most) or (room > 0 and used > room) then
        drop(info, NUMBERS)
        drop(info, PICTURES)
        redis.call('ZREM', index, sid)
      elseif room > 0 then
        local pictures = size(info, PICTURES)
        if used + pictures > room then drop(info, PICTURES) else used = used + pictures end
      end
    end
  end
end

