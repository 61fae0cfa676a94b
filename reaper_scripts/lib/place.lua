-- @noindex
-- Puts rendered takes on tracks and into items; whoever calls it opens the undo block.

local json = require("json")
local message = require("message")
local sidecar = require("sidecar")
local timing = require("timing")

local place = {}

local EDGE_S = 0.001 -- lengths that differ by less are the same
local NOTE = "musicgen-bridge "
local HOW_IT_SOUNDS = { "D_VOL", "D_PAN", "D_PITCH", "B_PPITCH", "I_PITCHMODE", "I_CHANMODE" }

local function there(handle, pointer, kind)
  return pointer and reaper.ValidatePtr2(handle, pointer, kind) and pointer or nil
end

--- Returns the selected item; stops where none is.
function place.selected(handle)
  return reaper.GetSelectedMediaItem(handle, 0) or message.stop("Select an item first.")
end

--- Returns the active take of an item; stops where the item is gone or holds none.
function place.active(handle, item)
  local take = there(handle, item, "MediaItem*") and reaper.GetActiveTake(item)
  return take or message.stop("The selected item holds no take.")
end

--- Returns the file that a take plays; stops where it plays none.
function place.file(take)
  local path = reaper.GetMediaSourceFileName(reaper.GetMediaItemTake_Source(take))
  if path == "" then
    message.stop("The selected item's take plays no file of its own: it is MIDI, reversed or a section of one.")
  end
  return path
end

--- Returns the render keys that an item's notes hold, or nil.
function place.noted(item)
  local _, notes = reaper.GetSetMediaItemInfo_String(item, "P_NOTES", "", false)
  local text = ("\n" .. notes):match("\nmusicgen%-bridge ({[^\r\n]*)")
  local ok, note = pcall(json.decode, text or "null")
  return ok and type(note) == "table" and note.render or nil
end

-- The request that makes this item once more: its own part and stem, one take, and a seed that the bridge draws.
local function again(take)
  local keys = {}
  for name, value in pairs(take.request) do
    keys[name] = value
  end
  local part = take.part.name
  if take.separated then
    keys.separate = take.separated
    part = part:sub(1, -#take.separated - 2) -- "keys vocals" is a stem of the part keys, "vocals" of the whole
  end
  if part ~= "" then
    keys.parts = part .. ": " .. take.part.prompt
  end
  keys.variations, keys.seed = 1, nil
  return keys
end

local function title(one)
  if one.title then
    return one.title
  end
  local request, part = one.request, one.part.name
  if request.mode == "fit" then
    local name = request.name or "fitted"
    return part ~= "" and name .. ": " .. part or name
  end
  return ("%s (seed %d)"):format(part ~= "" and part or request.prompt or request.mode, one.seed)
end

-- Adds rendered takes to an item; the first of them becomes the active one and is returned.
local function add(item, rendered)
  local first
  for _, one in ipairs(rendered) do
    local take = reaper.AddTakeToMediaItem(item)
    reaper.SetMediaItemTake_Source(take, reaper.PCM_Source_CreateFromFile(one.path))
    reaper.GetSetMediaItemTakeInfo_String(take, "P_NAME", title(one), true)
    first = first or take
  end
  reaper.SetActiveTake(first)
  return first
end

local function new_item(track, span, rendered)
  local item = reaper.AddMediaItemToTrack(track)
  reaper.SetMediaItemInfo_Value(item, "D_POSITION", span.from)
  reaper.SetMediaItemInfo_Value(item, "D_LENGTH", span.to - span.from)
  add(item, rendered)
  local note = { sidecar = rendered[1].sidecar, render = again(rendered[1]) }
  reaper.GetSetMediaItemInfo_String(item, "P_NOTES", NOTE .. json.encode(note), true)
  return item
end

-- Below a track, or at the end where there is none.
local function new_track(handle, above, name)
  local index = above and reaper.GetMediaTrackInfo_Value(above, "IP_TRACKNUMBER") or reaper.CountTracks(handle)
  reaper.InsertTrackAtIndex(math.floor(index), true)
  local track = reaper.GetTrack(handle, math.floor(index))
  reaper.GetSetMediaTrackInfo_String(track, "P_NAME", name, true)
  return track
end

local function by_part(rendered)
  local parts = {}
  for _, one in ipairs(rendered) do
    local last = parts[#parts]
    if not last or last[1].part.name ~= one.part.name then
      last = {}
      parts[#parts + 1] = last
    end
    last[#last + 1] = one
  end
  return parts
end

--- Makes an item of each part at a stretch of time, its variations as takes: on the track, parts on new ones below it.
function place.items(handle, track, span, rendered)
  track = there(handle, track, "MediaTrack*")
  for _, part in ipairs(by_part(rendered)) do
    if part[1].part.name ~= "" or not track then
      track = new_track(handle, track, part[1].part.name)
    end
    new_item(track, span, part)
  end
end

--- Makes items on new tracks below a track.
function place.below(handle, track, span, rendered)
  track = new_track(handle, there(handle, track, "MediaTrack*"), "")
  place.items(handle, track, span, rendered)
end

--- Makes items on new tracks below an item's track, and mutes the item, if it is still there.
function place.instead(handle, item, span, rendered)
  item = there(handle, item, "MediaItem*")
  local track = item and reaper.GetMediaItem_Track(item)
  if rendered[1].part.name == "" then
    place.below(handle, track, span, rendered)
  else
    place.items(handle, track, span, rendered)
  end
  if item then
    reaper.SetMediaItemInfo_Value(item, "B_MUTE", 1)
  end
end

--- Adds takes to an item that is still there, else makes a new one of them.
function place.into(handle, item, span, rendered)
  if there(handle, item, "MediaItem*") then
    add(item, rendered)
  else
    place.items(handle, nil, span, rendered)
  end
end

-- How long an item is that plays all of a take once.
local function once(take)
  local length = reaper.GetMediaSourceLength(reaper.GetMediaItemTake_Source(take))
  return length / reaper.GetMediaItemTakeInfo_Value(take, "D_PLAYRATE")
end

-- Has a cut sound as the take that it was cut from, from the same beat of it on.
local function liken(cut, take, faster)
  for _, value in ipairs(HOW_IT_SOUNDS) do
    reaper.SetMediaItemTakeInfo_Value(cut, value, reaper.GetMediaItemTakeInfo_Value(take, value))
  end
  reaper.SetMediaItemTakeInfo_Value(cut, "D_STARTOFFS", reaper.GetMediaItemTakeInfo_Value(take, "D_STARTOFFS") / faster)
  if math.abs(faster - 1) < 1e-6 then -- else it is played at the project's tempo
    reaper.SetMediaItemTakeInfo_Value(cut, "D_PLAYRATE", reaper.GetMediaItemTakeInfo_Value(take, "D_PLAYRATE"))
  end
end

--- Adds what was cut of an item's take to the item, which stays as long as it is, or as long as its take if it was so.
function place.cut(handle, item, take, span, rendered)
  if not there(handle, take, "MediaItem_Take*") then
    return place.into(handle, item, span, rendered)
  end
  local _, name = reaper.GetSetMediaItemTakeInfo_String(take, "P_NAME", "", false)
  rendered[1].title = ("%s, cut %d"):format(name:gsub(", cut %d+$", ""), reaper.CountTakes(item))
  local here, before = timing.of_item(item), once(take)
  local cut = add(item, rendered)
  liken(cut, take, rendered[1].request.bpm / sidecar.of(place.file(take)).request.bpm)
  if math.abs(here.to - here.from - before) < EDGE_S then
    reaper.SetMediaItemInfo_Value(item, "D_LENGTH", once(cut))
  end
end

return place
