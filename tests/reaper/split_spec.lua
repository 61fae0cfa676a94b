-- Splitting and fitting an item, with the real program and a real daemon that has a small Demucs.

local stub = require("stub")
local steps = require("steps")
local json = require("json")

local near, lies, sidecar = steps.near, steps.lies, steps.sidecar
local FOLDER, SONG = os.getenv("REAPER_TEST_FOLDER"), os.getenv("REAPER_TEST_SONG")
local RATE, BPM, BAR = 44100, 118, 4 * 60 / 118
local NAMES = { "drums", "bass", "other", "vocals" }
local world, track, path

-- Four bars of a loud low stroke on one and short high ones between, as 24 bits in mono.
local function loop()
  local samples = {}
  for index = 1, math.floor(4 * BAR * RATE + 0.5) do
    local beat = (index - 1) / RATE * BPM / 60
    local since, first = beat % 1 * 60 / BPM, beat % 4 < 1
    local level = (first and 0.8 or 0.3) * math.exp(-since / 0.02)
    local value = level * math.sin(2 * math.pi * (first and 60 or 1500) * since)
    samples[index] = ("<i3"):pack(math.floor(value * 2 ^ 23))
  end
  local data = table.concat(samples)
  local format = ("<I2I2I4I4I2I2"):pack(1, 1, RATE, RATE * 3, 3, 24)
  local chunk = "<c4I4"
  local file = assert(io.open(FOLDER .. "/loop.wav", "wb"))
  file:write(chunk:pack("RIFF", 36 + #data), "WAVE", chunk:pack("fmt ", #format), format)
  file:write(chunk:pack("data", #data), data)
  file:close()
  return FOLDER .. "/loop.wav"
end

local function act(name)
  stub.act(name)
  assert.same({}, world.boxes)
  assert.same({ open = 0, "musicgen-bridge: " .. name }, world.undo)
end

describe("an item with a loop at 118 in a project at 97.5", function()
  local item
  setup(function()
    path = loop()
  end)
  before_each(function()
    world = stub.new(FOLDER, SONG)
    track = world.project.tracks[1]
    world.project.markers = { { time = 0, bpm = 97.5, beats = 4, unit = 4 } }
    world.project.values.PROJECT_SRATE = RATE
    item = stub.item(track, path, 1.25, 2 * BAR)
    item.takes[1].texts.P_NAME = "my loop é"
  end)

  it("is split into four tracks that sum to it, in its place, and is muted itself", function()
    act("split")
    assert.equal(1, item.values.B_MUTE)
    assert.equal(5, #world.project.tracks)
    local stems = {}
    for index, name in ipairs(NAMES) do
      local new = world.project.tracks[index + 1]
      assert.equal(name, new.texts.P_NAME)
      assert.equal(1, #new.items)
      lies(new.items[1], 1.25, 1.25 + 2 * BAR)
      assert.equal("my loop é: " .. name, new.items[1].takes[1].texts.P_NAME)
      stems[index] = stub.wav(new.items[1].takes[1].source.path)
      assert.same({ RATE, math.floor(2 * BAR * RATE + 0.5) }, { stems[index].rate, stems[index].frames })
    end
    local whole, loudest = stub.wav(path), 0
    for frame = 0, stems[1].frames - 1, 7 do
      local sum = 0
      for _, stem in ipairs(stems) do
        sum = sum + stem.sample(frame, 0)
      end
      near(whole.sample(frame, 0), sum, 1e-5)
      loudest = math.max(loudest, math.abs(sum))
    end
    assert.is_true(loudest > 0.5)
    assert.same({}, json.decode(world.project.texts["musicgen-bridge/history"] or "[]"))
  end)

  it("once split, a stem's again is that stem once more", function()
    act("split")
    local vocals = world.project.tracks[5].items[1]
    world.project.selected_item, world.undo = vocals, { open = 0 }
    act("again")
    assert.equal(2, #vocals.takes)
    assert.equal(5, #world.project.tracks)
    assert.equal("vocals", sidecar(vocals.takes[1]).report.separated)
  end)

  it("is fitted to the project's tempo, as many bars as it has, from where it lies", function()
    act("fit")
    assert.equal(1, item.values.B_MUTE)
    local new = world.project.tracks[2].items[1]
    near(1.25, new.values.D_POSITION)
    near(2 * 4 * 60 / 97.5, new.values.D_LENGTH, 1 / RATE)
    assert.equal("my loop é", new.takes[1].texts.P_NAME)
    local take = sidecar(new.takes[1])
    near(97.5 / BPM, take.report.rate, 1e-3)
    assert.same({ "fit", 2, 97.5 }, { take.request.mode, take.request.bars, take.request.bpm })
  end)

  it("is fitted into the time selection where there is one", function()
    world.project.selection = { 0, 4 * 60 / 97.5 }
    act("fit")
    lies(world.project.tracks[2].items[1], 0, 4 * 60 / 97.5)
    assert.equal(1, sidecar(world.project.tracks[2].items[1].takes[1]).request.bars)
  end)

  it("stays as it is when it was cancelled", function()
    stub.run("musicgen-bridge_split.lua")
    stub.run("musicgen-bridge_cancel.lua")
    stub.turn()
    assert.same({}, world.boxes)
    assert.same({ open = 0 }, world.undo)
    assert.is_nil(item.values.B_MUTE)
    assert.equal(1, #world.project.tracks)
  end)
end)
