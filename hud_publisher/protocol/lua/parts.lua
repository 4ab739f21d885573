-- Precedes the scripts that keep or remove whole sessions: the keys of a session, as the endings of its hash's name.
local NUMBERS = {'', ':state', ':seq', ':metrics', ':metrics:past', ':metrics:piece', ':iterations', ':iterations:past',
  ':iterations:piece', ':machine', ':reports', ':annotations', ':monitor', ':config'}
local PICTURES = {':frames', ':thumbs', ':vision', ':mind'}

local function drop(info, parts)
  for _, part in ipairs(parts) do redis.call('DEL', info .. part) end
end

-- Call a function with each key of a session.
local function each_part(info, apply)
  for _, parts in ipairs({NUMBERS, PICTURES}) do
    for _, part in ipairs(parts) do apply(info .. part) end
  end
end

