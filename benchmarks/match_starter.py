"""Session matching on what users hear first: takes of the starter, whose tempo and downbeat are known.

Each prompt is rendered as the bridge renders it. The starter plays bars of whole frames at the tempo that it was asked
for and begins each take on a downbeat; its pads without drums have no beat that could be told.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from pulse import PRIORS
from targets import exact_frames

from musicgen_bridge.engine import Engine, Row, Sampling
from musicgen_bridge.match import Matched, Target, match
from musicgen_bridge.match.attack import attack_delay
from musicgen_bridge.match.beats import find_grid
from musicgen_bridge.match.resample import for_analysis
from musicgen_bridge.request import COMMON_TIME
from musicgen_bridge.settings import STARTER

SAMPLE_RATE = 48_000
SECONDS = 16.0
FIRST_SEED = 7_000
DRUMS, PITCHED, PADS = "with drums", "without", "pads"
PROMPTS = (
    (DRUMS, "house drum loop", 127),
    (DRUMS, "boom bap drums", 88),
    (DRUMS, "funk drum break", 104),
    (DRUMS, "techno beat with a dark bass", 132),
    (DRUMS, "rock band with electric guitar", 142),
    (DRUMS, "drum and bass", 174),
    (DRUMS, "lofi hip hop with electric piano and drums", 82),
    (DRUMS, "trap beat", 70),
    (DRUMS, "synthwave with drums", 96),
    (DRUMS, "pop song", 118),
    (DRUMS, "disco house", 124),
    (DRUMS, "jazz trio with drums", 160),
    (PITCHED, "solo piano", 90),
    (PITCHED, "bass line in E minor", 110),
    (PITCHED, "acoustic guitar, no drums", 100),
    (PITCHED, "lead melody in C major", 128),
    (PITCHED, "electric piano chords only", 140),
    (PITCHED, "synth bass only", 98),
    (PADS, "warm pad, no drums", 80),
    (PADS, "synth pads without a beat", 120),
    (PADS, "ambient drone, beatless", 100),
    (PADS, "string pad, drumless", 140),
)


@dataclass(frozen=True)
class Heard:
    """One take, matched to a session at the tempo it was asked for."""

    kind: str
    asked: float
    """Quarter notes a minute, of prompt and session."""
    target: Target
    matched: Matched
    by_ear: Matched
    """The same, if it were not known that it opens a bar."""
    found: tuple[float, ...]
    """The stem's tempo, looked for from below and from above the session's."""
    late_ms: float | None
    """By how much the stem's attacks follow the session's beats."""

    @property
    def played(self) -> float:
        """The take's own tempo: a bar is as many frames of a fiftieth of a second as are nearest."""
        return 4 * 60 * 50 / round(4 * 60 * 50 / self.asked)

    @property
    def tempo_off(self) -> float:
        """By what share its tempo is missed."""
        return abs(self.matched.report.bpm / self.played - 1)

    @property
    def stem_off(self) -> float:
        """By what share the stem misses the session's tempo, at worst."""
        return max(abs(one / self.asked - 1) for one in self.found)

    @property
    def on_downbeat(self) -> bool:
        """Whether a downbeat is found within 50 ms by ear."""
        start, bar = self.by_ear.report.downbeat_s, 4 * 60 / self.played
        return start is not None and abs((start + bar / 2) % bar - bar / 2) < 0.05


def takes() -> tuple[list[np.ndarray], int]:
    """Return what the starter plays to each prompt [channels, n], and its sample rate."""
    engine = Engine.load(STARTER)
    rows = [Row(f"{words}, {bpm} BPM", FIRST_SEED + at) for at, (_, words, bpm) in enumerate(PROMPTS)]
    batches = [rows[at : at + 8] for at in range(0, len(rows), 8)]
    audio = [take for batch in batches for take in engine.generate(batch, SECONDS, sampling=Sampling()).audio]
    return audio, engine.sample_rate


def heard() -> list[Heard]:
    """Render and match every prompt."""
    audio, rate = takes()
    return [_heard(kind, bpm, take, rate) for (kind, _, bpm), take in zip(PROMPTS, audio, strict=True)]


def _heard(kind: str, bpm: int, take: np.ndarray, rate: int) -> Heard:
    bar = 4 * 60 / bpm
    bars = int((SECONDS - 0.5) / 1.05 / bar) - 1  # what the bridge makes more is left out
    frames = exact_frames(Fraction(4 * bars), bpm, SAMPLE_RATE)
    by_ear, opens = (
        Target(bpm=bpm, signature=COMMON_TIME, frames=frames, sample_rate=SAMPLE_RATE, opens=known)
        for known in (False, True)
    )
    matched = match(take, rate, opens)
    mono = for_analysis(matched.audio.T, SAMPLE_RATE)
    late = attack_delay(mono, np.arange(4 * bars) * 60 / bpm)
    return Heard(
        kind=kind,
        asked=bpm,
        target=opens,
        matched=matched,
        by_ear=match(take, rate, by_ear),
        found=tuple(find_grid(mono, bpm * prior, COMMON_TIME).bpm for prior in PRIORS),
        late_ms=None if late is None else 1000 * late,
    )
