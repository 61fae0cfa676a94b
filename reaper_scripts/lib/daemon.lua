-- @noindex
-- Starts and stops the daemon, and tells when it is ready or gone.

local command = require("command")
local json = require("json")
local message = require("message")

local daemon = {}

local LOOK_S, PATIENCE_S = 2, 120
local ASK_MS = 5000

--- Returns what `status` says of the daemon, or nil where none runs.
function daemon.status()
  local code, said = command.run({ "status", "--json" }, ASK_MS)
  return code == 0 and json.decode(said) or nil
end

-- Asks now and then until `ended` says so, then shows its text.
local function wait(doing, ended, too_long)
  local due, latest = 0, reaper.time_precise() + PATIENCE_S
  local function step()
    local now = reaper.time_precise()
    if now < due then
      return reaper.defer(step)
    end
    message.progress(doing)
    local text = ended(daemon.status()) or (now > latest and too_long)
    due = reaper.time_precise() + LOOK_S
    if not text then
      return reaper.defer(step)
    end
    message.progress("")
    message.show(text)
  end
  step()
end

--- Starts the daemon, unless one runs.
function daemon.start()
  if daemon.status() then
    message.stop("The daemon runs already.")
  end
  command.background({ "start" })
  wait("the daemon starts", function(status)
    local ready = status and status.state ~= "loading"
    return ready and ("The daemon is ready: model %s on %s."):format(status.model, status.device)
  end, "The daemon did not get ready.\nRun `musicgen-bridge doctor` in a terminal: it says why.")
end

--- Stops the daemon once its jobs are done.
function daemon.stop()
  if not daemon.status() then
    message.stop("No daemon runs.")
  end
  command.background({ "stop" })
  wait("the daemon finishes its jobs", function(status)
    return not status and "The daemon has ended."
  end, "The daemon still has jobs to finish. It ends when they are done, or sooner if you cancel them.")
end

return daemon
