-- @noindex
-- @description musicgen-bridge: generate into the time selection

local folder = select(2, reaper.get_action_context()):match("^.*[/\\]")
package.path = folder .. "lib/?.lua;" .. package.path
require("message").guard(require("actions").generate)
