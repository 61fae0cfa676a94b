-- @noindex
-- @description musicgen-bridge: cut the selected item's take anew

local folder = select(2, reaper.get_action_context()):match("^.*[/\\]")
package.path = folder .. "lib/?.lua;" .. package.path
require("message").guard(require("recut").ask)
