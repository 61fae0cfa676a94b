-- @noindex
-- Writes what is heard of a take, as it lies in its item, to a WAV file that the bridge can read.

local message = require("message")
local spool = require("spool")

local excerpt = {}

local CHANNELS = 2
local MOST_S = 600 -- as the bridge reads of a recording
local BLOCK = 4096 -- frames
local PIECE = 128 -- samples that string.pack takes at a time

local function header(frames, rate)
  local bytes = frames * CHANNELS * 4
  local format = ("<I2I2I4I4I2I2"):pack(3, CHANNELS, rate, rate * CHANNELS * 4, CHANNELS * 4, 32) -- 3: floating point
  local chunk = "<c4I4"
  return chunk:pack("RIFF", 36 + bytes) .. "WAVE" .. chunk:pack("fmt ", #format) .. format .. chunk:pack("data", bytes)
end

local function packed(samples)
  local pieces = {}
  for first = 1, #samples, PIECE do
    local last = math.min(first + PIECE - 1, #samples)
    pieces[#pieces + 1] = ("<" .. ("f"):rep(last - first + 1)):pack(table.unpack(samples, first, last))
  end
  return table.concat(pieces)
end

local function copy(accessor, file, from, frames, rate)
  local buffer = reaper.new_array(BLOCK * CHANNELS)
  for done = 0, frames - 1, BLOCK do
    local count = math.min(BLOCK, frames - done)
    buffer.clear()
    if reaper.GetAudioAccessorSamples(accessor, rate, CHANNELS, from + done / rate, count, buffer) < 0 then
      return false
    end
    file:write(packed(buffer.table(1, count * CHANNELS)))
  end
  return true
end

--- Writes a take from second `from` to `to` of its item, at `rate` Hz, to a new file below `folder`; returns its path.
function excerpt.write(take, from, to, rate, folder)
  if reaper.TakeIsMIDI(take) then
    message.stop("The selected item is MIDI: the bridge hears audio only.\nRender or glue it to audio first.")
  end
  if to - from > MOST_S then
    message.stop("The bridge hears ten minutes at most: split the item first.")
  end
  local below = folder .. "/MusicGen/.heard"
  reaper.RecursiveCreateDirectory(below, 0)
  local path = below .. "/" .. spool.new_id() .. ".wav"
  local file = io.open(path, "wb") or message.stop("A file could not be written:\n" .. path)
  local frames = math.floor((to - from) * rate + 0.5)
  file:write(header(frames, rate))
  local accessor = reaper.CreateTakeAudioAccessor(take)
  local heard = copy(accessor, file, from, frames, rate)
  reaper.DestroyAudioAccessor(accessor)
  file:close()
  if not heard then
    os.remove(path)
    message.stop("Reaper gives no audio for the selected item; glue it first.")
  end
  return path
end

return excerpt
