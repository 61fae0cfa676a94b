-- @noindex
-- Puts rendered takes on tracks and into items; whoever calls it opens the undo block.

local json = require("json")
local timing = require("timing")

local place = {}

local FADE_S = 0.01
local EDGE_S = 0.001 -- nearer than this to an item's edge nothing of it is left over
local NOTE = "musicgen-bridge "

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
  local request, part = one.request, one.part.name
  if request.mode == "fit" then
    local name = request.name or "fitted"
    return part ~= "" and name .. ": " .. part or name
  end
  return ("%s (seed %d)"):format(part ~= "" and part or request.prompt or "unconditional", one.seed)
end

--- Adds rendered takes to an item, the first of them active.
function place.takes(item, rendered)
  for index, one in ipairs(rendered) do
    local take = reaper.AddTakeToMediaItem(item)
    reaper.SetMediaItemTake_Source(take, reaper.PCM_Source_CreateFromFile(one.path))
    reaper.GetSetMediaItemTakeInfo_String(take, "P_NAME", title(one), true)
    if index == 1 then
      reaper.SetActiveTake(take)
    end
  end
end

local function new_item(track, span, rendered)
  local item = reaper.AddMediaItemToTrack(track)
  reaper.SetMediaItemInfo_Value(item, "D_POSITION", span.from)
  reaper.SetMediaItemInfo_Value(item, "D_LENGTH", span.to - span.from)
  place.takes(item, rendered)
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

local function there(handle, pointer, kind)
  return pointer and reaper.ValidatePtr2(handle, pointer, kind) and pointer or nil
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
    place.takes(item, rendered)
  else
    place.items(handle, nil, span, rendered)
  end
end

local function fade(item, name, seconds)
  reaper.SetMediaItemInfo_Value(item, name, seconds)
end

--- Puts a take in the place of a stretch of an item; what is left of it reaches into the stretch and is faded across.
function place.within(handle, item, span, rendered)
  local whole = there(handle, item, "MediaItem*") and timing.of_item(item)
  if not whole or span.from < whole.from - EDGE_S or span.to > whole.to + EDGE_S then
    return place.items(handle, nil, span, rendered) -- it was moved or deleted while the bridge rendered
  end
  local track = reaper.GetMediaItem_Track(item)
  local across = math.min(FADE_S, (span.to - span.from) / 4)
  local new = new_item(track, span, rendered)
  local middle = item
  if span.from > whole.from + EDGE_S then
    middle = reaper.SplitMediaItem(item, span.from + across)
    fade(item, "D_FADEOUTLEN", across)
    fade(new, "D_FADEINLEN", across)
  end
  if span.to < whole.to - EDGE_S then
    fade(reaper.SplitMediaItem(middle, span.to - across), "D_FADEINLEN", across)
    fade(new, "D_FADEOUTLEN", across)
  end
  reaper.DeleteTrackMediaItem(track, middle)
end

return place
