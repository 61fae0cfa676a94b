-- @noindex
-- One render: started in the background, followed without holding Reaper up, and placed in one undo block.

local command = require("command")
local history = require("history")
local message = require("message")
local project = require("project")
local sidecar = require("sidecar")
local spool = require("spool")

local jobs = {}

local LOOK_S = 0.2 -- how often a report is read
local SILENCE_S = 60 -- for the program to start, or to end when it was cancelled
local BUILD_PEAKS = 40047 -- Peaks: Build any missing peaks

local function described(stem)
  local take, beside = sidecar.of(stem.path)
  return {
    path = stem.path,
    sidecar = beside,
    seed = stem.seed,
    length = stem.frames / stem.sample_rate,
    part = take.part,
    request = take.request,
    separated = take.report.separated,
    warning = take.report.warning,
  }
end

local function finish(job, handle, stems)
  local rendered = {}
  for index, stem in ipairs(stems) do
    rendered[index] = described(stem)
  end
  reaper.PreventUIRefresh(1)
  reaper.Undo_BeginBlock2(handle)
  local ok, why = pcall(job.place, handle, rendered)
  reaper.Undo_EndBlock2(handle, "musicgen-bridge: " .. job.title, -1)
  reaper.PreventUIRefresh(-1)
  reaper.UpdateArrange()
  if not ok then
    error(why, 0)
  end
  reaper.Main_OnCommand(BUILD_PEAKS, 0)
  local first = rendered[1]
  job.said = first.warning and job.title .. ": " .. first.warning
  if first.request.mode == "fit" or first.request.mode == "recut" then
    return -- there are no words to choose again
  end
  history.add(handle, { prompt = first.request.prompt or "", preset = job.preset, seed = first.seed })
end

local function begin(job)
  local keys = type(job.keys) == "function" and job.keys() or job.keys
  if job.word ~= "recut" then -- that writes beside its take
    keys.project = job.folder
  end
  local words = { job.word or "render", "--spool", spool.submit(job.id, keys) }
  if job.preset then
    words[#words + 1] = "--preset"
    words[#words + 1] = tostring(job.preset)
  end
  command.background(words)
  job.deadline = reaper.time_precise() + SILENCE_S
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
  if not job.begun then
    if spool.cancelled(job.id) then
      return false
    end
    job.begun = not spool.waits(job.id, job.lane)
    if job.begun then
      begin(job)
    end
    return true
  end
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
  local handle, in_front = project.find(job.path)
  if not handle then
    message.stop("The project was closed meanwhile. The stem lies here:\n" .. report.stems[1].path)
  end
  if not in_front then
    message.progress(job.title .. " is ready; it is placed when you come back to its project")
    return true
  end
  finish(job, handle, report.stems)
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
        message.progress(job.said or "")
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

--- Starts a job: its `title`, the render `keys` (or a function that makes them when its turn has come), perhaps a
-- `preset` (its number) below them, the program's `word` (else `render`) and a `lane`, whose jobs go one after the
-- other. At its end `place(handle, rendered)` is called in one undo block.
function jobs.start(job)
  local _, folder, path = project.current()
  job.folder, job.path, job.id = folder, path, spool.enter(job.lane)
  follow(job)
end

return jobs
