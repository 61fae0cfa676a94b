-- @noindex
-- The files between Reaper and a running `musicgen-bridge render --spool FILE`: request, report and cancel.

local json = require("json")
local message = require("message")

local spool = {}

local RUNNING = "running" -- ids of the renders of this run of Reaper, in the order of their start, with blanks between

local function base(id)
  return reaper.GetResourcePath() .. "/musicgen-bridge/" .. id .. ".json"
end

local function write(path, text)
  local file = io.open(path, "wb")
  if not (file and file:write(text) and file:close()) then
    message.stop("A file could not be written:\n" .. path)
  end
end

local function running()
  return reaper.GetExtState(message.TITLE, RUNNING):gmatch("%S+")
end

local function run(ids)
  reaper.SetExtState(message.TITLE, RUNNING, ids, false)
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

local entered -- ids of this script's renders, once there was one

--- Enters a render among those of this Reaper and returns its id; those of one lane (a name, or nil) go one after the
-- other. Who ends the script ends its renders.
function spool.enter(lane)
  if not entered then
    entered = {}
    reaper.atexit(function()
      for id in pairs(entered) do
        write(base(id) .. ".cancel", "")
        spool.forget(id)
      end
    end)
  end
  reaper.RecursiveCreateDirectory(reaper.GetResourcePath() .. "/musicgen-bridge", 0)
  local id = (lane and lane .. "." or "") .. spool.new_id()
  entered[id] = true
  run(reaper.GetExtState(message.TITLE, RUNNING) .. " " .. id)
  return id
end

--- Returns whether a render of the same lane was entered before and has not ended.
function spool.waits(id, lane)
  for one in running() do
    if one == id then
      return false
    end
    if lane and one:sub(1, #lane + 1) == lane .. "." then
      return true
    end
  end
  return false
end

--- Writes a request's render keys; returns the file for `--spool`.
function spool.submit(id, keys)
  write(base(id), json.encode(keys))
  return base(id)
end

--- Returns the report of a render as a table, or nil before there is one.
function spool.report(id)
  local text = spool.read(base(id) .. ".report")
  return text and json.decode(text)
end

--- Asks every render of this Reaper to end; returns how many there are.
function spool.cancel()
  local count = 0
  for id in running() do
    write(base(id) .. ".cancel", "")
    count = count + 1
  end
  return count
end

function spool.cancelled(id)
  return reaper.file_exists(base(id) .. ".cancel")
end

--- Takes a render out of those of this Reaper.
function spool.forget(id)
  entered[id] = nil
  local left = {}
  for one in running() do
    if one ~= id then
      left[#left + 1] = one
    end
  end
  run(table.concat(left, " "))
end

--- Removes a render's files and forgets it.
function spool.clear(id)
  for _, ending in ipairs({ "", ".report", ".cancel" }) do
    os.remove(base(id) .. ending)
  end
  spool.forget(id)
end

return spool
