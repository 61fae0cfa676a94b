-- @noindex
-- The files between Reaper and a running `musicgen-bridge render --spool FILE`: request, report and cancel.

local json = require("json")
local message = require("message")

local spool = {}

local RUNNING = "running" -- ids of the renders of this run of Reaper, with blanks between

local function base(id)
  return reaper.GetResourcePath() .. "/musicgen-bridge/" .. id .. ".json"
end

local function write(path, text)
  local file = io.open(path, "wb")
  if not (file and file:write(text) and file:close()) then
    message.stop("A file could not be written:\n" .. path)
  end
end

--- Returns the whole text of a file, or nil.
function spool.read(path)
  local file = io.open(path, "rb")
  if not file then
    return nil
  end
  local text = file:read("a")
  file:close()
  return text
end

--- Returns a name that no file has yet.
function spool.new_id()
  return (reaper.genGuid(""):gsub("[^%w-]", ""))
end

--- Writes a request's render keys; returns its id and the file for `--spool`.
function spool.submit(keys)
  reaper.RecursiveCreateDirectory(reaper.GetResourcePath() .. "/musicgen-bridge", 0)
  local id = spool.new_id()
  write(base(id), json.encode(keys))
  reaper.SetExtState(message.TITLE, RUNNING, reaper.GetExtState(message.TITLE, RUNNING) .. " " .. id, false)
  return id, base(id)
end

--- Returns the report of a render as a table, or nil before there is one.
function spool.report(id)
  local text = spool.read(base(id) .. ".report")
  return text and json.decode(text)
end

--- Asks every render of this Reaper to end; returns how many there are.
function spool.cancel()
  local count = 0
  for id in reaper.GetExtState(message.TITLE, RUNNING):gmatch("%S+") do
    write(base(id) .. ".cancel", "")
    count = count + 1
  end
  return count
end

function spool.cancelled(id)
  return reaper.file_exists(base(id) .. ".cancel")
end

--- Removes a render's files and forgets it.
function spool.clear(id)
  for _, ending in ipairs({ "", ".report", ".cancel" }) do
    os.remove(base(id) .. ending)
  end
  local left = {}
  for one in reaper.GetExtState(message.TITLE, RUNNING):gmatch("%S+") do
    if one ~= id then
      left[#left + 1] = one
    end
  end
  reaper.SetExtState(message.TITLE, RUNNING, table.concat(left, " "), false)
end

return spool
