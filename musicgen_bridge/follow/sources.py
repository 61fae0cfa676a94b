"""The table of sources that are followed by themselves; MIDI clock comes with the MIDI ports."""

from __future__ import annotations

from collections.abc import Mapping

from musicgen_bridge.follow import ableton_osc, ardour, jack, link, reaper_osc, reaper_web
from musicgen_bridge.follow.session import Source

SOURCES: Mapping[str, Source] = {
    "jack": jack.follow,
    "link": link.follow,
    "ableton": ableton_osc.follow,
    "reaper": reaper_osc.follow,
    "reaper_web": reaper_web.follow,
    "ardour": ardour.follow,
}
"""By the name that the setting `follow` has for them."""
