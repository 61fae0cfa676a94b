-- @noindex
-- The actions. Each takes the words { prompt, preset } from the window, or asks for them in a dialog.

local ask = require("ask")
local excerpt = require("excerpt")
local jobs = require("jobs")
local message = require("message")
local place = require("place")
local project = require("project")
local spool = require("spool")
local timing = require("timing")

local actions = {}

local HEARD_S = 5 -- how much of what comes before a continuation is heard, as the bridge's own default
local LEAST_HEARD_S = 0.5 -- how much has to stand before what is made anew
local MOST_BARS, MOST_LETTERS = 1024, 64

local function merged(keys, words)
  if words.prompt ~= "" then
    keys.prompt = words.prompt
  end
  if words.best_of > 1 then
    keys.best_of = words.best_of
  end
  return keys
end

local function selected_item(handle)
  local item = place.selected(handle)
  return item, place.active(handle, item)
end

-- A take's audio from its item's start to its end.
local function recording(handle, folder, item, take)
  local whole = timing.of_item(item)
  return excerpt.write(take, 0, whole.to - whole.from, project.sample_rate(handle), folder)
end

--- Fills the time selection, on the selected track or a new one.
function actions.generate(words)
  local handle = project.current()
  local span = timing.selected(handle)
  words = words or ask.words("generate")
  if words then
    local track = reaper.GetSelectedTrack(handle, 0)
    local keys = merged(timing.keys(handle, span), words)
    jobs.start({ title = "generate", keys = keys, preset = words.preset, place = function(project_handle, rendered)
      place.items(project_handle, track, span, rendered)
    end })
  end
end

--- Follows the selected item's melody, or what lies of it in the time selection; on a new track below it.
function actions.melody()
  local handle, folder = project.current()
  local item, take = selected_item(handle)
  local whole = timing.of_item(item)
  local span = timing.within(handle, item) or whole
  local last = reaper.GetExtState(message.TITLE, "melody_part")
  local caption = "Melody is in lead / all / vocals / bass / other / drums"
  local words, part = ask.words("from melody", { caption, last ~= "" and last or "lead" })
  if words then
    reaper.SetExtState(message.TITLE, "melody_part", part, true)
    local keys = merged(timing.keys(handle, span), words)
    local from, to = span.from - whole.from, span.to - whole.from
    keys.melody = excerpt.write(take, from, to, project.sample_rate(handle), folder)
    keys.melody_part = part
    local track = reaper.GetMediaItem_Track(item)
    jobs.start({ title = "from melody", keys = keys, preset = words.preset, place = function(project_handle, rendered)
      place.below(project_handle, track, span, rendered)
    end })
  end
end

--- Goes on from the end of the selected item, for so many bars, on its track.
function actions.continue()
  local handle, folder = project.current()
  local item, take = selected_item(handle)
  local words, bars = ask.words("continue", { "Bars", "4" })
  if words then
    local whole = timing.of_item(item)
    local span = timing.bars_from(handle, whole.to, ask.count(bars, "Bars", MOST_BARS))
    local keys = merged(timing.keys(handle, span), words)
    local length = whole.to - whole.from
    local heard = math.max(0, length - HEARD_S)
    keys.loop = false
    keys["continue"] = excerpt.write(take, heard, length, project.sample_rate(handle), folder)
    local track = reaper.GetMediaItem_Track(item)
    jobs.start({ title = "continue", keys = keys, preset = words.preset, place = function(project_handle, rendered)
      place.items(project_handle, track, span, rendered)
    end })
  end
end

--- Makes what lies of the selected item in the time selection anew, between what stands before and behind; as further
-- takes of the item, in which the rest is as it was.
function actions.regenerate(words)
  local handle, folder = project.current()
  local item, take = selected_item(handle)
  local whole = timing.of_item(item)
  local span = timing.within(handle, item)
    or message.stop("Make a time selection over a part of the selected item first.")
  if span.from - whole.from < LEAST_HEARD_S then
    message.stop("Begin the time selection half a second or more into the item: the model goes on from what is there.")
  end
  local count = "1"
  if not words then
    words, count = ask.words("regenerate", { "Takes", "1" }, (place.noted(item) or {}).prompt, true)
  end
  if words then
    local keys = timing.around(handle, span)
    keys.prompt = words.prompt ~= "" and words.prompt or nil
    keys.variations = ask.count(count, "Takes", ask.MOST_TAKES)
    keys.fill = recording(handle, folder, item, take)
    keys.fill_start, keys.fill_end = span.from - whole.from, span.to - whole.from
    keys.bits = 32 -- so that what stays is the same to the last bit
    jobs.start({ title = "regenerate", keys = keys, preset = words.preset, place = function(project_handle, rendered)
      place.into(project_handle, item, whole, rendered)
    end })
  end
end

--- Fills the time selection with several variations, as takes of one item.
function actions.variations()
  local handle = project.current()
  local span = timing.selected(handle)
  local words, count = ask.words("variations", { "Takes", "3" })
  if words then
    local keys = merged(timing.keys(handle, span), words)
    keys.variations = ask.count(count, "Takes", ask.MOST_TAKES)
    local track = reaper.GetSelectedTrack(handle, 0)
    jobs.start({ title = "variations", keys = keys, preset = words.preset, place = function(project_handle, rendered)
      place.items(project_handle, track, span, rendered)
    end })
  end
end

--- Fills the time selection with one stem a part, each on its own new track.
function actions.parts()
  local handle = project.current()
  local span = timing.selected(handle)
  local last = reaper.GetExtState(message.TITLE, "parts")
  local caption = "Parts; each is name: prompt"
  local answers = ask.fields("parts", {
    { caption, last ~= "" and last or "drums: tight break; bass: deep sub" },
    { "Best of how many takes", ("%d"):format(ask.last().best_of) },
  })
  if answers then
    reaper.SetExtState(message.TITLE, "parts", answers[1], true)
    local best_of = ask.count(answers[2], "Best of", ask.MOST_TAKES)
    local keys = merged(timing.keys(handle, span), { prompt = "", best_of = best_of })
    keys.parts = answers[1]
    local track = reaper.GetSelectedTrack(handle, 0)
    jobs.start({ title = "parts", keys = keys, place = function(project_handle, rendered)
      place.items(project_handle, track, span, rendered)
    end })
  end
end

-- Render keys with the whole of an item as the recording, and its take's name for what is made of it.
local function recorded(handle, folder, item, take)
  local _, name = reaper.GetSetMediaItemTakeInfo_String(take, "P_NAME", "", false)
  return {
    file = recording(handle, folder, item, take),
    name = name:gsub("%c", " "):sub(1, (utf8.offset(name, MOST_LETTERS + 1) or #name + 1) - 1),
    sample_rate = project.sample_rate(handle),
  }
end

--- Splits the selected item into drums, bass, other and vocals on new tracks below; they sum to it, and it is muted.
function actions.split()
  local handle, folder = project.current()
  local item, take = selected_item(handle)
  local span = timing.of_item(item)
  local keys = recorded(handle, folder, item, take)
  keys.separate, keys.seconds = "drums, bass, other, vocals", span.to - span.from
  keys.match, keys.loop, keys.loudness, keys.bits = false, false, "off", 32
  jobs.start({ title = "split", keys = keys, word = "fit", place = function(project_handle, rendered)
    place.instead(project_handle, item, span, rendered)
  end })
end

--- Brings the selected item to the project's tempo: into the time selection, else as many bars as it has from where it
-- lies; on a new track below it, and it is muted.
function actions.fit()
  local handle, folder = project.current()
  local item, take = selected_item(handle)
  local span, from = timing.selection(handle), timing.of_item(item).from
  local tempo = timing.keys(handle, span or timing.bars_from(handle, from, 1))
  if not span then
    tempo.bars = nil
    if tempo.tempo_map then
      message.stop("The tempo changes where the item lies: make a time selection for it to fit into.")
    end
  end
  local keys = recorded(handle, folder, item, take)
  for name, value in pairs(tempo) do
    keys[name] = value
  end
  jobs.start({ title = "fit", keys = keys, word = "fit", place = function(project_handle, rendered)
    place.instead(project_handle, item, span or { from = from, to = from + rendered[1].length }, rendered)
  end })
end

--- Renders the selected item's request once more with a new seed, as a further take of it.
function actions.again()
  local handle = project.current()
  local item = selected_item(handle)
  local keys = place.noted(item)
    or message.stop("The notes of the selected item hold no request: it was not made by musicgen-bridge.")
  local span = timing.of_item(item)
  for _, name in ipairs({ "bars", "beats", "seconds", "bpm", "signature", "tempo_map" }) do
    keys[name] = nil
  end
  for name, value in pairs(timing.keys(handle, span)) do
    keys[name] = value
  end
  jobs.start({ title = "again", keys = keys, place = function(project_handle, rendered)
    place.into(project_handle, item, span, rendered)
  end })
end

--- Ends every render that was started from this Reaper.
function actions.cancel()
  if spool.cancel() == 0 then
    message.stop("Nothing is being rendered.")
  end
end

return actions
