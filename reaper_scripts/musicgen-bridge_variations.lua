-- @noindex
-- @description musicgen-bridge: generate variations as takes

local folder = select(2, reaper.get_action_context()):match("^.*[/\\]")
package.path = folder .. "lib/?.lua;" .. package.path
require("message").guard(require("actions").variations)
