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

-- The times of the tempo markers strictly inside, and whether each begins a bar of a time signature.
local function markers(handle, span)
  local list = {}
  local first = reaper.FindTempoTimeSigMarker(handle, span.from + SOON) + 1
  for index = first, reaper.FindTempoTimeSigMarker(handle, span.to - SOON) do
    local _, time, _, _, _, beats = reaper.GetTempoTimeSigMarker(handle, index)
    list[#list + 1] = { time = time, meter = beats > 0 }
  end
  return list
end

local function tempo_at(handle, time)
  local _, _, bpm = reaper.TimeMap_GetTimeSigAtTime(handle, time)
  return bpm
end

-- In quarter notes a minute: Reaper's own tempo may count other notes.
local function mean(handle, from, to)
  local quarters = reaper.TimeMap2_timeToQN(handle, to) - reaper.TimeMap2_timeToQN(handle, from)
  return quarters * 60 / (to - from)
end

-- The tempo at both ends of a stretch without markers: Reaper's own gives only their ratio.
local function ends(handle, from, to)
  local middle = mean(handle, from, to)
  local first, last = tempo_at(handle, from + SOON), tempo_at(handle, to - SOON)
  if math.abs(first - last) < 1e-4 then
    return middle, middle
  end
  return 2 * middle * first / (first + last), 2 * middle * last / (first + last)
end

local function meter_at(handle, time)
  return ("%d/%d"):format(reaper.TimeMap_GetTimeSigAtTime(handle, time + SOON))
end

--- Returns the render keys of the tempo around a stretch: its mean, and the meter that it begins in.
function timing.around(handle, span)
  return { bpm = rounded(mean(handle, span.from, span.to), 6), signature = meter_at(handle, span.from) }
end

local function shortest(value)
  return ("%.12g"):format(value)
end

-- One point of the render key tempo_map for the stretch's start and each marker: "14 120>90 4/4".
local function tempo_map(handle, span, inside)
  local points, start = {}, reaper.TimeMap2_timeToQN(handle, span.from)
  table.insert(inside, 1, { time = span.from, meter = true })
  for index, marker in ipairs(inside) do
    local first, last = ends(handle, marker.time, inside[index + 1] and inside[index + 1].time or span.to)
    local tempo = shortest(first) .. (first == last and "" or ">" .. shortest(last))
    local words = { shortest(reaper.TimeMap2_timeToQN(handle, marker.time) - start), tempo }
    words[3] = marker.meter and meter_at(handle, marker.time) or nil
    points[index] = table.concat(words, " ")
  end
  return table.concat(points, "; ")
end

--- Returns the render keys of a stretch: its tempo, meter and length in bars, or where the project's tempo map changes
-- inside (a marker, or a tempo that glides) that map, and the exact length in seconds.
function timing.keys(handle, span)
  local keys = { sample_rate = project.sample_rate(handle) }
  local inside = markers(handle, span)
  local first, last = ends(handle, span.from, span.to)
  if #inside > 0 or first ~= last then
    keys.seconds = span.to - span.from
    keys.tempo_map = tempo_map(handle, span, inside)
  else
    local beats, unit = reaper.TimeMap_GetTimeSigAtTime(handle, span.from + SOON)
    keys.bpm, keys.signature = rounded(first, 6), ("%d/%d"):format(beats, unit)
    keys.bars = rounded(first * (span.to - span.from) / 60 * unit / (4 * beats), 9)
  end
  return keys
end

return timing
