-- @noindex
-- The window: prompt, presets, the actions as buttons, progress and history, drawn with Reaper's own gfx.

local actions = require("actions")
local ask = require("ask")
local command = require("command")
local daemon = require("daemon")
local history = require("history")
local json = require("json")
local message = require("message")
local recut = require("recut")

local window = {}

local WIDTH, HEIGHT, MARGIN, ROW, TEXT = 520, 500, 12, 30, 16
local ESCAPE, ENTER, BACKSPACE = 27, 13, 8
local UNICODE = 0x75000000 -- gfx.getchar: "u" in the highest byte, then the code point

local state

local function nudge(beats, milliseconds)
  return function() recut.nudge(beats, milliseconds) end
end

-- What takes words has them from the window; the others ask for more, in a dialog that begins with these words. What
-- moves to the left comes earlier.
local BUTTONS = {
  { "Generate", function() actions.generate(state.words) end },
  { "Melody…", actions.melody },
  { "Continue…", actions.continue },
  { "Parts…", actions.parts },
  { "Again", actions.again },
  { "Variations…", actions.variations },
  { "Regenerate", function() actions.regenerate(state.words) end },
  { "Cut anew…", recut.ask },
  { "< Beat", nudge(1, 0) },
  { "Beat >", nudge(-1, 0) },
  { "< 10 ms", nudge(0, 10) },
  { "10 ms >", nudge(0, -10) },
  { "Split", actions.split },
  { "Fit", actions.fit },
  { "Start daemon", daemon.start },
  { "Stop daemon", daemon.stop },
}
local CHOICES = { 1, 2, 4, 8 } -- of how many takes the best is kept
local COLUMNS = 4

local function presets()
  local code, said = command.run({ "presets", "--json" }, 10000)
  if code ~= 0 then
    message.stop("The presets could not be listed.\n" .. said)
  end
  local byslot, list = {}, json.decode(said).presets
  for _, one in ipairs(list) do
    byslot[one.slot] = one.name
  end
  return list, byslot
end

-- In gfx.showmenu | parts the entries, and # ! < > at the start of one have a meaning.
local function plain(text)
  return (text:gsub("[|]", "/"):gsub("^[#!<>]", " %0"))
end

local function choose_preset()
  local entries = { (state.words.preset and "" or "!") .. "No preset" }
  for index, one in ipairs(state.presets) do
    local chosen = one.slot == state.words.preset and "!" or ""
    entries[index + 1] = chosen .. plain(("%d  %s"):format(one.slot, one.name))
  end
  local index = gfx.showmenu(table.concat(entries, "|"))
  if index == 1 then
    state.words.preset = nil
  elseif index > 1 then
    state.words.preset = state.presets[index - 1].slot
  end
end

local function choose_best_of()
  local entries = {}
  for index, count in ipairs(CHOICES) do
    entries[index] = ("%sBest of %d"):format(count == state.words.best_of and "!" or "", count)
  end
  state.words.best_of = CHOICES[gfx.showmenu(table.concat(entries, "|"))] or state.words.best_of
end

local function colour(grey)
  gfx.set(grey, grey, grey, 1)
end

-- A box with a text; returns whether it was clicked at this moment.
local function box(x, y, w, label, grey)
  local inside = gfx.mouse_x >= x and gfx.mouse_x < x + w and gfx.mouse_y >= y and gfx.mouse_y < y + ROW - 4
  colour(inside and grey + 0.08 or grey)
  gfx.rect(x, y, w, ROW - 4, 1)
  colour(0.92)
  gfx.x, gfx.y = x + 8, y + 5
  gfx.drawstr(label, 4, x + w - 4, y + ROW - 4) -- 4: centred upright, cut off at the box
  return inside and state.clicked
end

-- Runs an action that begins with the words of the window; those of its dialog are the window's then.
local function act(run)
  ask.keep(state.words)
  message.guard(run)
  state.words = ask.last()
end

local function press(x, y, w, label, run)
  if box(x, y, w, label, 0.25) then
    state.clicked = false -- what it does may ask the musician, and draws again when it is done
    act(run)
  end
end

local function label_of(entry)
  local preset = entry.preset and state.names[entry.preset]
  return ("%s%s (seed %d)"):format(entry.prompt, preset and "  [" .. preset .. "]" or "", entry.seed)
end

local function draw_words(y)
  local full = gfx.w - 2 * MARGIN
  box(MARGIN, y, full, state.words.prompt .. "_", 0.12)
  local name = state.words.preset and (state.names[state.words.preset] or state.words.preset) or "none"
  local width = full // COLUMNS
  if box(MARGIN, y + ROW, full - width - 4, "Preset: " .. name, 0.25) then
    choose_preset()
  end
  if box(MARGIN + full - width, y + ROW, width - 4, ("Best of %d"):format(state.words.best_of), 0.25) then
    choose_best_of()
  end
  return y + 2 * ROW + MARGIN
end

local function draw_buttons(y)
  local width = (gfx.w - 2 * MARGIN) // COLUMNS
  for index, button in ipairs(BUTTONS) do
    local column, row = (index - 1) % COLUMNS, (index - 1) // COLUMNS
    press(MARGIN + column * width, y + row * ROW, width - 4, button[1], button[2])
  end
  return y + ((#BUTTONS - 1) // COLUMNS + 1) * ROW + MARGIN
end

local function draw_progress(y)
  local text = reaper.GetExtState(message.TITLE, "progress")
  local percent = tonumber(text:match("(%d+) %%$")) or 0
  local width = (gfx.w - 2 * MARGIN) // COLUMNS
  local full = (COLUMNS - 1) * width - 4
  box(MARGIN, y, full, text, 0.12)
  gfx.set(0.3, 0.6, 0.4, 0.5)
  gfx.rect(MARGIN, y, full * percent / 100, ROW - 4, 1)
  press(MARGIN + full + 4, y, width - 4, "Cancel", actions.cancel)
  return y + ROW + MARGIN
end

local function draw_history(y)
  for _, entry in ipairs(history.list((reaper.EnumProjects(-1)))) do
    if y + ROW <= gfx.h and box(MARGIN, y, gfx.w - 2 * MARGIN, label_of(entry), 0.18) then
      state.words = { prompt = entry.prompt, preset = entry.preset, best_of = state.words.best_of }
    end
    y = y + ROW
  end
end

local function typed(key)
  local prompt = state.words.prompt
  if key == BACKSPACE then
    state.words.prompt = prompt:sub(1, (utf8.offset(prompt, -1) or 1) - 1)
  elseif key == ENTER then
    act(function() actions.generate(state.words) end)
  elseif key >= 32 and key < 127 or key >= 160 and key < 256 then
    state.words.prompt = prompt .. utf8.char(key)
  elseif key >> 24 == UNICODE >> 24 then
    state.words.prompt = prompt .. utf8.char(key & 0xFFFFFF)
  end
end

local function draw()
  gfx.set(0.16, 0.16, 0.17, 1)
  gfx.rect(0, 0, gfx.w, gfx.h, 1)
  draw_history(draw_progress(draw_buttons(draw_words(MARGIN))))
  gfx.update()
end

local function step()
  local key = gfx.getchar()
  while key > 0 and key ~= ESCAPE do
    typed(key)
    key = gfx.getchar()
  end
  if key ~= 0 then -- Escape, or -1: it was closed
    ask.keep(state.words)
    return gfx.quit()
  end
  local down = gfx.mouse_cap & 1 == 1
  state.clicked, state.down = down and not state.down, down
  draw()
  reaper.defer(step)
end

--- Opens the window.
function window.open()
  local list, names = presets()
  state = { words = ask.last(), presets = list, names = names, clicked = false, down = false }
  gfx.init(message.TITLE, WIDTH, HEIGHT)
  gfx.setfont(1, "Arial", TEXT)
  step()
end

return window
