"""Whether the starter holds the tempo it is asked for: renders of six styles, their tempo found from both sides.

uv run python benchmarks/pulse.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import soxr

from musicgen_bridge.engine import Engine, Row, Sampling
from musicgen_bridge.match.beats import find_grid
from musicgen_bridge.match.novelty import RATE
from musicgen_bridge.request import COMMON_TIME
from musicgen_bridge.settings import STARTER

PROMPTS = (
    ("house drum loop", 75),
    ("hip hop drum loop", 90),
    ("funk drum break", 110),
    ("techno drum loop", 126),
    ("rock band", 140),
    ("drum and bass break", 174),
)
SAMPLINGS = (Sampling(top_k=250), Sampling(top_k=50), Sampling(top_k=50, temperature=0.9))
PRIORS = (0.92, 1.10)
"""The session's tempo that the finder is told, as a share of the prompted one: only the music itself can bring both
searches to the same place."""


def held(audio: np.ndarray, rate: int, bpm: float) -> bool:
    """Return whether the tempo of `audio` [n] is found within 2 % of `bpm` from either side."""
    mono = soxr.resample(audio.astype(np.float64), rate, RATE)
    mono /= max(float(np.abs(mono).max()), 1e-9)
    found = [find_grid(mono, bpm * prior, COMMON_TIME).bpm for prior in PRIORS]
    return all(abs(one / bpm - 1) < 0.02 for one in found)


def main() -> None:
    """Render and print how many prompts were held at each sampling."""
    engine = Engine.load(Path(sys.argv[1]) if len(sys.argv) > 1 else STARTER)
    rows = [Row(f"{style}, {bpm} BPM", seed) for seed, (style, bpm) in enumerate(PROMPTS)]
    for sampling in SAMPLINGS:
        takes = engine.generate(rows, 9.0, sampling=sampling).audio
        right = [held(take[0], engine.sample_rate, bpm) for take, (_, bpm) in zip(takes, PROMPTS, strict=True)]
        print(f"top_k {sampling.top_k}, temperature {sampling.temperature}: {sum(right)} of {len(right)} tempos held")


if __name__ == "__main__":
    main()
