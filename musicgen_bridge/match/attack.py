"""Attacks: to the millisecond where what is played on the beats begins, be it struck or swelling."""

from __future__ import annotations

import numpy as np
import scipy

from musicgen_bridge.match.novelty import RATE, Floats

_STEP = 8
"""Samples whose energies are one: half a millisecond."""
_AROUND = 60
"""Steps of energy before and after a beat, and steps whose sound, before those, is what stood before the attack."""
_REACH = 40
"""Steps by which attacks may lie beside the beat."""
_LEARNT = 2 * _AROUND * _STEP
"""Samples that the prediction is learnt from."""
_ORDER = 24
_HIDES = 0.01
"""What lies 20 dB under the loudest millisecond is not heard beside it: pre-echoes of filters, a bass under a drum."""
_RISES = np.array((0, 16))
"""Steps in which an attack's amplitude grows: at once, or in 8 ms; with more shapes it was found no better."""
_WEIGHT = 2.0
"""Of a step's likelihood: its samples, half of which stand for themselves, have a variance each."""
_HEARD = 6.0
"""Log-likelihood by which an attack must explain a beat's sound better than an even level does."""
_TOGETHER = 4.0
"""Steps of standard deviation by which players are apart on a beat."""
_STRAY = 0.01
"""Share of attacks that lie anywhere."""
_FEWEST = 3
_SHAPES = np.clip(
    (np.arange(2 * _AROUND) + 0.5 - np.arange(_AROUND - _REACH, _AROUND + _REACH + 1)[:, None, None])
    / np.maximum(_RISES, 1e-3)[:, None],
    0,
    1,
)  # [begins, rises, steps]


def attack_delay(audio: Floats, beats: Floats) -> float | None:
    """Return by how many seconds attacks in mono `audio` [n] at `RATE` follow the `beats` (seconds) they belong to.

    That is where they begin, not where they are steepest. What stood before a beat is linearly predicted on, which
    leaves little of held tones; in what is left, a level that changes at an unknown time is fitted to each beat (as
    seismologists pick arrivals: Sleeman and van Eck, Phys. Earth Planet. Inter. 1999), and the beats' likelihoods are
    multiplied, each with a share that lies anywhere. None where fewer than three beats have an attack.
    """
    spread = np.exp(-0.5 * (np.arange(-3 * _TOGETHER, 3 * _TOGETHER + 1) / _TOGETHER) ** 2)
    likely, heard = np.zeros(2 * _REACH + 1), 0
    for beat in beats:
        energy = _unforeseen(audio, round(beat * RATE))
        fit = None if energy is None else _begins(energy)
        if fit is not None:
            heard += 1
            likely += np.log(np.convolve(fit, spread / spread.sum(), "same") + _STRAY / len(fit))
    if heard < _FEWEST:
        return None
    best = int(np.clip(np.argmax(likely), 1, len(likely) - 2))
    before, top, after = likely[best - 1 : best + 2]
    shift = 0.5 * (before - after) / min(before - 2 * top + after, -1e-9)
    return (best - _REACH + float(np.clip(shift, -0.5, 0.5))) * _STEP / RATE


def _unforeseen(audio: Floats, beat: int) -> Floats | None:
    """Return the mean energies [steps] around sample `beat` of what linear prediction did not foresee; None at an end.

    The autocorrelation method; a faint white noise keeps it stable where nothing stood before.
    """
    first, last = beat - _AROUND * _STEP, beat + _AROUND * _STEP
    if first < _LEARNT or last > len(audio):
        return None
    before = audio[first - _LEARNT : first] * np.hanning(_LEARNT)
    correlation = np.correlate(before, before, "full")[_LEARNT - 1 : _LEARNT + _ORDER]
    correlation[0] = correlation[0] * (1 + 1e-9) + 1e-9
    ahead = scipy.linalg.solve_toeplitz(correlation[:-1], correlation[1:])
    left = scipy.signal.lfilter(np.concatenate([[1.0], -ahead]), 1.0, audio[first - _ORDER : last])[_ORDER:]
    energy = np.mean(left.reshape(-1, _STEP) ** 2, axis=1) + 1e-10
    return energy + _HIDES * np.convolve(energy, np.full(8, 1 / 8), "valid").max()


def _begins(energy: Floats) -> Floats | None:
    """Return how likely the attack in `energy` [steps] begins at each step of the reach, sum 1; None without one.

    Each step is Gaussian of a variance that is level, then grows as the square of the amplitude, then is level again.
    """
    begins = np.arange(_AROUND - _REACH, _AROUND + _REACH + 1)
    total = np.concatenate([[0.0], np.cumsum(energy)])
    there = np.minimum(begins[:, None] + _RISES, len(energy) - 4)
    low = (total[begins] / begins)[:, None]
    high = (total[-1] - total[there]) / (len(energy) - there)  # [begins, rises]
    variance = low[..., None] + np.maximum(high - low, 0)[..., None] * _SHAPES**2
    fits = -_WEIGHT * (np.log(variance) + energy / variance).sum(axis=2)
    if fits.max() + _WEIGHT * len(energy) * (np.log(energy.mean()) + 1) < _HEARD:
        return None
    likely: Floats = np.exp(fits - fits.max()).sum(axis=1)
    return likely / likely.sum()
