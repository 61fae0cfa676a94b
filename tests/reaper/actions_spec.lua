-- The actions as Reaper runs them, with the real program and a real daemon behind them.

local stub = require("stub")
local steps = require("steps")
local json = require("json")

local act, near, lies, sidecar = stub.act, steps.near, steps.lies, steps.sidecar
local FOLDER, SONG = os.getenv("REAPER_TEST_FOLDER"), os.getenv("REAPER_TEST_SONG")
local BAR = 7 / 2 * 60 / 97.5 -- s: 7/8 at 97.5 quarter notes a minute
local world, track

local function open()
  world = stub.new(FOLDER, SONG)
  track = world.project.tracks[1]
  world.project.markers = { { time = 0, bpm = 97.5, beats = 7, unit = 8 } }
  world.project.values.PROJECT_SRATE = 44100
end

local made -- the first item that was generated: its file and its notes

-- An item of two bars, made by the bridge itself, selected.
local function generated()
  if not made then
    world.project.selection = { 2 * BAR, 4 * BAR }
    act("generate", { "techno, one loop", "", "1" })
    local item = track.items[1]
    made = { path = item.takes[1].source.path, notes = item.texts.P_NOTES }
    open()
  end
  local item = stub.item(track, made.path, 2 * BAR, 4 * BAR - 2 * BAR)
  item.texts.P_NOTES = made.notes
  return item
end

describe("in a 7/8 project at 97.5 BPM and 44.1 kHz", function()
  setup(function()
  end)
  before_each(open)
  after_each(function()
    assert.equal(0, world.undo.open)
    assert.equal("", world.ext["musicgen-bridge/running"] or "")
  end)

  it("a time selection is filled to the sample, in one undo block", function()
    world.project.selection = { 2 * BAR, 4 * BAR }
    act("generate", { "dusty break, \"loose\" `snare` it's", "", "1" })
    assert.same({}, world.boxes)
    assert.same({ open = 0, "musicgen-bridge: generate" }, world.undo)
    assert.equal(1, #track.items)
    local item = track.items[1]
    lies(item, 2 * BAR, 4 * BAR)
    local take = item.takes[1]
    assert.equal(SONG .. "/MusicGen", take.source.path:match("^(.*)/"))
    -- floor(2 * 7 * 4/8 * 60 * 44100 / 97.5 + 0.5)
    assert.equal(189969, stub.wav(take.source.path).frames)
    local request = sidecar(take).request
    assert.same({ 2, 97.5, "7/8", 44100 }, { request.bars, request.bpm, request.signature, request.sample_rate })
    assert.equal("dusty break, \"loose\" `snare` it's", request.prompt)
    assert.equal(("%s (seed %d)"):format(request.prompt, request.seed), take.texts.P_NAME)
    local note = json.decode(item.texts.P_NOTES:match("^musicgen%-bridge (.*)$"))
    assert.equal((take.source.path:gsub("%.wav$", ".json")), note.sidecar)
    assert.equal(request.prompt, note.render.prompt)
    assert.truthy(table.concat(world.help, "\n"):find("generating %d+ %%"))
    assert.equal("", world.help[#world.help])
  end)

  it("again is another take of the same item, with a new seed", function()
    local item = generated()
    local first = sidecar(item.takes[1])
    act("again")
    assert.same({}, world.boxes)
    assert.same({ open = 0, "musicgen-bridge: again" }, world.undo)
    assert.equal(2, #item.takes)
    assert.equal(item.takes[2], item.active)
    local second = sidecar(item.takes[2])
    assert.not_equal(first.seed, second.seed)
    first.request.seed, second.request.seed = nil, nil
    assert.same(first.request, second.request)
  end)

  it("again finds the request below what the musician wrote in the notes, and where the item now lies", function()
    local item = generated()
    item.texts.P_NOTES = "too loud {1\n" .. item.texts.P_NOTES
    item.values.D_POSITION, item.values.D_LENGTH = 0, BAR
    act("again")
    assert.equal(1, sidecar(item.takes[2]).request.bars)
  end)

  it("cancel ends the render and leaves nothing", function()
    world.project.selection = { 0, 60 * BAR }
    world.answers = { { "slow pad", "", "1" } }
    stub.run("musicgen-bridge_generate.lua")
    stub.turn(function() return (world.help[#world.help] or ""):find("generating") end)
    stub.run("musicgen-bridge_cancel.lua")
    stub.turn()
    assert.same({}, world.boxes)
    assert.same({ open = 0 }, world.undo)
    assert.same({}, track.items)
  end)

  it("a failure is shown in the bridge's own words and leaves no item", function()
    world.project.path, world.project.selection = "/no such folder/song.rpp", { 0, BAR }
    act("generate", { "techno", "", "1" })
    assert.equal(1, #world.boxes)
    assert.truthy(world.boxes[1]:find("/no such folder", 1, true))
    assert.same({}, track.items)
    assert.same({ open = 0 }, world.undo)
  end)

  it("a preset stands below the words", function()
    world.project.selection, world.project.selected_track = { 0, BAR }, nil
    act("generate", { "", "3", "1" })
    assert.same({}, world.boxes)
    assert.equal(2, #world.project.tracks)
    local request = sidecar(world.project.tracks[2].items[1].takes[1]).request
    assert.truthy(request.prompt:find("techno"))
    assert.equal(1, request.bars)
  end)

  it("where the tempo map changes inside, the request carries it and the length is exact", function()
    world.project.markers[2] = { time = BAR, bpm = 120, beats = 3, unit = 4 }
    world.project.markers[3] = { time = 2 * BAR, bpm = 100, glides = true }
    world.project.markers[4] = { time = 3 * BAR, bpm = 90 }
    world.project.selection = { 0, 3 * BAR }
    act("generate", { "techno", "", "1" })
    local item = track.items[1]
    local request = sidecar(item.takes[1]).request
    assert.same({ nil, "7/8" }, { request.bars, request.signature })
    near(3 * BAR, request.seconds)
    local third = 3.5 + BAR * 2
    assert.equal("# # #/#; # # #/#; # #>#", (request.tempo_map:gsub("[%d.]+", "#")))
    local wanted = { 0, 97.5, 7, 8, 3.5, 120, 3, 4, third, 100, 90 }
    for number in request.tempo_map:gmatch("[%d.]+") do
      assert.is_true(math.abs(number - table.remove(wanted, 1)) < 1e-4, request.tempo_map)
    end
    near((third + BAR * 95 / 60) * 60 / (3 * BAR), request.bpm)
    assert.equal(math.floor(3 * BAR * 44100 + 0.5), stub.wav(item.takes[1].source.path).frames)
    lies(item, 0, 3 * BAR)

    item.values.D_LENGTH = BAR
    world.project.selected_item = item
    act("again")
    local second = sidecar(item.takes[2]).request
    assert.same({ 1, 97.5 }, { second.bars, second.bpm })
    assert.is_nil(second.tempo_map)
  end)

  it("what there is to say of a stem stays in the status line", function()
    world.project.markers = { { time = 0, bpm = 60, beats = 4, unit = 4 }, { time = 2, bpm = 150 } }
    world.project.selection = { 0, 3 }
    act("generate", { "techno", "", "1" })
    assert.same({}, world.boxes)
    local warning = sidecar(track.items[1].takes[1]).report.warning
    assert.equal("musicgen-bridge: generate: " .. warning, world.help[#world.help])
  end)

  it("the best of several takes is kept", function()
    world.project.selection = { 0, BAR }
    act("generate", { "techno", "", "2" })
    assert.same({}, world.boxes)
    local take = sidecar(track.items[1].takes[1])
    assert.same({ 1, 2, 2 }, { #track.items[1].takes, take.request.best_of, #take.report.candidates })
    assert.equal("2", world.ext["musicgen-bridge/best_of"])
  end)

  it("variations become takes of one item", function()
    world.project.selection = { 0, BAR }
    act("variations", { "techno", "", "1", "3" })
    assert.same({}, world.boxes)
    assert.equal(1, #track.items)
    assert.equal(3, #track.items[1].takes)
    assert.equal(track.items[1].takes[1], track.items[1].active)
    local seeds, first = {}, sidecar(track.items[1].takes[1]).seed
    for _, take in ipairs(track.items[1].takes) do
      seeds[sidecar(take).seed] = true
    end
    assert.same({ [first] = true, [first + 1] = true, [first + 2] = true }, seeds)
    assert.equal(1, #world.undo)
  end)

  it("parts become tracks, and again renders one part only", function()
    world.project.selection = { BAR, 2 * BAR }
    act("parts", { "drums: tight break; bass: sub", "1" })
    assert.same({}, world.boxes)
    local tracks = world.project.tracks
    assert.same({ 0, 1, 1 }, { #tracks[1].items, #tracks[2].items, #tracks[3].items })
    assert.same({ "drums", "bass" }, { tracks[2].texts.P_NAME, tracks[3].texts.P_NAME })
    lies(tracks[3].items[1], BAR, 2 * BAR)
    assert.equal(1, #world.undo)
    local bass = tracks[3].items[1]
    world.project.selected_item = bass
    act("again")
    assert.equal(2, #bass.takes)
    assert.equal("bass: sub", sidecar(bass.takes[2]).request.parts)
  end)

  it("an item's melody is followed, as far as it lies in the time selection", function()
    generated()
    world.project.selection = { 3 * BAR, 9 * BAR }
    act("melody", { "warm lead", "", "1", "all" })
    assert.same({}, world.boxes)
    local item = world.project.tracks[2].items[1]
    lies(item, 3 * BAR, 4 * BAR)
    local request = sidecar(item.takes[1]).request
    assert.same({ "melody", "all" }, { request.mode, request.melody_part })
    assert.equal("all", world.ext["musicgen-bridge/melody_part"])
    local size = assert(io.open(request.melody, "rb")):seek("end")
    assert.equal(44 + 8 * math.floor(BAR * 44100 + 0.5), size)
  end)

  it("an item is continued from its end", function()
    generated()
    act("continue", { "techno", "", "1", "1" })
    assert.same({}, world.boxes)
    lies(track.items[2], 4 * BAR, 5 * BAR)
    assert.equal("continue", sidecar(track.items[2].takes[1]).request.mode)
  end)

  it("a stretch inside an item is made anew, as takes in which the rest is the same to the last bit", function()
    local item = generated()
    local from, to = 2.5 * BAR, 3.5 * BAR
    world.project.selection = { from, to }
    act("regenerate", { "techno", "", "2" })
    assert.same({}, world.boxes)
    assert.same({ open = 0, "musicgen-bridge: regenerate" }, world.undo)
    assert.truthy(world.dialogs[1].defaults:find("techno, one loop", 1, true))
    assert.same({ 1, 3 }, { #track.items, #item.takes })
    assert.equal(item.takes[2], item.active)
    lies(item, 2 * BAR, 4 * BAR)
    local before = stub.wav(item.takes[1].source.path)
    for index = 2, 3 do
      local request = sidecar(item.takes[index]).request
      assert.same({ "fill", "7/8" }, { request.mode, request.signature })
      local after, changed = stub.wav(item.takes[index].source.path), 0
      assert.same({ before.rate, before.frames }, { after.rate, after.frames })
      for frame = 0, before.frames - 1, 50 do
        local time, moved = frame / 44100, math.abs(after.sample(frame, 0) - before.sample(frame, 0))
        if time < 0.5 * BAR - 0.03 or time > 1.5 * BAR then
          assert.equal(0, moved)
        end
        changed = math.max(changed, moved)
      end
      assert.is_true(changed > 0.01)
    end
    assert.not_equal(sidecar(item.takes[2]).seed, sidecar(item.takes[3]).seed)
  end)

  it("without a separation model, split says how to get one, and the item stays", function()
    local item = generated()
    act("split")
    assert.equal(1, #world.boxes)
    assert.truthy(world.boxes[1]:find("models pull demucs", 1, true))
    assert.is_nil(item.values.B_MUTE)
    assert.equal(1, #world.project.tracks)
  end)

  it("a stem waits for its project to come back to the front", function()
    world.project.selection = { 0, BAR }
    local mine = world.project
    world.answers = { { "techno", "", "1" } }
    stub.run("musicgen-bridge_generate.lua")
    stub.project("/elsewhere/other.rpp")
    stub.turn(function() return (world.help[#world.help] or ""):find("is ready") end)
    assert.same({}, track.items)
    world.project = mine
    stub.turn()
    assert.equal(1, #track.items)
  end)

  it("a closed project's stem is told by its path, and not put into the one that was opened in its tab", function()
    world.project.selection = { 0, BAR }
    world.answers = { { "techno", "", "1" } }
    stub.run("musicgen-bridge_generate.lua")
    world.project.path = "/elsewhere/other.rpp"
    stub.turn()
    assert.truthy(world.boxes[1]:find(SONG .. "/MusicGen/", 1, true))
    assert.same({}, track.items)
  end)

  it("who ends the script ends its render", function()
    world.project.selection, world.answers = { 0, 60 * BAR }, { { "slow pad", "", "1" } }
    stub.run("musicgen-bridge_generate.lua")
    local id = assert(world.ext["musicgen-bridge/running"]:match("%S+"))
    stub.turn(function() return (world.help[#world.help] or ""):find("generating") end)
    stub.exit()
    local report = FOLDER .. "/REAPER's files/musicgen-bridge/" .. id .. ".json.report"
    repeat
      local file = assert(io.open(report))
      local text = file:read("a")
      file:close()
    until text:find("E_CANCELLED", 1, true)
  end)
end)
