-- @noindex
-- The JSON file beside a stem, which tells how it was made.

local json = require("json")
local message = require("message")
local spool = require("spool")

local sidecar = {}

--- Returns what is told of a stem (its part, the whole request, what matching measured) and the path where it is told.
function sidecar.of(stem)
  local path = stem:gsub("%.%w+$", ".json")
  return json.decode(spool.read(path) or message.stop("The file beside the stem is missing:\n" .. path)), path
end

return sidecar
