-- @noindex
-- One render: started in the background, followed without holding Reaper up, and placed in one undo block.

local command = require("command")
local history = require("history")
local json = require("json")
local message = require("message")
local project = require("project")
local spool = require("spool")

local jobs = {}

local LOOK_S = 0.2 -- how often a report is read
local SILENCE_S = 60 -- for the program to start, or to end when it was cancelled
local BUILD_PEAKS = 40047 -- Peaks: Build any missing peaks

-- What a stem's sidecar adds to the report: its part, and the whole request.
local function described(stem)
  local sidecar = stem.path:gsub("%.%w+$", ".json")
  local take = json.decode(spool.read(sidecar) or message.stop("The file beside the stem is missing:\n" .. sidecar))
  return {
    path = stem.path,
    sidecar = sidecar,
    seed = stem.seed,
    length = stem.frames / stem.sample_rate,
    part = take.part,
    request = take.request,
    separated = take.report.separated,
  }
end

local function finish(job, stems)
  local rendered = {}
  for index, stem in ipairs(stems) do
    rendered[index] = described(stem)
  end
  reaper.PreventUIRefresh(1)
  reaper.Undo_BeginBlock2(job.handle)
  local ok, why = pcall(job.place, rendered)
  reaper.Undo_EndBlock2(job.handle, "musicgen-bridge: " .. job.title, -1)
  reaper.PreventUIRefresh(-1)
  reaper.UpdateArrange()
  if not ok then
    error(why, 0)
  end
  reaper.Main_OnCommand(BUILD_PEAKS, 0)
  local first = rendered[1]
  if first.request.mode == "fit" then
    return -- there are no words to choose again
  end
  history.add(job.handle, { prompt = first.request.prompt or "", preset = job.preset, seed = first.seed })
end

-- Stops where the program never began to report, or goes on although it was cancelled.
local function wait(job, report)
  if report and not job.heard then
    job.heard, job.deadline = true, nil
  end
  if spool.cancelled(job.id) and not job.cancelled then
    job.cancelled, job.deadline = true, reaper.time_precise() + SILENCE_S
  end
  if job.deadline and reaper.time_precise() > job.deadline then
    message.stop("musicgen-bridge does not answer.\nRun `musicgen-bridge doctor` in a terminal: it says why.")
  end
  if report then
    local now = report.progress
    message.progress(("%s: %s %d %%"):format(job.title, now.stage, math.floor(now.fraction * 100)))
  end
  return true
end

-- Returns true while there is more to wait for.
local function look(job)
  local report = spool.report(job.id)
  if not report or report.progress then
    return wait(job, report)
  end
  if report.error then
    if report.error.code ~= "E_CANCELLED" then
      message.stop(report.error.text)
    end
    return false
  end
  if not reaper.ValidatePtr(job.handle, "ReaProject*") then
    message.stop("The project was closed meanwhile. The stem lies here:\n" .. report.stems[1].path)
  end
  if reaper.EnumProjects(-1) ~= job.handle then
    message.progress(job.title .. " is ready; it is placed when you come back to its project")
    return true
  end
  finish(job, report.stems)
  return false
end

local function follow(job)
  local due = 0
  local function step()
    local now = reaper.time_precise()
    if now < due then
      return reaper.defer(step)
    end
    due = now + LOOK_S
    local more = false
    message.guard(function()
      local ok, why = pcall(look, job)
      more = ok and why
      if not more then
        spool.clear(job.id)
        message.progress("")
      end
      if not ok then
        error(why, 0)
      end
    end)
    if more then
      reaper.defer(step)
    end
  end
  step()
end

--- Renders `keys` over a preset (its number, or nil), then calls `place` with the takes in one undo block `title`.
-- The program's command is `render` unless another is named.
function jobs.start(title, keys, preset, place, word)
  local handle, folder = project.current()
  keys.project = folder
  local id, file = spool.submit(keys)
  local words = { word or "render", "--spool", file }
  if preset then
    words[#words + 1] = "--preset"
    words[#words + 1] = tostring(preset)
  end
  local ok, why = pcall(command.background, words)
  if not ok then
    spool.clear(id)
    error(why, 0)
  end
  local deadline = reaper.time_precise() + SILENCE_S
  follow({ id = id, handle = handle, title = title, preset = preset, place = place, deadline = deadline })
end

return jobs
