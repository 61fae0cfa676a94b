-- @description musicgen-bridge: window
-- @version 0.1.0
-- @author musicgen-bridge contributors
-- @about
--   # musicgen-bridge
--   Stems from MusicGen, exactly in time, on the track: into the time selection, from an item's melody, as a
--   continuation, as takes or as parts. It needs the program musicgen-bridge on the same machine.
-- @provides
--   [main] .
--   [main] musicgen-bridge_*.lua
--   [nomain] lib/*.lua

local folder = select(2, reaper.get_action_context()):match("^.*[/\\]")
package.path = folder .. "lib/?.lua;" .. package.path
require("message").guard(require("window").open)
