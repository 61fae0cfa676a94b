-- @noindex
-- @description musicgen-bridge: regenerate the time selection inside the selected item

local folder = select(2, reaper.get_action_context()):match("^.*[/\\]")
package.path = folder .. "lib/?.lua;" .. package.path
require("message").guard(require("actions").regenerate)
