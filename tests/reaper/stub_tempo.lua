-- The tempo map of the strict stand-in for Reaper: markers, quarter notes, seconds.

-- A marker is { time, bpm, beats, unit, glides }; its tempo holds, or glides in a straight line, until the next. One
-- without beats and unit changes the tempo only, and goes on in the bars before.
local function marker_at(project, time)
  local found = 1
  for index, marker in ipairs(project.markers) do
    found = marker.time <= time and index or found
  end
  return found, project.markers[found], project.markers[found + 1]
end

local function tempo(marker, next_one, time)
  if not (marker.glides and next_one) then
    return marker.bpm
  end
  return marker.bpm + (next_one.bpm - marker.bpm) * (time - marker.time) / (next_one.time - marker.time)
end

local function quarters(project, time)
  local sum = 0
  for index, marker in ipairs(project.markers) do
    local next_one = project.markers[index + 1]
    local till = math.min(time, next_one and next_one.time or time)
    if till > marker.time then
      sum = sum + (till - marker.time) * (marker.bpm + tempo(marker, next_one, till)) / 120
    end
  end
  return sum
end

return function(api)
  api("TimeMap_GetTimeSigAtTime", "pn", function(project, time)
    local index, marker, next_one = marker_at(project, time)
    while not project.markers[index].beats do
      index = index - 1
    end
    return project.markers[index].beats, project.markers[index].unit, tempo(marker, next_one, time)
  end)
  api("FindTempoTimeSigMarker", "pn", function(project, time)
    local index = marker_at(project, time)
    return index - 1
  end)
  -- Returns time, measure, beat, tempo, time signature (-1 where the marker has none) and whether the tempo glides.
  api("GetTempoTimeSigMarker", "pn", function(project, index)
    assert(math.type(index) == "integer")
    local marker = project.markers[index + 1]
    if not marker then
      return false, 0.0, 0, 0.0, 0.0, 0, 0, false
    end
    local glides = marker.glides == true
    return true, marker.time, 0, 0.0, marker.bpm, marker.beats or -1, marker.unit or -1, glides
  end)
  api("TimeMap2_timeToQN", "pn", quarters)
  api("TimeMap2_QNToTime", "pn", function(project, wanted)
    local low, high = 0, 1e5
    for _ = 1, 80 do
      local middle = (low + high) / 2
      if quarters(project, middle) < wanted then low = middle else high = middle end
    end
    return high
  end)
end
