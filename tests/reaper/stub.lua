-- A strict stand-in for Reaper: an unknown function, a wrong number or type of arguments, or a dead pointer is an
-- error. Programs are really run, WAV files really read, and deferred functions run until none is left.

local stub = { scripts = assert(os.getenv("REAPER_SCRIPTS")) }

local reaper, world = {}, nil

-- Kinds of arguments: s text, n number, b flag, f function, and handles by the first letter of their kind.
local KINDS = { s = "string", n = "number", b = "boolean", f = "function", a = "table" }
local HANDLES = {
  p = "ReaProject*", t = "MediaTrack*", i = "MediaItem*", k = "MediaItem_Take*", r = "PCM_source*", c = "Accessor*",
}

local function check(name, index, wanted, value)
  local handle = HANDLES[wanted]
  if handle then
    local fine = type(value) == "table" and value.kind == handle and not value.dead
    assert(fine, ("reaper.%s: argument %d is no living %s"):format(name, index, handle))
  elseif wanted ~= "*" then
    assert(type(value) == KINDS[wanted], ("reaper.%s: argument %d must be a %s"):format(name, index, KINDS[wanted]))
  end
end

local function api(name, kinds, run)
  reaper[name] = function(...)
    assert(select("#", ...) == #kinds, ("reaper.%s takes %d arguments"):format(name, #kinds))
    for index = 1, #kinds do
      check(name, index, kinds:sub(index, index), (select(index, ...)))
    end
    world.calls[#world.calls + 1] = name
    return run(...)
  end
end

local function handle(kind, values)
  values.kind, values.values, values.texts = kind, values.values or {}, values.texts or {}
  return values
end

-- What a change to the project must stand in: one undo block.
local function changing()
  assert(world.undo.open == 1, "the project is changed outside of an undo block")
end

-- Programs ----------------------------------------------------------------------------------------------------------

-- Three kinds of quotes and no escapes, as WDL's line parser has them.
local function split(line)
  local words, at = {}, 1
  while true do
    at = line:find("%S", at)
    if not at then
      return words
    end
    local mark = line:sub(at, at)
    if mark:find("[\"'`]") then
      local stop = assert(line:find(mark, at + 1, true), "a quote is not closed: " .. line)
      words[#words + 1], at = line:sub(at + 1, stop - 1), stop + 1
    else
      local stop = line:find("%s", at) or #line + 1
      words[#words + 1], at = line:sub(at, stop - 1), stop
    end
  end
end

local function for_shell(words)
  local quoted = {}
  for index, word in ipairs(words) do
    quoted[index] = "'" .. word:gsub("'", "'\\''") .. "'"
  end
  return table.concat(quoted, " ")
end

api("ExecProcess", "sn", function(line, milliseconds)
  local words = split(line)
  assert(words[1]:sub(1, 1) == "/", "ExecProcess needs an absolute path: " .. words[1])
  world.commands[#world.commands + 1] = words
  if milliseconds < 0 then
    os.execute(for_shell(words) .. " >>'" .. world.folder .. "/background.log' 2>&1 &")
    return "0\n"
  end
  local pipe = io.popen(for_shell(words))
  local said = pipe:read("a")
  local _, _, code = pipe:close()
  return ("%d\n%s"):format(code, said)
end)

-- Settings, dialogs, files ------------------------------------------------------------------------------------------

api("GetExtState", "ss", function(section, key) return world.ext[section .. "/" .. key] or "" end)
api("SetExtState", "sssb", function(section, key, value) world.ext[section .. "/" .. key] = value end)
api("DeleteExtState", "ssb", function(section, key) world.ext[section .. "/" .. key] = nil end)
api("GetProjExtState", "pss", function(project, section, key)
  local value = project.texts[section .. "/" .. key] or ""
  return #value > 0 and 1 or 0, value
end)
api("SetProjExtState", "psss", function(project, section, key, value)
  project.texts[section .. "/" .. key] = value
  return #value
end)
api("MB", "ssn", function(text)
  world.boxes[#world.boxes + 1] = text
  return 1
end)
api("Help_Set", "sb", function(text) world.help[#world.help + 1] = text end)
api("GetUserInputs", "snss", function(title, count, captions, defaults)
  local answers = table.remove(world.answers, 1)
  assert(answers ~= nil, "an unexpected dialog: " .. title)
  world.dialogs[#world.dialogs + 1] = { title = title, count = count, captions = captions, defaults = defaults }
  assert(captions:find(",separator=\n$"), "commas in a prompt would split it")
  if not answers then
    return false, defaults
  end
  assert(#answers == count, title .. " has " .. count .. " fields")
  return true, table.concat(answers, "\n")
end)
api("GetUserFileNameForRead", "sss", function() return world.chosen_file ~= nil, world.chosen_file or "" end)
api("GetOS", "", function() return "Other" end)
api("GetResourcePath", "", function() return world.folder .. "/REAPER's files" end)
api("RecursiveCreateDirectory", "sn", function(path) os.execute(for_shell({ "mkdir", "-p", path })) return 1 end)
api("file_exists", "s", function(path)
  local file = io.open(path, "rb")
  return file ~= nil and file:close()
end)
api("time_precise", "", function()
  world.time = world.time + 0.005 -- slower than real time: a busy machine may take longer to answer
  return world.time
end)
api("genGuid", "s", function()
  world.guids = world.guids + 1
  return ("{00000000-0000-0000-0000-%012X}"):format(world.guids)
end)
api("atexit", "f", function(run) world.exits[#world.exits + 1] = run end)
api("defer", "f", function(run) world.deferred[#world.deferred + 1] = run end)
api("get_action_context", "", function() return false, world.script, 0, 1, 0, 0, 0 end)

-- The project and its time ------------------------------------------------------------------------------------------

-- Project -1 is the one in front; the others are counted by their tabs, the first of them 0.
api("EnumProjects", "n", function(index)
  local project = index == -1 and world.project or world.tabs[index + 1]
  return project, project and project.path
end)
api("ValidatePtr2", "p*s", function(_, pointer, kind) return pointer.kind == kind and not pointer.dead end)
api("GetSetProjectInfo", "psnb", function(project, name, _, set)
  assert(not set)
  return assert(project.values[name], name)
end)
api("GetAudioDeviceInfo", "ss", function(name)
  assert(name == "SRATE")
  return world.device_rate ~= nil, world.device_rate or ""
end)
api("GetSet_LoopTimeRange2", "pbbnnb", function(project, set)
  assert(not set)
  return project.selection[1], project.selection[2]
end)

require("stub_tempo")(api)

-- Tracks, items, takes ----------------------------------------------------------------------------------------------

local function index_of(list, one)
  for index, other in ipairs(list) do
    if other == one then
      return index
    end
  end
  error("it is not in the list")
end

local function text_api(name, kind, known)
  api(name, kind .. "ssb", function(object, key, value, set)
    assert(known[key], name .. " knows no " .. key)
    if set then
      changing()
      object.texts[key] = value
    end
    return true, object.texts[key] or ""
  end)
end

text_api("GetSetMediaItemInfo_String", "i", { P_NOTES = true, GUID = true })
text_api("GetSetMediaItemTakeInfo_String", "k", { P_NAME = true })
text_api("GetSetMediaTrackInfo_String", "t", { P_NAME = true })
local function value_api(name, kind, known)
  api("Get" .. name, kind .. "s", function(object, key)
    return object.values[key] or assert(known[key], key)
  end)
  api("Set" .. name, kind .. "sn", function(object, key, value)
    changing()
    assert(known[key], key)
    object.values[key] = value
    return true
  end)
end

value_api("MediaItemInfo_Value", "i", { D_POSITION = 0, D_LENGTH = 0, B_MUTE = 0 })
value_api("MediaItemTakeInfo_Value", "k", {
  D_STARTOFFS = 0, D_PLAYRATE = 1, D_VOL = 1, D_PAN = 0, D_PITCH = 0, B_PPITCH = 1, I_PITCHMODE = -1, I_CHANMODE = 0,
})
api("GetMediaTrackInfo_Value", "ts", function(track, key)
  assert(key == "IP_TRACKNUMBER")
  return index_of(world.project.tracks, track) + 0.0
end)
api("CountTracks", "p", function(project) return #project.tracks end)
api("GetTrack", "pn", function(project, index) return project.tracks[index + 1] end)
api("InsertTrackAtIndex", "nb", function(index)
  changing()
  assert(math.type(index) == "integer")
  table.insert(world.project.tracks, index + 1, handle("MediaTrack*", { items = {} }))
end)
api("GetSelectedTrack", "pn", function(project) return project.selected_track end)
api("GetSelectedMediaItem", "pn", function(project) return project.selected_item end)
api("GetMediaItem_Track", "i", function(item) return item.track end)
api("AddMediaItemToTrack", "t", function(track)
  changing()
  local item = handle("MediaItem*", { track = track, takes = {}, texts = { GUID = reaper.genGuid("") } })
  table.insert(track.items, item)
  return item
end)
api("AddTakeToMediaItem", "i", function(item)
  changing()
  local take = handle("MediaItem_Take*", { item = item })
  table.insert(item.takes, take)
  item.active = item.active or take
  return take
end)
api("GetActiveTake", "i", function(item) return item.active end)
api("SetActiveTake", "k", function(take)
  changing()
  take.item.active = take
end)
api("TakeIsMIDI", "k", function(take) return take.midi == true end)
api("PCM_Source_CreateFromFile", "s", function(path)
  local file = assert(io.open(path, "rb"), "no such file: " .. path)
  file:close()
  return handle("PCM_source*", { path = path })
end)
api("CountTakes", "i", function(item) return #item.takes end)
api("GetMediaItemTake_Source", "k", function(take) return take.source end)
api("GetMediaSourceFileName", "r", function(source) return source.path end)
api("GetMediaSourceLength", "r", function(source)
  local wav = stub.wav(source.path)
  return wav.frames / wav.rate, false
end)
api("SetMediaItemTake_Source", "kr", function(take, source)
  changing()
  take.source = source
  return true
end)

-- Audio: what a take's WAV file holds, from the item's start on -------------------------------------------------------

--- Returns the form of a WAV file of 24 bits or of floating point, and how to read a sample of it.
function stub.wav(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  local at, channels, rate, bits = 13, nil, nil, nil
  while true do
    local id, size = ("<c4I4"):unpack(text, at)
    if id == "fmt " then
      local format
      format, channels, rate = ("<I2I2I4"):unpack(text, at + 8)
      bits = ("<I2"):unpack(text, at + 22)
      assert(bits == 24 and (format == 1 or format == 0xFFFE) or bits == 32 and format == 3, "the stub can't read it")
    elseif id == "data" then
      local wav, width = { channels = channels, rate = rate, frames = size // (bits // 8 * channels) }, bits // 8
      function wav.sample(frame, channel)
        local place = at + 8 + (frame * channels + math.min(channel, channels - 1)) * width
        return bits == 24 and ("<i3"):unpack(text, place) / 2 ^ 23 or (("<f"):unpack(text, place))
      end
      return wav
    end
    at = at + 8 + size + size % 2
  end
end

api("CreateTakeAudioAccessor", "k", function(take)
  return handle("Accessor*", { wav = stub.wav(take.source.path) })
end)
api("DestroyAudioAccessor", "c", function(accessor) accessor.dead = true end)
api("GetAudioAccessorSamples", "cnnnna", function(accessor, rate, channels, from, count, buffer)
  local wav, heard = accessor.wav, 0
  assert(math.type(rate) == "integer" and count * channels <= buffer.size)
  for frame = 0, count - 1 do
    local source = math.floor((from + frame / rate) * wav.rate + 0.5)
    for channel = 0, channels - 1 do
      local value = 0
      if source < wav.frames then
        value, heard = wav.sample(source, channel), 1
      end
      buffer.values[frame * channels + channel + 1] = value
    end
  end
  return heard
end)
api("new_array", "n", function(size)
  local array = { size = size, values = {} }
  function array.clear()
    for index = 1, size do
      array.values[index] = 0
    end
  end
  function array.table(offset, count)
    return table.move(array.values, offset, offset + count - 1, 1, {})
  end
  return array
end)

-- Undo and drawing ----------------------------------------------------------------------------------------------------

api("Undo_BeginBlock2", "p", function()
  world.undo.open = world.undo.open + 1
end)
api("Undo_EndBlock2", "psn", function(_, title, flags)
  assert(flags == -1)
  world.undo.open = world.undo.open - 1
  table.insert(world.undo, title)
end)
api("PreventUIRefresh", "n", function(by) world.hidden = world.hidden + by end)
api("UpdateArrange", "", function() assert(world.hidden == 0) end)
api("Main_OnCommand", "nn", function(command) assert(command == 40047) end)

local Gfx = {}
function Gfx.init(title) world.window = title end
function Gfx.quit() world.window = nil end
function Gfx.setfont() end
function Gfx.set() end
function Gfx.rect() end
function Gfx.drawstr(text) world.drawn[#world.drawn + 1] = { text = text, x = gfx.x, y = gfx.y } end
function Gfx.update() world.frames, world.shown, world.drawn = world.frames + 1, world.drawn, {} end
function Gfx.showmenu(text) world.menu = text return table.remove(world.menu_answers, 1) or 0 end
function Gfx.getchar() return table.remove(world.keys, 1) or 0 end
local FIELDS = { x = 0, y = 0, w = 520, h = 500, mouse_x = 0, mouse_y = 0, mouse_cap = 0 }

local function strict(functions, fields, name)
  return setmetatable(fields, {
    __index = function(_, key) return functions[key] or error(name .. " has no " .. key, 2) end,
    __newindex = function(_, key) error(name .. "." .. key .. " can't be set", 2) end,
  })
end

-- For the tests -------------------------------------------------------------------------------------------------------

--- Makes a new world: one project in `song`, Reaper's own files below `folder`, one selected track. Returns it.
function stub.new(folder, song)
  world = {
    folder = folder, calls = {}, commands = {}, boxes = {}, help = {}, answers = {}, dialogs = {}, ext = {},
    deferred = {}, undo = { open = 0 }, hidden = 0, time = 0, guids = os.time() * 1000 + math.random(999), keys = {},
    drawn = {}, shown = {}, frames = 0, menu_answers = {}, exits = {},
  }
  local track = handle("MediaTrack*", { items = {} })
  world.project = handle("ReaProject*", {
    path = song and song .. "/my song.rpp" or "", tracks = { track }, selected_track = track, selection = { 0, 0 },
    markers = { { time = 0, bpm = 120, beats = 4, unit = 4 } },
    values = { PROJECT_SRATE_USE = 1, PROJECT_SRATE = 48000 },
  })
  world.tabs = { world.project }
  _G.reaper, _G.gfx = strict(reaper, {}, "reaper"), strict(Gfx, FIELDS, "gfx")
  return world
end

--- Adds an item with an audio file to a track, selected, outside of any undo block.
function stub.item(track, path, position, length)
  local values = { D_POSITION = position, D_LENGTH = length }
  local item = handle("MediaItem*", { track = track, values = values, texts = { GUID = reaper.genGuid("") } })
  local take = handle("MediaItem_Take*", { item = item, source = handle("PCM_source*", { path = path }) })
  item.takes, item.active = { take }, take
  table.insert(track.items, item)
  world.project.selected_item = item
  return item
end

--- Opens another project in a tab of its own, in front.
function stub.project(path)
  local other = { path = path, tracks = {}, selection = { 0, 0 }, markers = world.project.markers }
  world.project = handle("ReaProject*", other)
  world.tabs[#world.tabs + 1] = world.project
end

--- Ends the scripts that run, as a musician does in the list of actions.
function stub.exit()
  world.deferred = {}
  for _, run in ipairs(table.move(world.exits, 1, #world.exits, 1, {})) do
    run()
  end
end

--- Runs a script as Reaper does: with its own modules, and a defer loop that may be run later.
function stub.run(script)
  for name in pairs(package.loaded) do
    if reaper.file_exists(stub.scripts .. "/lib/" .. name .. ".lua") then
      package.loaded[name] = nil
    end
  end
  world.script = stub.scripts .. "/" .. script
  local path = package.path
  dofile(world.script)
  package.path = path
end

--- Runs an action to its end, with these answers to what it asks.
function stub.act(name, ...)
  world.answers = { ... }
  stub.run("musicgen-bridge_" .. name .. ".lua")
  stub.turn()
end

--- Runs what is deferred, round by round, until `done` says so or nothing is left.
function stub.turn(done)
  while #world.deferred > 0 and not (done and done()) do
    local round = world.deferred
    world.deferred = {}
    for _, run in ipairs(round) do
      run()
    end
    os.execute("sleep 0.01")
  end
end

return stub
