-- Takes that are cut anew, with the real program and a real daemon behind them.

local stub = require("stub")
local steps = require("steps")

local act, near, sidecar = stub.act, steps.near, steps.sidecar
local FOLDER, SONG = os.getenv("REAPER_TEST_FOLDER"), os.getenv("REAPER_TEST_SONG")
local RATE, BEAT = 44100, 60 / 120
local world, track, item, path

-- How alike two takes are, of which the second is heard so many seconds later on: 1 where they are the same.
local function likeness(one, other, later)
  local a, b = stub.wav(one.source.path), stub.wav(other.source.path)
  local both, first, second = 0, 0, 0
  for frame = RATE // 10, RATE // 2 do
    local x, y = a.sample(frame, 0), b.sample(frame + math.floor(later * RATE + 0.5), 0)
    both, first, second = both + x * y, first + x * x, second + y * y
  end
  return both / math.sqrt(first * second)
end

describe("a take of two bars at 120", function()
  setup(function()
    world = stub.new(FOLDER, SONG)
    world.project.values.PROJECT_SRATE, world.project.selection = RATE, { 0, 8 * BEAT }
    act("generate", { "techno, one loop", "", "1" })
    path = world.project.tracks[1].items[1].takes[1].source.path
  end)

  before_each(function()
    world = stub.new(FOLDER, SONG)
    track = world.project.tracks[1]
    item = stub.item(track, path, 1, 8 * BEAT)
    item.takes[1].texts.P_NAME = "techno (seed 7)"
  end)

  after_each(function()
    assert.equal(0, world.undo.open)
    assert.equal("", world.ext["musicgen-bridge/running"] or "")
  end)

  it("is moved by a beat: what sounded on two sounds on one, and the take before is still there", function()
    act("nudge_beat_earlier")
    assert.same({}, world.boxes)
    assert.same({ open = 0, "musicgen-bridge: nudge" }, world.undo)
    assert.same({ 1, 2 }, { #track.items, #item.takes })
    local old, new = table.unpack(item.takes)
    assert.equal(new, item.active)
    assert.equal("techno (seed 7), cut 1", new.texts.P_NAME)
    assert.same({ path, 1 }, { sidecar(new).request.take, sidecar(new).request.shift_beats })
    local here, there = likeness(new, old, BEAT), likeness(new, old, 0)
    assert.is_true(here > 0.99 and there < 0.98, ("%.4f %.4f"):format(here, there))
    near(8 * BEAT, item.values.D_LENGTH)
    assert.is_nil(world.project.texts["musicgen-bridge/history"])
  end)

  it("is moved as often as it was asked for, each time from where it was, and back again", function()
    stub.run("musicgen-bridge_nudge_10ms_earlier.lua")
    stub.run("musicgen-bridge_nudge_10ms_earlier.lua")
    stub.run("musicgen-bridge_nudge_10ms_later.lua")
    stub.turn()
    assert.same({}, world.boxes)
    assert.equal(4, #item.takes)
    assert.equal(item.takes[4], item.active)
    assert.equal("techno (seed 7), cut 3", item.takes[4].texts.P_NAME)
    for index, shift in ipairs({ 10, 10, -10 }) do
      local request = sidecar(item.takes[index + 1]).request
      assert.same({ item.takes[index].source.path, shift }, { request.take, request.shift_ms })
    end
    assert.is_true(likeness(item.takes[4], item.takes[1], 0.01) > 0.99)
  end)

  it("keeps volume, rate and offset of the take, and an item that shows a part of it its length", function()
    local old = item.takes[1]
    old.values.D_VOL, old.values.D_PLAYRATE, old.values.D_STARTOFFS, item.values.D_LENGTH = 0.5, 0.75, 1, 2
    act("nudge_10ms_earlier")
    local values = item.takes[2].values
    assert.same({ 0.5, 0.75, 1, 2 }, { values.D_VOL, values.D_PLAYRATE, values.D_STARTOFFS, item.values.D_LENGTH })
  end)

  it("is brought to another tempo, length and loudness, and an item that showed all of it still does", function()
    item.takes[1].values.D_STARTOFFS = 0.5
    world.project.markers[1].bpm = 125
    act("recut", { "0", "0", "1", "125", "-20" })
    assert.same({}, world.boxes)
    assert.same({ open = 0, "musicgen-bridge: cut anew" }, world.undo)
    assert.equal("0\n0\n\n125.0\n", world.dialogs[1].defaults)
    local request = sidecar(item.takes[2]).request
    assert.same({ 1, 125, -20, 0 }, { request.bars, request.bpm, request.loudness, request.shift_beats or 0 })
    near(4 * 60 / 125, item.values.D_LENGTH)
    near(0.5 * 120 / 125, item.takes[2].values.D_STARTOFFS)
  end)

  it("says how far it can be moved, and stays as it is", function()
    act("recut", { "-40", "", "", "", "" })
    assert.equal(1, #world.boxes)
    assert.truthy(world.boxes[1]:find("for a shift of", 1, true), world.boxes[1])
    assert.equal(1, #item.takes)
  end)

  it("becomes a new item where its own was deleted meanwhile", function()
    stub.run("musicgen-bridge_nudge_beat_earlier.lua")
    stub.turn(function() return #world.commands > 0 end) -- it is asked for, and has not been looked at yet
    item.dead, item.takes[1].dead, track.items = true, true, {}
    stub.turn()
    assert.same({}, world.boxes)
    assert.equal(1, #world.project.tracks[2].items)
  end)

  it("is left alone when cancelled, also what waits for its turn", function()
    stub.run("musicgen-bridge_nudge_beat_earlier.lua")
    stub.run("musicgen-bridge_nudge_beat_earlier.lua")
    stub.run("musicgen-bridge_cancel.lua")
    stub.turn()
    assert.same({}, world.boxes)
    assert.equal(1, #item.takes)
  end)

  it("has to be one of the bridge's", function()
    local file, copy = assert(io.open(path, "rb")), assert(io.open(FOLDER .. "/mine.wav", "wb"))
    copy:write(file:read("a"))
    copy:close()
    file:close()
    item.takes[1].source.path = FOLDER .. "/mine.wav"
    act("nudge_beat_later")
    assert.equal(1, #world.boxes)
    assert.equal(1, #item.takes)
  end)
end)
