-- What the actions say before anything is rendered, and the modules that need no daemon.

local stub = require("stub")

local act = stub.act
local FOLDER, SONG = os.getenv("REAPER_TEST_FOLDER"), os.getenv("REAPER_TEST_SONG")
local world

local function says(text)
  assert.equal(1, #world.boxes)
  assert.truthy(world.boxes[1]:find(text, 1, true), world.boxes[1])
  assert.same({}, world.commands)
end

describe("before anything is rendered", function()
  before_each(function() world = stub.new(FOLDER, SONG) end)

  it("an unsaved project is told to be saved", function()
    world.project.path = ""
    act("generate")
    says("Save the project first")
  end)

  for _, name in ipairs({ "generate", "variations", "parts" }) do
    it(name .. " needs a time selection", function()
      act(name)
      says("time selection")
    end)
  end

  local on_an_item = { "melody", "continue", "regenerate", "again", "split", "fit", "recut" }
  for _, name in ipairs({ "nudge_beat_earlier", "nudge_beat_later", "nudge_10ms_earlier", "nudge_10ms_later" }) do
    table.insert(on_an_item, name)
  end
  for _, name in ipairs(on_an_item) do
    it(name .. " needs an item", function()
      act(name)
      says("Select an item")
    end)
  end

  it("regenerate needs a time selection over the item", function()
    stub.item(world.project.tracks[1], "x.wav", 10, 2)
    world.project.selection = { 0, 10 }
    act("regenerate")
    says("time selection over a part")
  end)

  it("regenerate needs something to go on from, in an item that can be read", function()
    stub.item(world.project.tracks[1], "x.wav", 10, 601)
    world.project.selection = { 10.4, 12 }
    act("regenerate")
    says("half a second or more into the item")
    world.boxes, world.project.selection = {}, { 10.6, 12 }
    act("regenerate", { "x", "", "1" })
    says("hears ten minutes at most")
  end)

  it("what is cut anew is a file, and what is asked for are numbers", function()
    local item = stub.item(world.project.tracks[1], "", 0, 1)
    act("nudge_beat_later")
    says("plays no file of its own")
    item.takes[1].source.path, world.boxes = "x.wav", {}
    act("recut", { "1", "0", "two", "", "" })
    says("Bars must be a number")
    assert.equal("0\n0\n\n120.0\n", world.dialogs[1].defaults)
    world.project.markers[2], world.boxes = { time = 0.5, bpm = 90 }, {}
    act("recut", { "1", "0", "", "", "loud" })
    says("Loudness must be a number")
    assert.equal("0\n0\n\n\n", world.dialogs[2].defaults)
  end)

  it("again needs an item of ours", function()
    stub.item(world.project.tracks[1], "x.wav", 0, 1).texts.P_NOTES = "musicgen-bridge {not JSON"
    act("again")
    says("hold no request")
  end)

  it("fit needs one tempo where the item lies, or a time selection", function()
    stub.item(world.project.tracks[1], "x.wav", 0, 1)
    world.project.markers[2] = { time = 1, bpm = 90, beats = 4, unit = 4 }
    act("fit")
    says("make a time selection")
  end)

  it("MIDI is no recording", function()
    stub.item(world.project.tracks[1], "x.wav", 0, 1).active.midi = true
    act("melody", { "lead", "", "1", "vocals" })
    says("MIDI")
  end)

  it("a preset is a number, and takes are counted", function()
    world.project.selection = { 0, 1 }
    act("generate", { "x", "dub", "1" })
    says("named by its number")
    world.boxes = {}
    act("variations", { "x", "", "1", "many" })
    says("Takes must be a whole number from 1 to 32")
    world.boxes = {}
    act("parts", { "a: x", "33" })
    says("Best of must be a whole number from 1 to 32")
  end)

  it("a cancelled dialog does nothing", function()
    world.project.selection = { 0, 1 }
    act("generate", false)
    assert.same({}, world.boxes)
    assert.same({}, world.commands)
  end)

  it("cancel says when there is nothing to cancel", function()
    act("cancel")
    says("Nothing is being rendered")
  end)
end)

describe("the tempo map", function()
  local timing
  before_each(function()
    world = stub.new(FOLDER, SONG)
    stub.run("musicgen-bridge_cancel.lua")
    package.path = stub.scripts .. "/lib/?.lua;" .. package.path
    timing = require("timing")
  end)

  local function keys(from, to, ...)
    world.project.markers = { ... }
    return timing.keys(world.project, { from = from, to = to })
  end

  it("gives bars where it is steady, at a marker's place too", function()
    local steady = { time = 0, bpm = 97.5, beats = 7, unit = 8 }
    local bar = 7 / 2 * 60 / 97.5
    local wanted = { bpm = 97.5, signature = "7/8", sample_rate = 48000, bars = 3 }
    assert.same(wanted, keys(bar, 4 * bar, steady))
    local before = { time = bar, bpm = 97.5, beats = 7, unit = 8 }
    local behind = { time = 4 * bar, bpm = 150, beats = 4, unit = 4 }
    assert.same(wanted, keys(bar, 4 * bar, { time = 0, bpm = 60, beats = 4, unit = 4 }, before, behind))
  end)

  it("gives seconds and the map where the tempo changes inside", function()
    local change = { time = 1, bpm = 60, beats = 7, unit = 8 }
    local only_tempo = { time = 3, bpm = 90 }
    local changed = keys(0, 4, { time = 0, bpm = 120, beats = 4, unit = 4 }, change, only_tempo)
    assert.same({ sample_rate = 48000, seconds = 4, tempo_map = "0 120 4/4; 2 60 7/8; 4 90" }, changed)
  end)

  it("gives what lies inside of a glide", function()
    local from, to = { time = 0, bpm = 100, beats = 4, unit = 4, glides = true }, { time = 10, bpm = 140 }
    local glide = keys(2, 4, from, to)
    local first, last = glide.tempo_map:match("^0 ([%d.]+)>([%d.]+) 4/4$")
    assert.is_true(math.abs(first - 108) < 1e-4 and math.abs(last - 116) < 1e-4, glide.tempo_map)
    assert.same({ 2, nil, nil }, { glide.seconds, glide.bpm, glide.bars })
    local over = keys(8, 12, from, to)
    assert.truthy(over.tempo_map:find("^0 13[%d.]+>1[%d.]+ 4/4; 4%.5[%d]* 140$"), over.tempo_map)
  end)

  it("gives the mean tempo around a stretch, and the meter that it begins in", function()
    local first, second = { time = 0, bpm = 120, beats = 7, unit = 8 }, { time = 3, bpm = 60, beats = 4, unit = 4 }
    world.project.markers = { first, second }
    assert.same({ bpm = 90, signature = "7/8" }, timing.around(world.project, { from = 2, to = 4 }))
  end)

  it("takes the audio device's rate where the project has none", function()
    world.project.values.PROJECT_SRATE_USE, world.device_rate = 0, "96000"
    assert.equal(96000, keys(0, 2, world.project.markers[1]).sample_rate)
  end)

  it("counts bars from anywhere", function()
    world.project.markers = {
      { time = 0, bpm = 120, beats = 3, unit = 4 },
      { time = 3, bpm = 60, beats = 3, unit = 4 },
    }
    local span = timing.bars_from(world.project, 1.5, 2)
    assert.is_true(math.abs(span.to - 6) < 1e-9)
  end)
end)

describe("a command line", function()
  local command
  before_each(function()
    world = stub.new(FOLDER, SONG)
    stub.run("musicgen-bridge_cancel.lua")
    package.path = stub.scripts .. "/lib/?.lua;" .. package.path
    command = require("command")
  end)

  it("is quoted as Windows takes it apart", function()
    local words = { [[C:\my files\]], 'a "b"', [[c\"d]] }
    assert.equal([["C:\my files\\" "a \"b\"" "c\\\"d"]], command.line(words, true))
  end)

  it("is quoted as Reaper takes it apart elsewhere", function()
    assert.equal([["/a b" '/c"d' `/e"'f`]], command.line({ "/a b", '/c"d', [[/e"'f]] }, false))
    assert.has_error(function() command.line({ "\"'`" }, false) end)
  end)

  it("begins with the program that was shown, when it is found nowhere", function()
    local getenv = os.getenv
    os.getenv = function() return "/nowhere" end -- luacheck: ignore 122
    world.chosen_file = "/bin/echo"
    assert.equal("/bin/echo", command.program())
    assert.equal("/bin/echo", world.ext["musicgen-bridge/program"])
    world.ext, world.chosen_file = {}, nil
    assert.has_error(function() command.program() end)
    os.getenv = getenv -- luacheck: ignore 122
  end)
end)

describe("JSON", function()
  local json
  before_each(function()
    package.path = stub.scripts .. "/lib/?.lua;" .. package.path
    json = require("json")
  end)

  it("comes back as it went", function()
    local value = { text = "a\"b\\c\n\1é𝄞", list = { 1, 2.5, { deep = true } }, no = false, whole = 3, small = 1e-7 }
    assert.same(value, json.decode(json.encode(value)))
  end)

  it("is read as others write it", function()
    local read = json.decode(' { "a\\u00e9" : [ ] , "b":null, "c" : "\\ud834\\udd1e\\/\\\\ud834", "d":-1.5e2 } ')
    assert.same({ ["aé"] = {}, c = "𝄞/\\ud834", d = -150 }, read)
  end)

  for _, text in ipairs({ "", "{", "[1,", '{"a" 1}', '"a', '"\\x"', "nil", "1 2", "{]", '{"a":1,}', "nan" }) do
    it("is refused where it is none: " .. text, function()
      assert.has_error(function() json.decode(text) end)
    end)
  end
end)
