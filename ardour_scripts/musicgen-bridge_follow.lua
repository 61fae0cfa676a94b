ardour {
	["type"] = "EditorHook",
	name = "musicgen-bridge: follow",
	author = "musicgen-bridge contributors",
	license = "MIT",
	description = [[Tells musicgen-bridge tempo, time signature, transport and sample rate ten times a second, for its setting follow = ["ardour"].]]
}

function signals ()
	return LuaSignal.Set ():add ({[LuaSignal.LuaTimerDS] = true})
end

function factory ()
	local daemon = ARDOUR.LuaOSC.Address ("osc.udp://127.0.0.1:32053")
	return function ()
		if not Session then return end
		local here = Temporal.timepos_t (Session:transport_sample ())
		local map = Temporal.TempoMap.read ()
		local meter = map:meter_at (here)
		daemon:send ("/ardour/session", "diiTdi", map:quarters_per_minute_at (here), meter:divisions_per_bar (),
			meter:note_value (), Session:transport_rolling (), here:ticks () / Temporal.ticks_per_beat,
			Session:nominal_sample_rate ())
	end
end
