"""Session matching: arrays in, arrays out; no disk, no wire, no model."""

from musicgen_bridge.match.beats import Grid
from musicgen_bridge.match.key import estimate_key
from musicgen_bridge.match.match import CEILING, Matched, Report, Target, bars_in, match, match_batch, needed_seconds
from musicgen_bridge.match.tempo import FASTEST, SLOWEST

__all__ = [
    "CEILING",
    "FASTEST",
    "SLOWEST",
    "Grid",
    "Matched",
    "Report",
    "Target",
    "bars_in",
    "estimate_key",
    "match",
    "match_batch",
    "needed_seconds",
]
