"""Session matching: arrays in, arrays out; no disk, no wire, no model."""

from musicgen_bridge.match.beats import Grid
from musicgen_bridge.match.fill import Section, Surroundings, fill, surroundings
from musicgen_bridge.match.key import estimate_key
from musicgen_bridge.match.match import CEILING, Matched, Report, Target, bars_in, match, needed_seconds
from musicgen_bridge.match.score import Scores, melody_fit, score
from musicgen_bridge.match.tempo import FASTEST, SLOWEST
from musicgen_bridge.match.together import mixed, shared_grid

__all__ = [
    "CEILING",
    "FASTEST",
    "SLOWEST",
    "Grid",
    "Matched",
    "Report",
    "Scores",
    "Section",
    "Surroundings",
    "Target",
    "bars_in",
    "estimate_key",
    "fill",
    "match",
    "melody_fit",
    "mixed",
    "needed_seconds",
    "score",
    "shared_grid",
    "surroundings",
]
