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
local LEAST_HEARD_S = 0.5
local MOST_VARIATIONS, MOST_BARS, MOST_LETTERS = 32, 1024, 64

local function merged(keys, words)
  if words.prompt ~= "" then
    keys.prompt = words.prompt
  end
  return keys
end

local function selected_item(handle)
  local item = reaper.GetSelectedMediaItem(handle, 0) or message.stop("Select an item first.")
  return item, reaper.GetActiveTake(item) or message.stop("The selected item holds no take.")
end

-- The audio of a take before `till`, as a recording to be continued.
local function heard_before(handle, folder, item, take, till)
  local start = timing.of_item(item).from
  local from = math.max(start, till - HEARD_S)
  return excerpt.write(take, from - start, till - start, project.sample_rate(handle), folder)
end

--- Fills the time selection, on the selected track or a new one.
function actions.generate(words)
  local handle = project.current()
  local span = timing.selected(handle)
  words = words or ask.words("generate")
  if words then
    local track = reaper.GetSelectedTrack(handle, 0)
    jobs.start("generate", merged(timing.keys(handle, span), words), words.preset, function(rendered)
      place.items(handle, track, span, rendered)
    end)
  end
end

--- Follows the selected item's melody, or what lies of it in the time selection; on a new track below it.
function actions.melody(words)
  local handle, folder = project.current()
  local item, take = selected_item(handle)
  local whole = timing.of_item(item)
  local span = timing.within(handle, item) or whole
  words = words or ask.words("from melody")
  if words then
    local keys = merged(timing.keys(handle, span), words)
    local from, to = span.from - whole.from, span.to - whole.from
    keys.melody = excerpt.write(take, from, to, project.sample_rate(handle), folder)
    local track = reaper.GetMediaItem_Track(item)
    jobs.start("from melody", keys, words.preset, function(rendered)
      place.below(handle, track, span, rendered)
    end)
  end
end

--- Goes on from the end of the selected item, for so many bars, on its track.
function actions.continue()
  local handle, folder = project.current()
  local item, take = selected_item(handle)
  local words, bars = ask.words("continue", nil, { "Bars", "4" })
  if words then
    local till = timing.of_item(item).to
    local span = timing.bars_from(handle, till, ask.count(bars, "Bars", MOST_BARS))
    local keys = merged(timing.keys(handle, span), words)
    keys.loop = false
    keys["continue"] = heard_before(handle, folder, item, take, till)
    local track = reaper.GetMediaItem_Track(item)
    jobs.start("continue", keys, words.preset, function(rendered)
      place.items(handle, track, span, rendered)
    end)
  end
end

--- Renders what lies of the selected item in the time selection anew, going on from what comes before.
function actions.regenerate(words)
  local handle, folder = project.current()
  local item, take = selected_item(handle)
  local span = timing.within(handle, item)
    or message.stop("Make a time selection over a part of the selected item first.")
  words = words or ask.words("regenerate", (place.noted(item) or {}).prompt)
  if words then
    local keys = merged(timing.keys(handle, span), words)
    keys.loop = false
    if span.from - timing.of_item(item).from >= LEAST_HEARD_S then
      keys["continue"] = heard_before(handle, folder, item, take, span.from)
    end
    jobs.start("regenerate", keys, words.preset, function(rendered)
      place.within(handle, item, span, rendered)
    end)
  end
end

--- Fills the time selection with several variations, as takes of one item.
function actions.variations()
  local handle = project.current()
  local span = timing.selected(handle)
  local words, count = ask.words("variations", nil, { "Takes", "3" })
  if words then
    local keys = merged(timing.keys(handle, span), words)
    keys.variations = ask.count(count, "Takes", MOST_VARIATIONS)
    local track = reaper.GetSelectedTrack(handle, 0)
    jobs.start("variations", keys, words.preset, function(rendered)
      place.items(handle, track, span, rendered)
    end)
  end
end

--- Fills the time selection with one stem a part, each on its own new track.
function actions.parts()
  local handle = project.current()
  local span = timing.selected(handle)
  local last = reaper.GetExtState(message.TITLE, "parts")
  local caption = "Parts; each is name: prompt"
  local answers = ask.fields("parts", { { caption, last ~= "" and last or "drums: tight break; bass: deep sub" } })
  if answers then
    reaper.SetExtState(message.TITLE, "parts", answers[1], true)
    local keys = timing.keys(handle, span)
    keys.parts = answers[1]
    local track = reaper.GetSelectedTrack(handle, 0)
    jobs.start("parts", keys, nil, function(rendered)
      place.items(handle, track, span, rendered)
    end)
  end
end

-- Render keys with the whole of an item as the recording, and its take's name for what is made of it.
local function recorded(handle, folder, item, take)
  local whole = timing.of_item(item)
  local _, name = reaper.GetSetMediaItemTakeInfo_String(take, "P_NAME", "", false)
  local rate = project.sample_rate(handle)
  return {
    file = excerpt.write(take, 0, whole.to - whole.from, rate, folder),
    name = name:gsub("%c", " "):sub(1, (utf8.offset(name, MOST_LETTERS + 1) or #name + 1) - 1),
    sample_rate = rate,
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
  jobs.start("split", keys, nil, function(rendered)
    place.instead(handle, item, span, rendered)
  end, "fit")
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
  jobs.start("fit", keys, nil, function(rendered)
    place.instead(handle, item, span or { from = from, to = from + rendered[1].length }, rendered)
  end, "fit")
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
  jobs.start("again", keys, nil, function(rendered)
    place.into(handle, item, span, rendered)
  end)
end

--- Ends every render that was started from this Reaper.
function actions.cancel()
  if spool.cancel() == 0 then
    message.stop("Nothing is being rendered.")
  end
end

return actions
