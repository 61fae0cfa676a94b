"""Time-stretching along a curve: straight pieces, each at one rate, joined where the two sound most alike."""

from __future__ import annotations

import math

import numpy as np

from musicgen_bridge.match.loop import cross
from musicgen_bridge.match.novelty import Floats
from musicgen_bridge.match.resample import Audio
from musicgen_bridge.match.stretch import stretch
from musicgen_bridge.match.trim import lengthen
from musicgen_bridge.tempo_map import TempoMap

STRAIGHT = 0.0005
"""Seconds by which a straight piece may miss the curve."""
_SLACK = 0.001
"""Seconds by which the sound around a join may be misplaced, since a join may lie a little before its knot."""
_REACH = 0.08
"""Seconds before a knot in which its join is looked for, at most."""
_FADE = 0.01
_BEHIND = 0.05
"""Seconds of sound that are wanted behind a map's end, for the seam."""
_STEPS = 16
"""Knots to a quarter note of a glide, of which few are kept."""
_AROUND = 2.0
"""Blocks of audio that a piece is stretched with on either side, so that it is in full swing at its joins."""


def straight_pieces(sources: Floats, places: Floats, tolerance: float = STRAIGHT) -> list[int]:
    """Return the indices of the knots that stay: lines between them pass all others within `tolerance` seconds.

    `places` [n] are the seconds of the output at which the input's `sources` [n] (seconds) are heard; both grow. From
    each knot a line goes as far as one slope serves all knots on its way (Bristol, "Swinging door trending", 1990).
    """
    kept, low, high = [0], -np.inf, np.inf
    for index in range(1, len(sources)):
        if not low <= _slope(sources, places, kept[-1], index) <= high:
            kept.append(index - 1)
            low, high = -np.inf, np.inf
        slope = _slope(sources, places, kept[-1], index)
        play = tolerance / (sources[index] - sources[kept[-1]])
        low, high = max(low, slope - play), min(high, slope + play)
    return [*kept, len(sources) - 1]


def _slope(sources: Floats, places: Floats, first: int, last: int) -> float:
    return float((places[last] - places[first]) / (sources[last] - sources[first]))


def warp(audio: Audio, sample_rate: int, sources: Floats, places: Floats, block: float) -> tuple[Audio, float]:
    """Return `audio` [channels, n] played so that `sources[i]` is heard at `places[i]`, both in seconds and growing.

    Before the first knot and behind the last the rate goes on. The output begins with the input's first sample, so
    its second 0 is no second 0 of `places`; the second result is where `places[0]` lies in it, in seconds. `block` is
    the stretcher's, in seconds.
    """
    kept = straight_pieces(sources, places)
    sources, places = sources[kept], places[kept]
    rates = np.diff(sources) / np.diff(places)
    places = places - places[0] + sources[0] / rates[0]
    frames = round((places[-1] + (audio.shape[1] / sample_rate - sources[-1]) / rates[-1]) * sample_rate)
    out = np.zeros((len(audio), max(frames, 0)), np.float32)
    around, end = _AROUND * block, 0
    for index, rate in enumerate(rates):
        first = max(0, int((sources[index] - around) * sample_rate)) if index else 0
        last = int((sources[index + 1] + around) * sample_rate) if index + 1 < len(rates) else audio.shape[1]
        piece = stretch(audio[:, first:last], sample_rate, float(rate), block)
        begins = round((places[index] + (first / sample_rate - sources[index]) / rate) * sample_rate)
        piece, begins = piece[:, max(0, -begins) :], max(0, begins)
        piece = piece[:, : max(0, out.shape[1] - begins)]
        if index:
            reach = min(_REACH, _SLACK / max(abs(rates[index - 1] / rate - 1), 1e-9))
            _join(out, piece, begins, end, round(places[index] * sample_rate), round(reach * sample_rate), sample_rate)
        else:
            out[:, begins : begins + piece.shape[1]] = piece
        end = begins + piece.shape[1]
    return out, float(places[0])


def _join(out: Audio, piece: Audio, begins: int, end: int, knot: int, reach: int, sample_rate: int) -> None:
    """Write `piece`, which begins at frame `begins`, over `out`, which is filled until `end`; cross before `knot`.

    Both play the same music with other phases: they are crossed where they are most alike, at most `reach` frames
    before the knot, so that no partial is cancelled and the attack at the knot is one piece's alone.
    """
    fade = min(round(_FADE * sample_rate), knot - begins, end - begins)
    if fade < 1:
        out[:, begins : begins + piece.shape[1]] = piece
        return
    latest = min(knot, end)
    earliest = max(latest - reach, begins + fade)
    old, new = out[:, earliest - fade : latest], piece[:, earliest - fade - begins : latest - begins]
    join = earliest + int(np.argmax(_alikeness(old, new, fade)))
    out[:, join - fade : join] = cross(out[:, join - fade : join], piece[:, join - fade - begins : join - begins])
    out[:, join : begins + piece.shape[1]] = piece[:, join - begins :]


def _alikeness(old: Audio, new: Audio, width: int) -> Floats:
    """Return the correlation of every `width` frames of both [channels, n], [n - width + 1], from -1 to 1."""

    def sums(one: Audio, other: Audio) -> Floats:
        total = np.concatenate([[0.0], np.cumsum((one * other).sum(axis=0, dtype=np.float64))])
        return total[width:] - total[:-width]

    energy = np.sqrt(np.maximum(sums(old, old) * sums(new, new), 0))
    return sums(old, new) / (energy + 1e-9)


def along(
    audio: Audio, sample_rate: int, tempo_map: TempoMap, start: float, quarter: float, bar: float, block: float
) -> tuple[Audio, float, float]:
    """Return steady music played along a tempo map, the second at which the map starts in it, and what was missing.

    `audio` [channels, n] has a quarter note of `quarter` seconds and a bar of `bar` seconds, and the map's first beat
    at second `start`. Where the map outlasts it, its last bar is repeated before it is bent; so many seconds of the
    input are the third result.
    """
    frames = math.ceil((start + float(tempo_map.quarters) * quarter + _BEHIND) * sample_rate)
    missing = max(0.0, frames / sample_rate - _BEHIND - audio.shape[1] / sample_rate)
    quarters = np.array(_knots(tempo_map))
    seconds = np.array([tempo_map.seconds(place) for place in quarters])
    audio = lengthen(audio, frames, bar * sample_rate, sample_rate)
    return *warp(audio, sample_rate, start + quarters * quarter, seconds, block), missing


def _knots(tempo_map: TempoMap) -> list[float]:
    """Return the quarter notes between which a map is straight; in a glide, close enough to it."""
    knots = [float(tempo_map.quarters)]
    for one in reversed(tempo_map.segments):
        steps = 1 if one.bpm == one.until else math.ceil(one.quarters * _STEPS)
        knots += [float(one.start + one.quarters * step / steps) for step in reversed(range(steps))]
    return knots[::-1]
