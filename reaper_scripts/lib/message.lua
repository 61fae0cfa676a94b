-- @noindex
-- What is said to the musician: a failure in a box, progress in the status line.

local message = {}

message.TITLE = "musicgen-bridge"

--- Ends the action with a text for the musician; `message.guard` shows it.
function message.stop(text)
  error({ text = text }, 0)
end

function message.show(text)
  reaper.MB(text, message.TITLE, 0)
end

--- Runs a function and shows what `stop` said; any other error is a mistake of ours and goes on to Reaper.
function message.guard(run, ...)
  local ok, why = pcall(run, ...)
  if ok then
    return
  end
  if type(why) == "table" and why.text then
    message.show(why.text)
  else
    error(why, 0)
  end
end

--- Shows how a job is getting on, in Reaper's status line and in the window; when it is over, what there is to say of
-- it, or "".
function message.progress(text)
  reaper.SetExtState(message.TITLE, "progress", text, false)
  reaper.Help_Set(text == "" and "" or message.TITLE .. ": " .. text, false)
end

return message
