-- @noindex
-- The dialog of an action: prompt and preset, as they were last time, and what else the action needs.

local message = require("message")

local ask = {}

ask.MOST_TAKES = 32

--- Shows a dialog of fields { caption, default }; returns the answers, or nil where it was cancelled.
function ask.fields(title, fields)
  local captions, defaults = {}, {}
  for index, field in ipairs(fields) do
    captions[index], defaults[index] = field[1], field[2]
  end
  local options = ",extrawidth=320,separator=\n" -- a prompt holds commas
  local ok, said = reaper.GetUserInputs(
    message.TITLE .. ": " .. title,
    #fields,
    table.concat(captions, ",") .. options,
    table.concat(defaults, "\n")
  )
  if not ok then
    return nil
  end
  local answers = {}
  for answer in (said .. "\n"):gmatch("([^\n]*)\n") do
    answers[#answers + 1] = answer:match("^%s*(.-)%s*$")
  end
  return answers
end

--- Returns the words of last time.
function ask.last()
  return {
    prompt = reaper.GetExtState(message.TITLE, "prompt"),
    preset = tonumber(reaper.GetExtState(message.TITLE, "preset")),
    best_of = tonumber(reaper.GetExtState(message.TITLE, "best_of")) or 1,
  }
end

--- Keeps words for next time.
function ask.keep(words)
  reaper.SetExtState(message.TITLE, "prompt", words.prompt, true)
  reaper.SetExtState(message.TITLE, "preset", words.preset and ("%d"):format(words.preset) or "", true)
  reaper.SetExtState(message.TITLE, "best_of", ("%d"):format(words.best_of), true)
end

local function preset_of(text)
  local number = math.tointeger(tonumber(text))
  if text ~= "" and not number then
    message.stop("A preset is named by its number here; the window lists them.")
  end
  return number
end

--- Asks for the words { prompt, preset, best_of } and, where there is one, a further field; returns them and its
-- answer, or nil. With `single` there is no best to be chosen, and nobody is asked of how many.
function ask.words(title, further, prompt, single)
  local last = ask.last()
  local preset = last.preset and ("%d"):format(last.preset) or ""
  local fields = { { "Prompt", prompt or last.prompt }, { "Preset number or nothing", preset } }
  if not single then
    fields[#fields + 1] = { "Best of how many takes", ("%d"):format(last.best_of) }
  end
  fields[#fields + 1] = further
  local answers = ask.fields(title, fields)
  if not answers then
    return nil
  end
  local best_of = single and last.best_of or ask.count(answers[3], "Best of", ask.MOST_TAKES)
  local words = { prompt = answers[1], preset = preset_of(answers[2]), best_of = best_of }
  ask.keep(words)
  return words, answers[single and 3 or 4]
end

--- Returns a whole number from 1 to `most` that an answer holds; stops where it is none.
function ask.count(text, what, most)
  local number = math.tointeger(tonumber(text))
  if not number or number < 1 or number > most then
    message.stop(("%s must be a whole number from 1 to %d."):format(what, most))
  end
  return number
end

--- Returns the number that an answer holds, nil where it is blank; stops where it is none.
function ask.number(text, what)
  local number = tonumber(text)
  if text ~= "" and not number then
    message.stop(what .. " must be a number, or nothing.")
  end
  return number
end

return ask
