std = "lua53"
max_line_length = 120
read_globals = { "reaper" }
globals = { "gfx" }
