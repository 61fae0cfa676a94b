-- @noindex
-- Runs the musicgen-bridge program: where it is, how its command line is quoted, waiting for it or not.

local message = require("message")

local command = {}

local WINDOWS = reaper.GetOS():find("^Win") ~= nil
local PROGRAM = WINDOWS and "musicgen-bridge.exe" or "musicgen-bridge"
local BACKGROUND = -2 -- ExecProcess: don't wait, and on Windows keep the console small

-- CommandLineToArgvW: backslashes count only before a quote, where each stands twice.
local function quoted_for_windows(text)
  return '"' .. text:gsub('(\\*)"', '%1%1\\"'):gsub("(\\+)$", "%1%1") .. '"'
end

-- Reaper's own splitter knows three quotes and no escapes.
local function quoted_for_others(text)
  for mark in ('"\'`'):gmatch(".") do
    if not text:find(mark, 1, true) then
      return mark .. text .. mark
    end
  end
  message.stop("Reaper can't run a program on the path " .. text .. "\nbecause it holds all three kinds of quotes.")
end

--- Returns words as one command line for ExecProcess.
function command.line(words, windows)
  local quoted = {}
  for index, word in ipairs(words) do
    quoted[index] = (windows and quoted_for_windows or quoted_for_others)(word)
  end
  return table.concat(quoted, " ")
end

local function candidates()
  local home = os.getenv(WINDOWS and "USERPROFILE" or "HOME") or ""
  local folders = { home .. "/.local/bin" } -- where uv and pipx put programs, on every system
  for folder in (os.getenv("PATH") or ""):gmatch(WINDOWS and "[^;]+" or "[^:]+") do
    folders[#folders + 1] = folder
  end
  if not WINDOWS then -- a program started from the Finder has no PATH to speak of
    folders[#folders + 1] = "/opt/homebrew/bin"
    folders[#folders + 1] = "/usr/local/bin"
  end
  return folders
end

--- Returns the absolute path of the program: as it was found before, else as found now, else as the musician shows.
function command.program()
  local known = reaper.GetExtState(message.TITLE, "program")
  if known ~= "" and reaper.file_exists(known) then
    return known
  end
  local found
  for _, folder in ipairs(candidates()) do
    local path = folder .. "/" .. PROGRAM
    if not found and reaper.file_exists(path) then
      found = path
    end
  end
  if not found then
    local chosen, path = reaper.GetUserFileNameForRead("", "Where is " .. PROGRAM .. "?", "")
    if not chosen then
      message.stop("musicgen-bridge is not installed where Reaper looks.\nRun the action again and show its program.")
    end
    found = path
  end
  reaper.SetExtState(message.TITLE, "program", found, true)
  return found
end

local function execute(words, milliseconds)
  return reaper.ExecProcess(command.line({ command.program(), table.unpack(words) }, WINDOWS), milliseconds)
end

--- Starts the program with these arguments and returns at once.
function command.background(words)
  if not execute(words, BACKGROUND) then
    reaper.DeleteExtState(message.TITLE, "program", true)
    message.stop("musicgen-bridge could not be started.\nRun the action again and show its program.")
  end
end

--- Runs the program to its end, for at most so many milliseconds; returns its exit code and what it printed.
function command.run(words, milliseconds)
  local said = execute(words, milliseconds) or "-1\n"
  return tonumber(said:match("^%-?%d+")) or -1, said:gsub("^[^\n]*\n?", "", 1)
end

return command
