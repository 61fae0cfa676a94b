-- @noindex
-- @description musicgen-bridge: split the selected item into stems

local folder = select(2, reaper.get_action_context()):match("^.*[/\\]")
package.path = folder .. "lib/?.lua;" .. package.path
require("message").guard(require("actions").split)
