"""The twelve pitch classes: their names, and the one that a key is named after."""

from __future__ import annotations

PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_RAISED = {"#": 1, "b": -1}


def tonic(key: str) -> int:
    """Return the pitch class, 0 to 11 from C on, of the tonic of a key such as "F# minor", which has 6."""
    return (PITCH_CLASSES.index(key[0]) + _RAISED.get(key[1:2], 0)) % 12
