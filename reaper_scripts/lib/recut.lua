-- @noindex
-- The selected item's take, cut anew from what the model played: moved by beats or milliseconds, or as a dialog says.

local ask = require("ask")
local jobs = require("jobs")
local place = require("place")
local project = require("project")
local timing = require("timing")

local recut = {}

-- Cuts of an item go one after the other, each from the take that the one before has left active: who presses three
-- times moves it three times. `keys` holds what changes.
local function start(title, keys)
  local handle = project.current()
  local item = place.selected(handle)
  local span, take = timing.of_item(item), nil
  local _, lane = reaper.GetSetMediaItemInfo_String(item, "GUID", "", false)
  jobs.start({
    title = title,
    word = "recut",
    lane = (lane:gsub("[^%w-]", "")),
    keys = function()
      take = place.active(handle, item)
      keys.take = place.file(take)
      return keys
    end,
    place = function(project_handle, rendered)
      place.cut(project_handle, item, take, span, rendered)
    end,
  })
end

--- Moves what the selected item's take plays, by so many quarter notes and milliseconds to the left.
function recut.nudge(beats, milliseconds)
  start("nudge", { shift_beats = beats, shift_ms = milliseconds })
end

--- Asks how the selected item's take is to be cut.
function recut.ask()
  local handle = project.current()
  local item = place.selected(handle)
  local answers = ask.fields("cut anew", {
    { "Beats earlier; negative is later", "0" },
    { "Milliseconds earlier", "0" },
    { "Bars or nothing", "" },
    { "Tempo or nothing", tostring(timing.keys(handle, timing.of_item(item)).bpm or "") },
    { "Loudness in LUFS or off or nothing", "" },
  })
  if answers then
    start("cut anew", {
      shift_beats = ask.number(answers[1], "Beats"),
      shift_ms = ask.number(answers[2], "Milliseconds"),
      bars = ask.number(answers[3], "Bars"),
      bpm = ask.number(answers[4], "Tempo"),
      loudness = answers[5] == "off" and "off" or ask.number(answers[5], "Loudness"),
    })
  end
end

return recut
