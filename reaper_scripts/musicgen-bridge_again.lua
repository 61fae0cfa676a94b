-- @noindex
-- @description musicgen-bridge: the selected item again, with a new seed

local folder = select(2, reaper.get_action_context()):match("^.*[/\\]")
package.path = folder .. "lib/?.lua;" .. package.path
require("message").guard(require("actions").again)
