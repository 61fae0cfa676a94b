"""Beat trackers beside session matching, told the session's tempo and metre as well, where they are installed."""

from __future__ import annotations

import importlib.util

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

    Its recurrent networks and its bar tracker (Böck, Krebs and Widmer, ISMIR 2016); the tempo is the straight line
    through all beats. Its weights are CC BY-NC-SA.
    """
    if importlib.util.find_spec("madmom") is None:
        return None
    from madmom.audio.signal import Signal
    from madmom.features.downbeats import DBNDownBeatTrackingProcessor, RNNDownBeatProcessor

    pulse = Pulse.of(signature)
    taps = bpm / float(pulse.quarters)
    track = DBNDownBeatTrackingProcessor([pulse.per_bar], min_bpm=SLOWEST * taps, max_bpm=FASTEST * taps, fps=100)
    beats = track(RNNDownBeatProcessor()(Signal(soxr.resample(audio, rate, 44_100), sample_rate=44_100)))
    if len(beats) < 2:
        return float("nan"), float("nan")
    period = np.polyfit(np.arange(len(beats)), beats[:, 0], 1)[0]
    first = beats[beats[:, 1] == 1, 0]
    return 60 / period * float(pulse.quarters), float(first[0]) if len(first) else float("nan")
