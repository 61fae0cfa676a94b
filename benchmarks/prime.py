"""Whether beats at the session's tempo, played before the take and cut off again, holds tempo and downbeat better.

    uv run python benchmarks/prime.py [FOLDER]

Each prompt is rendered as it is, and as a continuation of some beats of clicks, or of kick, snare and hats. A primed
take's grid is known: the session's tempo, a downbeat at its first sample. It is held where the grid that is found in
the music alone, its tempo looked for from either side, lies within 1 % and 30 ms of that one, to the end of the take.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from musicgen_bridge.engine import Engine, Row, Sampling
from musicgen_bridge.match.beats import Grid, find_grid
from musicgen_bridge.match.novelty import RATE
from musicgen_bridge.request import COMMON_TIME
from musicgen_bridge.settings import STARTER

PROMPTS = (
    ("house drum loop", 118.3),
    ("hip hop drum loop", 87.6),
    ("funk drum break", 104.9),
    ("techno drum loop", 131.7),
    ("rock band", 143.2),
    ("drum and bass break", 171.4),
    ("jazz trio", 96.2),
    ("funk bass line", 109.5),
    ("piano chords", 78.8),
    ("synth arpeggio", 126.1),
    ("acoustic guitar", 92.7),
    ("string quartet", 84.4),
)
DRUMS = 7
"""So many of the prompts have drums."""
SECONDS = 8.0
PRIME = 2.5
PRIORS = (0.93, 1.08)


def prime(bpm: float, rate: int, kit: bool) -> NDArray[np.float32]:
    """Return the last `PRIME` seconds before a bar line [1, n], of clicks or of a kit."""
    rng = np.random.default_rng(1)
    half = 30 / bpm
    out = np.zeros(round(PRIME * rate))
    time = np.arange(round(0.12 * rate)) / rate
    for back in range(1, int(PRIME / half) + 1):
        first = len(out) - round(back * half * rate)
        place = -back % 8  # which eighth of the bar
        sound = 0.2 * rng.normal(size=len(time)) * np.exp(-time / 0.012)
        if not kit:
            sound = np.sin(2 * np.pi * (2000 if place else 3000) * time) * np.exp(-time / 0.01) * (place % 2 == 0)
        elif place in (0, 4):
            sound += 0.9 * np.sin(2 * np.pi * 55 * time + 4 * np.exp(-time / 0.01)) * np.exp(-time / 0.06)
        elif place in (2, 6):
            sound += 0.4 * rng.normal(size=len(time)) * np.exp(-time / 0.05)
        out[first : first + len(time)] += sound[: len(out) - first]
    return (0.7 * out / np.abs(out).max())[None].astype(np.float32)


def off(grid: Grid, bpm: float) -> tuple[float, float]:
    """Return by how many milliseconds the found beats miss the session's at most, and the downbeat the bar's first."""
    beat = 60 / bpm
    apart = (grid.downbeat + beat / 2) % beat - beat / 2
    late = apart + SECONDS * (bpm / grid.bpm - 1)
    down = (grid.downbeat + 2 * beat) % (4 * beat) - 2 * beat
    return 1000 * max(abs(apart), abs(late)), 1000 * abs(down)


def judged(takes: NDArray[np.float32], rate: int) -> list[tuple[bool, bool, bool]]:
    """Return whether a take holds its tempo, its beats to the end, and whether its downbeat is heard at 0."""
    out = []
    for take, (_, bpm) in zip(takes, PROMPTS, strict=True):
        mono = soxr.resample(take[0].astype(np.float64), rate, RATE)
        mono /= max(float(np.abs(mono).max()), 1e-9)
        found = [find_grid(mono, bpm * prior, COMMON_TIME) for prior in PRIORS]
        tempo = all(not one.beatless and abs(one.bpm / bpm - 1) < 0.01 for one in found)
        misses = [off(one, bpm) for one in found]
        beats = tempo and all(beat < 30 for beat, _ in misses)
        out.append((tempo, beats, beats and all(down < 50 for _, down in misses)))
    return out


def main() -> None:
    """Render and print the table."""
    engine = Engine.load(Path(sys.argv[1]) if len(sys.argv) > 1 else STARTER)
    rows = [Row(f"{style}, {bpm:.0f} BPM", seed) for seed, (style, bpm) in enumerate(PROMPTS)]
    print(f"{'':12}{'':12}{'tempo':>8}{'beats':>8}{'downbeat':>10}")
    for arm in ("plain", "clicks", "kit"):
        primes = [prime(bpm, engine.sample_rate, arm == "kit") for _, bpm in PROMPTS]
        before = None if arm == "plain" else np.stack(primes)
        takes = engine.generate(rows, SECONDS, sampling=Sampling(top_k=250), continue_from=before).audio
        told = judged(takes, engine.sample_rate)
        for name, chosen in (("with drums", told[:DRUMS]), ("without", told[DRUMS:])):
            tempo, beats, downbeat = (f"{sum(one)}/{len(one)}" for one in zip(*chosen, strict=True))
            print(f"{arm:12}{name:12}{tempo:>8}{beats:>8}{downbeat:>10}", flush=True)


if __name__ == "__main__":
    main()
