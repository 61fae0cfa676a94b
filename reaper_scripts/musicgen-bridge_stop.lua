-- @noindex
-- @description musicgen-bridge: stop the daemon

local folder = select(2, reaper.get_action_context()):match("^.*[/\\]")
package.path = folder .. "lib/?.lua;" .. package.path
require("message").guard(require("daemon").stop)
