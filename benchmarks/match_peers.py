"""Beat trackers beside session matching, where they are installed, told its tempo and metre where they can be."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache

import numpy as np
import soxr

from musicgen_bridge.match.tempo import FASTEST, SLOWEST, Pulse
from musicgen_bridge.request import Signature


def librosa_tempo(audio: np.ndarray, rate: int, bpm: float) -> float | None:
    """Return the tempo that librosa finds in `audio` [n] near `bpm`, in quarter notes; None if it isn't installed."""
    if importlib.util.find_spec("librosa") is None:
        return None
    import librosa

    return float(librosa.beat.beat_track(y=audio, sr=rate, start_bpm=bpm)[0].item())


def madmom_grid(audio: np.ndarray, rate: int, bpm: float, signature: Signature) -> tuple[float, float] | None:
    """Return the tempo in quarter notes and the first downbeat in seconds that madmom finds; None if not installed.

    Its recurrent networks and its bar tracker (Böck, Krebs and Widmer, ISMIR 2016). Its weights are CC BY-NC-SA.
    """
    if importlib.util.find_spec("madmom") is None:
        return None
    from madmom.audio.signal import Signal
    from madmom.features.downbeats import DBNDownBeatTrackingProcessor, RNNDownBeatProcessor

    pulse = Pulse.of(signature)
    taps = bpm / float(pulse.quarters)
    track = DBNDownBeatTrackingProcessor([pulse.per_bar], min_bpm=SLOWEST * taps, max_bpm=FASTEST * taps, fps=100)
    beats = track(RNNDownBeatProcessor()(Signal(soxr.resample(audio, rate, 44_100), sample_rate=44_100)))
    return _grid(beats[:, 0], beats[beats[:, 1] == 1, 0], pulse)


def beat_this_grid(audio: np.ndarray, rate: int, bpm: float, signature: Signature) -> tuple[float, float] | None:
    """Return the same as beat-this finds; None if it isn't installed or its weights are neither there nor to be had.

    Foscarin, Schlüter and Widmer, ISMIR 2024, without a tracker behind the network, so that it can't be told tempo and
    metre: the octave of its tempo is chosen for it.
    """
    if importlib.util.find_spec("beat_this") is None or (track := _beat_this()) is None:
        return None
    pulse = Pulse.of(signature)
    found, downbeat = _grid(*track(audio, rate), pulse)
    return found * 2 ** np.round(np.log2(bpm / found)), downbeat


@cache
def _beat_this() -> Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]] | None:
    from beat_this.inference import Audio2Beats

    try:
        track: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]] = Audio2Beats("final0", "cpu")
    except ValueError as error:  # so it says that there are no weights
        print(f"beat-this is left out: {error}")
        return None
    return track


def _grid(beats: np.ndarray, downbeats: np.ndarray, pulse: Pulse) -> tuple[float, float]:
    """Return the tempo in quarter notes, of the straight line through all beats, and the first downbeat; else NaN."""
    if len(beats) < 2:
        return float("nan"), float("nan")
    period = np.polyfit(np.arange(len(beats)), beats, 1)[0]
    return 60 / period * float(pulse.quarters), float(downbeats[0]) if len(downbeats) else float("nan")
