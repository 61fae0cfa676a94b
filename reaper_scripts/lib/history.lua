-- @noindex
-- The last requests of a project, newest first, kept in the project itself.

local json = require("json")
local message = require("message")

local history = {}

local MOST = 12

--- Returns a list of { prompt, preset, seed }.
function history.list(handle)
  local _, text = reaper.GetProjExtState(handle, message.TITLE, "history")
  local ok, list = pcall(json.decode, text)
  return ok and type(list) == "table" and list or {}
end

function history.add(handle, entry)
  local list = history.list(handle)
  table.insert(list, 1, entry)
  list[MOST + 1] = nil
  reaper.SetProjExtState(handle, message.TITLE, "history", json.encode(list))
end

return history
