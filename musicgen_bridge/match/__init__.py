"""Session matching: arrays in, arrays out; no disk, no wire, no model."""

from musicgen_bridge.match.key import estimate_key
from musicgen_bridge.match.match import CEILING, Matched, Report, Target, bars_in, match, match_batch, needed_seconds
from musicgen_bridge.match.tempo import SLOWEST

__all__ = [
    "CEILING",
    "SLOWEST",
    "Matched",
    "Report",
    "Target",
    "bars_in",
    "estimate_key",
    "match",
    "match_batch",
    "needed_seconds",
]
