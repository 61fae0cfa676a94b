"""What the desk is given: what requests may name, and the daemon that it stands in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from musicgen_bridge.asking.keys import Value
from musicgen_bridge.asking.presets import Presets
from musicgen_bridge.control.listings import Item
from musicgen_bridge.roots import Roots


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What requests may name, and what stands where they name nothing."""

    presets: Presets
    models: Mapping[str, str]
    """A line about each alias."""
    roots: Roots
    defaults: Mapping[str, Value]
    """Render keys that no client can reset."""
    recorded: str
    """The audio input that is recorded where none is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """The daemon around the desk: who it is, how it is, and what it does when it is told to."""

    instance: str
    """Another after each start."""
    token: str
    """Without it no secured request is carried out."""
    state: Callable[[], Mapping[str, str | int | float]]
    """What /musicgen/status tells; at least `state` itself."""
    stop: Callable[[bool], None]
    """Ends it: once its jobs are done for True, now for False."""
    unload: Callable[[str | None], None]
    """Has a model leave memory; all of them for None."""
    midi: Callable[[], Sequence[str]]
    """Names the MIDI ports; slow."""
    devices: Callable[[str], Sequence[Item]]
    """Tells of each audio "input" or "output"; slow."""
