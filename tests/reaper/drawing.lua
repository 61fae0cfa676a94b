-- Draws the window for the docs: its script runs on the stand-in, and what it draws there becomes an SVG.
--   cd tests/reaper && REAPER_SCRIPTS=../../reaper_scripts uv run lua5.4 drawing.lua ../../docs/reaper.svg

local stub = require("stub")

local SONG = "/Users/me/Music/my-song"
local SAID = {
  ["musicgen-bridge/prompt"] = "dusty boom-bap break, vinyl crackle",
  ["musicgen-bridge/preset"] = "1",
  ["musicgen-bridge/best_of"] = "4",
  ["musicgen-bridge/progress"] = "generate: generating 42 %",
}
local HISTORY = [=[[
  {"prompt": "warm upright bass, sparse", "seed": 1204331}, {"prompt": "", "preset": 18, "seed": 77},
  {"prompt": "dusty boom-bap break", "preset": 1, "seed": 482913}
]]=]

local HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" %s role="img" aria-label="%s">'

local shapes, size, font, fill

local function add(text, ...)
  shapes[#shapes + 1] = ("  " .. text):format(...)
end

local function escaped(text)
  return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

local Recorder = {}

function Recorder.init(_, width, height)
  shapes, size = {}, { width = width, height = height }
end

function Recorder.setfont(_, face, height)
  font, size.text = ('font-family="%s, Helvetica, sans-serif" font-size="%d"'):format(face, height), height
end

function Recorder.set(red, green, blue, alpha)
  local share = function(value) return math.floor(value * 255 + 0.5) end
  fill = ('fill="rgb(%d,%d,%d)" fill-opacity="%g"'):format(share(red), share(green), share(blue), alpha)
end

function Recorder.rect(x, y, width, height)
  add('<rect x="%g" y="%g" width="%g" height="%g" %s/>', x, y, width, height, fill)
end

-- Flag 4: centred between y and the bottom, and nothing is drawn to the right of `right`.
function Recorder.drawstr(text, flags, right, bottom)
  assert(flags == 4)
  local width, height = right - gfx.x, bottom - gfx.y
  local line = height / 2 + 0.35 * size.text -- half the height of a capital below the middle
  add('<svg x="%g" y="%g" width="%g" height="%g">', gfx.x, gfx.y, width, height)
  add('  <text y="%g" %s>%s</text></svg>', line, fill, escaped(text))
end

local world = stub.new("", SONG)
for name, text in pairs(SAID) do
  world.ext[name] = text
end
world.project.texts["musicgen-bridge/history"] = HISTORY
for name, record in pairs(Recorder) do
  rawset(gfx, name, record)
end
stub.run("musicgen-bridge.lua")
assert(#world.boxes == 0, world.boxes[1])

local file = assert(io.open(arg[1], "wb"))
file:write(HEAD:format(size.width, size.height, size.width, font, "The window of the actions for Reaper"), "\n")
file:write(table.concat(shapes, "\n"), "\n</svg>\n")
file:close()
