std = "lua54"
max_line_length = false -- a description is one line of text
globals = { "ardour", "factory", "signals" }
read_globals = { "ARDOUR", "C", "Editing", "Editor", "LuaDialog", "LuaSignal", "Session", "Temporal" }
