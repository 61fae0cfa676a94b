-- Stands in for what only Ardour's window has, in Ardour's own Lua without one; whatever is not here is an error there.
said = {} -- what the script has shown and done

LuaDialog = {
	MessageType = { Warning = 1 },
	ButtonType = { Close = 1 },
	Dialog = function (_, fields)
		for _, field in ipairs (fields) do said[field.key] = field.default end
		return { run = function () return answer end }
	end,
	Message = function (_, text)
		return { run = function () said.message = text end }
	end,
	ProgressWindow = function ()
		return {
			progress = function (_, fraction, text)
				assert (fraction >= 0 and fraction <= 1)
				said.stage = text
				return cancel
			end,
			canceled = function () return false end,
			done = function () said.closed = true end,
		}
	end,
}

Editing = { ImportDistinctFiles = 1, ImportAsTrack = 2, ImportToTrack = 3 }

local function list (items)
	return {
		iter = function ()
			local at = 0
			return function () at = at + 1 return items[at] end
		end,
	}
end

Editor = {
	get_selection = function ()
		return {
			regions = { regionlist = function () return list (regions) end },
			tracks = { routelist = function () return list (tracks) end },
		}
	end,
	do_import = function (_, files, _, mode, _, _, _, line, _, track)
		for file in files:iter () do said.file = file end
		said.mode, said.beat = mode, line:ticks () / Temporal.ticks_per_beat
		said.track = not track:isnil () and track:name () or nil
	end,
}
