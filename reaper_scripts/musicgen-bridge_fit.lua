-- @noindex
-- @description musicgen-bridge: fit the selected item to the project's tempo

local folder = select(2, reaper.get_action_context()):match("^.*[/\\]")
package.path = folder .. "lib/?.lua;" .. package.path
require("message").guard(require("actions").fit)
