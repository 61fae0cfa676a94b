ardour {
	["type"] = "EditorAction",
	name = "musicgen-bridge: render at the playhead",
	author = "musicgen-bridge contributors",
	license = "MIT",
	description = [[Renders a stem at the tempo and meter of the bar line nearest to the playhead and puts it there, on the first selected track or a new one. A selected region may be its melody.]]
}

-- All of it stands in the factory: Ardour keeps no more of a script than that function.
function factory ()
	local TITLE = "musicgen-bridge"
	local SILENCE_S = 60 -- for the program to begin to report

	local function tell (text)
		LuaDialog.Message (TITLE, text, LuaDialog.MessageType.Warning, LuaDialog.ButtonType.Close):run ()
	end

	local function read (path)
		local file = io.open (path, "r")
		if not file then return "" end
		local text = file:read ("a")
		file:close ()
		return text
	end

	local function json (value)
		if type (value) ~= "string" then return (tostring (value):gsub (",", ".")) end -- some locales have a decimal comma
		return '"' .. value:gsub ('[%c"\\]', function (c) return ("\\u%04x"):format (c:byte ()) end) .. '"'
	end

	-- Returns a text that stands under a name in the program's report; nil where there is none.
	local function field (report, name)
		local text = report:match ('"' .. name .. '": "(.-[^\\])"')
		return text and text:gsub ("\\u(%x%x%x%x)", function (hex) return utf8.char (tonumber (hex, 16)) end):gsub ("\\(.)", "%1")
	end

	-- Returns the nearest bar line to the playhead, and the request's tempo, meter and rate.
	local function place ()
		local here = Temporal.timepos_t (Session:transport_sample ())
		local map = Temporal.TempoMap.read ()
		local meter, at = map:meter_at (here), map:bbt_at (here)
		local beat = Temporal.ticks_per_beat * 4 // meter:note_value ()
		local passed, bar = (at.beats - 1) * beat + at.ticks, beat * meter:divisions_per_bar ()
		local line = here:ticks () - passed + (passed * 2 >= bar and bar or 0)
		return Temporal.timepos_t.from_ticks (line), {
			bpm = math.floor (map:quarters_per_minute_at (here) * 1e4 + 0.5) / 1e4,
			signature = ("%d/%d"):format (meter:divisions_per_bar (), meter:note_value ()),
			sample_rate = Session:nominal_sample_rate (),
			project = Session:path (),
		}
	end

	-- Adds what of its file a region plays to the request.
	local function listen (request, region)
		local rate = Session:nominal_sample_rate ()
		request.melody = region:source (0):to_filesource ():path ()
		request.melody_start = region:start ():samples () / rate
		request.melody_end = (region:start ():samples () + region:length ():samples ()) / rate
	end

	-- Starts the program in the background, without Ardour's own libraries in its way.
	local function start (file)
		local windows = package and package.config:sub (1, 1) == "\\"
		local line = windows and 'start "" /b musicgen-bridge render --spool "%s" >nul 2>&1'
			or "env -u LD_LIBRARY_PATH musicgen-bridge render --spool '%s' >/dev/null 2>&1 &"
		os.execute (line:format (windows and file or file:gsub ("'", "'\\''")))
	end

	-- Waits for the end of a render; returns the stem's path, or nil and why there is none.
	local function wait (file)
		local window, began, cancelled = LuaDialog.ProgressWindow (TITLE, true), os.time (), false
		local path, why
		repeat
			local report = read (file .. ".report")
			path, why = field (report, "path"), field (report, "text")
			if report == "" and os.time () - began > SILENCE_S then
				why = "musicgen-bridge does not answer; is it in the PATH? `musicgen-bridge doctor` in a terminal says more."
			end
			local stop = window:progress (tonumber (report:match ('"fraction": ([%d.]+)')) or 0, field (report, "stage") or "starting")
			if (stop or window:canceled ()) and not cancelled then
				cancelled = true
				io.open (file .. ".cancel", "w"):close ()
			end
			ARDOUR.LuaAPI.usleep (100000)
		until path or why
		window:done ()
		for _, ending in ipairs { "", ".report", ".cancel" } do os.remove (file .. ending) end
		return path, not cancelled and why or nil
	end

	local function import (path, line, tracks)
		local files, track = C.StringVector (), ARDOUR.Track ()
		files:push_back (path)
		for route in tracks:iter () do
			if track:isnil () then track = route:to_track () end
		end
		Editor:do_import (files, Editing.ImportDistinctFiles, track:isnil () and Editing.ImportAsTrack or Editing.ImportToTrack,
			ARDOUR.SrcQuality.SrcBest, ARDOUR.MidiTrackNameSource.SMFTrackName, ARDOUR.MidiTempoMapDisposition.SMFTempoIgnore,
			line, ARDOUR.PluginInfo (), track, false)
	end

	return function ()
		local selection, region = Editor:get_selection (), nil
		for one in selection.regions:regionlist ():iter () do
			if not region and not one:to_audioregion ():isnil () then region = one end
		end
		local answer = LuaDialog.Dialog (TITLE, {
			{ type = "entry", key = "prompt", title = "Prompt", default = "" },
			{ type = "number", key = "bars", title = "Bars", min = 1, max = 64, step = 1, digits = 0, default = 4 },
			{ type = "checkbox", key = "melody", title = "Selected region as melody", default = region ~= nil },
		}):run ()
		if not answer then return end
		local line, request = place ()
		request.prompt, request.bars = answer.prompt, answer.bars
		if answer.melody and region then listen (request, region) end
		local parts = {}
		for key, value in pairs (request) do parts[#parts + 1] = json (key) .. ": " .. json (value) end
		local path = ARDOUR.LuaAPI.build_filename (Session:path (), (".musicgen-bridge-%d.json"):format (os.time ()))
		local file = assert (io.open (path, "w"))
		file:write ("{" .. table.concat (parts, ", ") .. "}")
		file:close ()
		start (path)
		local stem, why = wait (path)
		if stem then import (stem, line, selection.tracks:routelist ()) elseif why then tell (why) end
	end
end
