-- Note in which channel a run continues that found this one held. All processes of the run find the note, in any order.
-- KEYS  1 aside  STRING  number of that channel
-- ARGV  1 number to note unless another process of the run was faster, or ''  2 number whose session of the run has ended,
--       or ''  3 how long the note stays, in ms
-- Reply the noted number, or ''
local aside = KEYS[1]
local number, ended, note_ms = ARGV[1], ARGV[2], ARGV[3]

local noted = safe_call('GET', aside)
if noted and (noted == ended or not noted:match('^[1-9]%d?%d?%d?$')) then
  redis.call('DEL', aside)
  noted = false
end
if not noted and number ~= '' then
  redis.call('SET', aside, number, 'PX', note_ms)
  noted = number
end
return noted or ''
