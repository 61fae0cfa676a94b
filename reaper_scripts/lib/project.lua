-- @noindex
-- The project in front: its folder and its sample rate.

local message = require("message")

local project = {}

--- Returns the handle of the project in front and its absolute folder; stops where it was never saved.
function project.current()
  local handle, path = reaper.EnumProjects(-1)
  local folder = path:match("^(.*)[/\\][^/\\]*$")
  if not folder then
    message.stop("Save the project first: its stems go to the folder MusicGen beside it.")
  end
  return handle, folder
end

--- Returns the project's sample rate in Hz: its own, else the audio device's.
function project.sample_rate(handle)
  if reaper.GetSetProjectInfo(handle, "PROJECT_SRATE_USE", 0, false) == 1 then
    return math.floor(reaper.GetSetProjectInfo(handle, "PROJECT_SRATE", 0, false))
  end
  local known, rate = reaper.GetAudioDeviceInfo("SRATE", "")
  return known and math.tointeger(tonumber(rate)) or 48000
end

return project
