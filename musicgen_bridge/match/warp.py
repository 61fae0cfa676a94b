"""Time-stretching along a curve: a phase vocoder that reads its input wherever the curve says, pitch unchanged."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import scipy
from numpy.typing import NDArray

from musicgen_bridge.match.novelty import Floats
from musicgen_bridge.match.resample import Audio
from musicgen_bridge.match.trim import lengthen
from musicgen_bridge.tempo_map import TempoMap

Spectra = NDArray[np.complex64]

_OVERLAP = 4
"""Hops to a block."""
_AT_ONCE = 256
"""Hops that are worked out together, so that a long take needs no memory to follow a map."""
_TINY = np.float32(1e-30)
_FAINT = np.float32(1e-6)
"""Predictions that cancel each other to this share of them say nothing: the input's phase is taken."""
_LEAD = 0.1
"""Seconds before a map's start, and half as many behind its end, that are played too: a seam wants them."""


def along(
    audio: Audio, sample_rate: int, tempo_map: TempoMap, heard: Callable[[float], float], bar: float, block: float
) -> tuple[Audio, float, float]:
    """Return music played along a tempo map, the second at which the map starts in it, and what was missing.

    In `audio` [channels, n] so many quarter notes from the map's start are at second `heard(quarters)`, and a bar has
    `bar` seconds. Where the map outlasts it, its last bar is repeated before it is bent; so many seconds of the input
    are the third result. `block` is as for `stretch`.
    """
    pace = 60 / tempo_map.points[0].bpm / (heard(1) - heard(0))
    lead, behind = min(_LEAD, max(0.0, heard(0) * pace)), _LEAD / 2
    seconds = float(tempo_map.duration)
    end = heard(tempo_map.position(seconds + behind))
    missing = max(0.0, heard(float(tempo_map.quarters)) - audio.shape[1] / sample_rate)
    audio = lengthen(audio, math.ceil(end * sample_rate), bar * sample_rate, sample_rate)
    played = warp(audio, sample_rate, lambda now: heard(tempo_map.position(now - lead)), lead + seconds + behind, block)
    return played, lead, missing


def warp(audio: Audio, sample_rate: int, source: Callable[[float], float], seconds: float, block: float) -> Audio:
    """Return `seconds` of `audio` [channels, n] in which second t sounds as second `source(t)` of it does.

    `source` grows; what lies outside of the audio is silence. `block` seconds are stretched as one.

    After Signalsmith Stretch (Luff, "The design of Signalsmith Stretch", 2023), whose Python package takes one rate a
    call: each hop of the output has the magnitudes of a block of the input, and phases that agree with the hop before
    and, at the pace of the stretch, with the bins beside, so that attacks stay sharp and land where they should.
    """
    size = _OVERLAP * 2 * round(block * sample_rate / _OVERLAP / 2)
    hop = size // _OVERLAP
    frames = round(seconds * sample_rate)
    hops = frames // hop + 2
    places = np.array([round(source(index * hop / sample_rate) * sample_rate) for index in range(-1, hops)])
    padded = np.pad(audio, ((0, 0), (size + hop, size)))
    blocks = np.lib.stride_tricks.sliding_window_view(padded, size + hop, axis=1)  # [channels, n, a hop and a block]
    at = np.clip(places + size // 2, 0, blocks.shape[1] - 1)
    window = np.hanning(size + 1)[:-1].astype(np.float32)  # its square, a quarter apart, sums to 3/2
    out = np.zeros((len(audio), hops * hop + size), np.float32)
    before, turn = np.zeros((len(audio), 1, size // 2 + 1), np.complex64), np.zeros(size // 2 + 1, np.complex64)
    for first in range(0, hops, _AT_ONCE):
        chosen = at[first : first + _AT_ONCE + 1]
        pieces = blocks[:, chosen[1:]]
        heard, lagging = _spectra(pieces[..., hop:], window), _spectra(pieces[..., :-hop], window)
        pace = np.clip(hop / np.maximum(np.diff(chosen), 1), 0.5, 2.0)
        links = _links(heard, lagging, np.concatenate([before, heard[:, :-1]], axis=1), pace)
        turns = _turns(links, turn)
        before, turn = heard[:, -1:], turns[-1]
        made = np.fft.fftshift(scipy.fft.irfft(heard * turns, size, axis=-1), axes=-1) * (window / 1.5)
        for index in range(made.shape[1]):
            begin = (first + index) * hop
            out[:, begin : begin + size] += made[:, index]
    return out[:, size // 2 : size // 2 + frames]


def _spectra(blocks: Audio, window: Audio) -> Spectra:
    """Return the spectra of blocks [..., size] whose phases are counted from their middle."""
    return scipy.fft.rfft(np.fft.ifftshift(blocks * window, axes=-1), axis=-1).astype(np.complex64)


def _links(heard: Spectra, lagging: Spectra, before: Spectra, pace: Floats) -> Spectra:
    """Return how a bin's phase follows from others [4, hops, bins], for `_turns`.

    `heard` [channels, hops, bins] are the blocks, `lagging` the blocks an output's hop earlier in the input, `before`
    those of the hop before, and `pace` [hops] how many hops of the output one of the input lasts.

    Let the output be R X, of the input X in all channels. Over time it turns by X conj(lagging), which predicts
    P = R' before X conj(lagging). Over frequency, an attack d seconds from the block's middle turns the phase by d a
    Hz, and shall lie pace d from it: from bin b - 1 to b as the input does from b - pace to b. R of bin b is the sum of
    what follows from b - 1, b - 4 (already found) and b + 1, b + 4 (predicted), each weighed by its energies, and its
    length is then made 1.
    """
    energy = np.abs(heard) ** 2
    predicted = before * lagging.conj() * energy / np.maximum(np.maximum(np.abs(before) ** 2, energy), _TINY)
    links = []
    for step in (1, _OVERLAP):
        apart = _between(heard, step * pace)
        below, above = np.zeros((2, *heard.shape), np.complex64)
        below[..., step:] = energy[..., step:] * heard[..., :-step] * apart[..., step:].conj()
        above[..., :-step] = heard[..., :-step].conj() * (predicted * apart)[..., step:]
        links += [below.sum(axis=0), above.sum(axis=0)]
    total = np.sum(np.abs(links), axis=0)
    return np.array(links) / np.maximum(total, _TINY)


def _between(spectra: Spectra, below: Floats) -> Spectra:
    """Return each bin's neighbour `below` [hops] bins under it, between bins on a straight line; 0 under the lowest."""
    whole = np.floor(below).astype(int)
    share = (below - whole).astype(np.float32)[:, None]
    bins = np.arange(spectra.shape[-1]) - whole[:, None]  # [hops, bins]
    low = np.take_along_axis(spectra, np.maximum(bins, 0)[None], axis=-1) * (bins >= 0)
    lower = np.take_along_axis(spectra, np.maximum(bins - 1, 0)[None], axis=-1) * (bins >= 1)
    return low * (1 - share) + lower * share


def _turns(links: Spectra, last: Spectra) -> Spectra:
    """Return the unit numbers R [hops, bins] by which the input is turned; `last` [bins] are those of the hop before.

    R of a hop and bin wants the lower bins of its hop and up to four higher ones of the hop before. So all hops are
    worked out at once, each five bins behind the one before it: in the arrays below, row b + 5 k is bin b of hop k.
    """
    hops, bins = links.shape[1:]
    behind = _OVERLAP + 1
    rows = bins + behind * (hops - 1)
    slanted = np.zeros((4, rows, hops), np.complex64)
    for hop in range(hops):
        slanted[:, behind * hop : behind * hop + bins, hop] = links[:, hop]
    turns = np.zeros((rows + behind + _OVERLAP, hops + 1), np.complex64)  # a column and its rows before the first hop
    turns[:bins, 0] = last
    for row in range(rows):
        some = slice(max(0, (row - bins) // behind + 1), min(hops, row // behind + 1))
        mine, theirs, here = slice(some.start + 1, some.stop + 1), some, row + behind
        below, above, far_below, far_above = slanted[:, row, some]
        turn = below * turns[here - 1, mine] + far_below * turns[here - _OVERLAP, mine]
        turn += above * turns[row + 1, theirs] + far_above * turns[row + _OVERLAP, theirs]
        length = np.abs(turn)
        turns[here, mine] = np.where(length > _FAINT, turn / np.maximum(length, _FAINT), 1)
    return np.array([turns[behind * hop : behind * hop + bins, hop] for hop in range(1, hops + 1)])
