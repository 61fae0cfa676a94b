-- @noindex
-- @description musicgen-bridge: nudge the selected item's take, a beat later

local folder = select(2, reaper.get_action_context()):match("^.*[/\\]")
package.path = folder .. "lib/?.lua;" .. package.path
require("message").guard(function() require("recut").nudge(-1, 0) end)
