-- @noindex
-- The project in front: its folder and its sample rate.

local message = require("message")

local project = {}

--- Returns the handle of the project in front, its absolute folder and its file; stops where it was never saved.
function project.current()
  local handle, path = reaper.EnumProjects(-1)
  local folder = (path or ""):match("^(.*)[/\\][^/\\]*$")
  if not folder then
    message.stop("Save the project first: its stems go to the folder MusicGen beside it.")
  end
  return handle, folder, path
end

--- Returns the handle of the open project with that file, and whether it is in front; nil where none has it open.
-- Its former handle would not tell: Reaper gives the same one to the next project that is opened in that tab.
function project.find(path)
  local front, name = reaper.EnumProjects(-1)
  if name == path then
    return front, true
  end
  local index = 0
  local handle = front
  while handle and name ~= path do
    handle, name = reaper.EnumProjects(index)
    index = index + 1
  end
  return handle, false
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
