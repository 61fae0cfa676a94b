-- @noindex
-- Stretches of the project's time, in seconds { from, to }, and the render keys that their tempo map makes.

local message = require("message")
local project = require("project")

local timing = {}

local SOON = 1e-6 -- s: under a tenth of a sample

local function rounded(value, digits)
  local scale = 10 ^ digits
  return math.floor(value * scale + 0.5) / scale
end

--- Returns the time selection, or nil.
function timing.selection(handle)
  local from, to = reaper.GetSet_LoopTimeRange2(handle, false, false, 0, 0, false)
  return to > from and { from = from, to = to } or nil
end

--- Returns the time selection; stops where there is none.
function timing.selected(handle)
  return timing.selection(handle) or message.stop("Make a time selection first: it is filled with the stem.")
end

--- Returns where an item lies.
function timing.of_item(item)
  local from = reaper.GetMediaItemInfo_Value(item, "D_POSITION")
  return { from = from, to = from + reaper.GetMediaItemInfo_Value(item, "D_LENGTH") }
end

--- Returns what the time selection and an item have in common, or nil.
function timing.within(handle, item)
  local whole, selected = timing.of_item(item), timing.selection(handle)
  if not selected then
    return nil
  end
  local from, to = math.max(whole.from, selected.from), math.min(whole.to, selected.to)
  return to > from + SOON and { from = from, to = to } or nil
end

--- Returns the stretch of so many bars that begins at a time, in the meter that holds there.
function timing.bars_from(handle, from, bars)
  local beats, unit = reaper.TimeMap_GetTimeSigAtTime(handle, from)
  local quarters = reaper.TimeMap2_timeToQN(handle, from) + bars * beats * 4 / unit
  return { from = from, to = reaper.TimeMap2_QNToTime(handle, quarters) }
end

-- A marker strictly inside, or a tempo that glides from one marker to the next.
local function changes(handle, span)
  local first, last = span.from + SOON, span.to - SOON
  local _, _, begins = reaper.TimeMap_GetTimeSigAtTime(handle, first)
  local _, _, ends = reaper.TimeMap_GetTimeSigAtTime(handle, last)
  local markers = reaper.FindTempoTimeSigMarker(handle, last) - reaper.FindTempoTimeSigMarker(handle, first)
  return markers ~= 0 or math.abs(begins - ends) > 1e-4
end

--- Returns the render keys of a stretch: its length in bars, or where the tempo map changes inside in exact seconds.
-- The tempo is the quarter notes that the map counts in it, over its minutes.
function timing.keys(handle, span)
  local beats, unit = reaper.TimeMap_GetTimeSigAtTime(handle, span.from + SOON)
  local quarters = reaper.TimeMap2_timeToQN(handle, span.to) - reaper.TimeMap2_timeToQN(handle, span.from)
  local keys = {
    bpm = rounded(quarters * 60 / (span.to - span.from), 6),
    signature = ("%d/%d"):format(beats, unit),
    sample_rate = project.sample_rate(handle),
  }
  if changes(handle, span) then
    keys.seconds = span.to - span.from
  else
    keys.bars = rounded(quarters * unit / (4 * beats), 9)
  end
  return keys
end

return timing
