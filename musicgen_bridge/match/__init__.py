"""Session matching: arrays in, arrays out; no disk, no wire, no model."""

from musicgen_bridge.match.match import Matched, Report, Target, match, needed_seconds

__all__ = ["Matched", "Report", "Target", "match", "needed_seconds"]
