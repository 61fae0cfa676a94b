-- The window and the daemon's actions, with a real daemon that the scripts themselves start and stop.

local stub = require("stub")

local FOLDER, SONG = os.getenv("REAPER_TEST_FOLDER"), os.getenv("REAPER_TEST_SONG")
local world

-- Runs the window for some frames; programs in the background go on meanwhile.
local function frames(count)
  local till = world.frames + count
  stub.turn(function() return world.frames >= till end)
end

local function shown(label)
  for _, one in ipairs(world.shown) do
    if one.text:find(label, 1, true) then
      return one
    end
  end
end

local function click(label)
  local found = assert(shown(label), label .. " is not shown")
  gfx.mouse_x, gfx.mouse_y, gfx.mouse_cap = found.x, found.y, 1
  frames(2)
  gfx.mouse_cap = 0
  frames(2)
end

local function await(done)
  stub.turn(function() return done() or #world.boxes > 0 end)
end

local function close()
  world.keys = { 27 }
  stub.turn()
  assert.is_nil(world.window)
end

describe("with no daemon yet", function()
  before_each(function() world = stub.new(FOLDER, SONG) end)

  it("it is started, told of, and not started twice", function()
    stub.run("musicgen-bridge_stop.lua")
    assert.same({ "No daemon runs." }, world.boxes)
    stub.run("musicgen-bridge_start.lua")
    stub.turn()
    assert.same({ "No daemon runs.", "The daemon is ready: model starter on cpu." }, world.boxes)
    stub.run("musicgen-bridge_start.lua")
    assert.equal("The daemon runs already.", world.boxes[3])
  end)

  it("the window writes a prompt, chooses a preset, renders, and remembers", function()
    world.project.selection = { 0, 2 }
    stub.run("musicgen-bridge.lua")
    frames(2)
    world.keys = { 100, 117, 98, 120, 8, 0x75000000 + 0x266A, 0xE9 }
    frames(3)
    assert.truthy(shown("dub♪é_"))
    world.keys = { 8 }
    frames(2)
    assert.truthy(shown("dub♪_"))
    world.menu_answers = { 4 }
    click("Preset: none")
    assert.truthy(world.menu:find("|1  Boom-bap drums|2  ", 1, true))
    assert.truthy(shown("Preset: Techno drums"))
    click("Generate")
    await(function() return #world.undo > 0 end)
    assert.same({}, world.boxes)
    frames(2)
    local item = world.project.tracks[1].items[1]
    assert.equal(2, item.values.D_LENGTH)
    assert.truthy(shown("dub♪  [Techno drums] (seed "))

    world.keys = { 33 }
    world.menu_answers = { 1 }
    click("Preset: ")
    assert.truthy(shown("dub♪!_") and shown("Preset: none"))
    click("(seed ")
    assert.truthy(shown("dub♪_") and shown("Preset: Techno drums"))

    world.project.selected_item = item
    click("< Beat")
    await(function() return #item.takes == 2 end)
    assert.same({}, world.boxes)
    world.menu_answers = { 2 }
    click("Best of 1")
    assert.equal("!Best of 1|Best of 2|Best of 4|Best of 8", world.menu)
    world.answers = { { "dub♪", "3", "2", "x" } }
    click("Variations…")
    assert.equal("dub♪\n3\n2\n3", world.dialogs[1].defaults)
    assert.truthy(world.boxes[1]:find("whole number from 1 to 32", 1, true))
    close()
    assert.equal("2", world.ext["musicgen-bridge/best_of"])
    assert.equal("dub♪", world.ext["musicgen-bridge/prompt"])
    assert.equal("3", world.ext["musicgen-bridge/preset"])
  end)

  it("the window says what an action says, and goes on", function()
    stub.run("musicgen-bridge.lua")
    frames(2)
    click("Cancel")
    assert.same({ "Nothing is being rendered." }, world.boxes)
    world.keys = { 13 }
    frames(2)
    assert.truthy(world.boxes[2]:find("time selection"))
    close()
  end)

  it("the daemon ends when it is told to", function()
    stub.run("musicgen-bridge_stop.lua")
    stub.turn()
    assert.same({ "The daemon has ended." }, world.boxes)
  end)
end)
