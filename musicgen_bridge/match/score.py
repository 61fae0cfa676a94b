"""How well a take fits what was asked for, by which candidates are told apart."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from musicgen_bridge.match.chroma import chroma
from musicgen_bridge.match.match import Report
from musicgen_bridge.match.novelty import Floats
from musicgen_bridge.match.resample import Audio, for_analysis
from musicgen_bridge.pitch import tonic

_NEAR = 0.04
"""By how much of its tempo a take may be off to lose some tenths of its score: more is heard of the stretch."""
_HEARD = 0.3
"""The confidence from which on a tempo is beyond doubt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What speaks for a take, each from 0 to 1; None where it was not asked for."""

    tempo: float | None
    """How near the session's tempo it was played, and how steadily."""
    downbeat: float | None
    """How sure its downbeat is."""
    key: float | None
    melody: float | None

    @property
    def total(self) -> float:
        """The mean of those that were asked for; 0 without any."""
        given = [value for value in asdict(self).values() if value is not None]
        return float(np.mean(given)) if given else 0.0


def score(report: Report, *, matched: bool, key: str | None = None, melody: float | None = None) -> Scores:
    """Return the scores of a take by what matching reports of it, whether it was `matched` to the session's tempo.

    `key` is the one asked for, `melody` a `melody_fit`.
    """
    tempo = min(report.confidence / _HEARD, 1) * float(np.exp(-0.5 * (np.log(report.rate) / _NEAR) ** 2))
    return Scores(
        tempo=tempo if matched else None,
        downbeat=report.downbeat_confidence if matched and report.downbeat_s is not None else 0.0 if matched else None,
        key=None if key is None else report.key_confidence * key_fit(key, report.key),
        melody=melody,
    )


def key_fit(wanted: str, heard: str | None) -> float:
    """Return 1 for the same key, 0.5 a fifth up or down, 0.3 for the relative, 0.2 for the parallel, else 0.

    MIREX, audio key detection: the weights of its score. A fifth counts within one mode.
    """
    if heard is None:
        return 0.0
    apart = (tonic(heard) - tonic(wanted)) % 12
    if wanted.endswith("major") == heard.endswith("major"):
        return {0: 1.0, 7: 0.5, 5: 0.5}.get(apart, 0.0)
    relative = 9 if wanted.endswith("major") else 3
    return {relative: 0.3, 0: 0.2}.get(apart, 0.0)


def melody_fit(audio: Audio, sample_rate: int, melody: Audio, melody_rate: int) -> float:
    """Return how alike the pitch classes of a take and of the melody that it follows are, 0 to 1, [channels, n] each.

    That is the mean cosine between them over the frames in which both sound; a melody that is shorter begins again.
    """
    mine, theirs = (_classes(for_analysis(*one)) for one in ((audio, sample_rate), (melody, melody_rate)))
    theirs = theirs[np.arange(len(mine)) % len(theirs)]
    lengths = np.linalg.norm(mine, axis=1) * np.linalg.norm(theirs, axis=1)
    both = lengths > 0
    return float(((mine * theirs).sum(axis=1)[both] / lengths[both]).mean()) if both.any() else 0.0


def _classes(heard: Floats) -> Floats:
    """Return [frames, 12] of mono audio [n] at 16 kHz, bass and what is above it in one."""
    both = chroma(heard)
    return both[:, :12] + both[:, 12:]
