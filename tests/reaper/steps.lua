-- What the specs with a daemon look at: a take's sidecar, and lengths that are nearly the same.

local assert = require("luassert")
local stub = require("stub")
package.path = stub.scripts .. "/lib/?.lua;" .. package.path
local json = require("json")

local steps = {}

function steps.near(wanted, value, by)
  assert.is_true(math.abs(wanted - value) < (by or 1e-9), ("%.12f is not %.12f"):format(value, wanted))
end

function steps.lies(item, from, to)
  steps.near(from, item.values.D_POSITION)
  steps.near(to - from, item.values.D_LENGTH)
end

--- Returns what stands in the sidecar of a take's file.
function steps.sidecar(take)
  local file = assert(io.open((take.source.path:gsub("%.wav$", ".json"))))
  local text = file:read("a")
  file:close()
  return json.decode(text)
end

return steps
