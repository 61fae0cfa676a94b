"""Listener-free measures: tempo, key, chroma and mel distance, SI-SDR; each takes mono samples at 32 kHz."""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from musicgen_bridge.match import Target, estimate_key, match
from musicgen_bridge.pitch import tonic
from musicgen_bridge.request import Signature

SAMPLE_RATE = 32_000
Array = npt.NDArray[np.float32]
TEMPO_RATIOS = (0.5, 1.0, 2.0)
"""Octave folding: half and double time count as the same tempo."""


def magnitudes(x: Array, n: int, hop: int) -> torch.Tensor:
    """Return |STFT| of shape [n/2 + 1, frames]."""
    samples = torch.as_tensor(np.ascontiguousarray(x), dtype=torch.float32)
    return torch.stft(samples, n, hop, window=torch.hann_window(n), return_complex=True).abs()


def onsets(x: Array) -> Array:
    """Return the band-wise log spectral flux at 100 Hz, its slow part removed."""
    logs = torch.log1p(30 * magnitudes(x, 1024, 320))
    edges = (0, 8, 16, 32, 64, 128, 256, 513)
    bands = torch.stack([logs[a:b].mean(0) for a, b in itertools.pairwise(edges)])
    flux = torch.relu(bands[:, 1:] - bands[:, :-1]).sum(0)
    mean = functional.avg_pool1d(flux[None, None], 51, 1, 25, count_include_pad=False)[0, 0]
    return torch.relu(flux - mean).numpy()


def tempo_salience(x: Array, tempos: Array) -> Array:
    """Return, for each tempo in bpm, the onsets' mean autocorrelation at 1, 2, 4 and 8 beats."""
    envelope = onsets(x)
    n = len(envelope)
    spectrum = np.abs(np.fft.rfft(envelope - envelope.mean(), 2 * n)) ** 2
    correlation = np.fft.irfft(spectrum)[:n]
    correlation = correlation / (correlation[0] + 1e-9) * n / (n - np.arange(n))
    total, weights = np.zeros(len(tempos)), np.zeros(len(tempos))
    for beats, weight in ((1, 1.0), (2, 1.0), (4, 1.5), (8, 1.0)):
        lags = 60 / tempos * beats * 100
        usable = lags < n * 0.7
        total += np.where(usable, weight * np.interp(lags, np.arange(n), correlation), 0)
        weights += np.where(usable, weight, 0)
    return (total / np.maximum(weights, 1e-9)).astype(np.float32)


def detect_tempo(x: Array) -> float:
    """Return the most salient tempo between 56 and 190 bpm; nothing is known of the prompt."""
    tempos = np.exp(np.arange(np.log(56), np.log(190), 0.0025)).astype(np.float32)
    return float(tempos[tempo_salience(x, tempos).argmax()])


@cache
def _pitch_class_weights(n: int) -> torch.Tensor:
    frequencies = np.fft.rfftfreq(n, 1 / SAMPLE_RATE)
    usable = np.flatnonzero((frequencies > 55) & (frequencies < 2000))
    semitones = 12 * np.log2(frequencies[usable] / 261.6256)
    weights = np.zeros((12, len(frequencies)))
    off = semitones - np.round(semitones)
    weights[np.round(semitones).astype(int) % 12, usable] = np.exp(-0.5 * (off / 0.2) ** 2) / np.sqrt(
        frequencies[usable]
    )
    return torch.tensor(weights, dtype=torch.float32)


def chroma(x: Array, n: int = 8192) -> Array:
    """Return soft pitch classes of shape [12, frames] at 20 Hz, each frame's sum 1."""
    energy = _pitch_class_weights(n) @ magnitudes(x, n, 1600) ** 2
    return (energy / (energy.sum(0, keepdim=True) + 1e-6)).numpy()


def chroma_cosine(a: Array, b: Array) -> float:
    """Return the mean cosine between two recordings' chroma frames."""
    x, y = chroma(a), chroma(b)
    frames = min(x.shape[1], y.shape[1])
    x, y = x[:, :frames], y[:, :frames]
    norms = np.linalg.norm(x, axis=0) * np.linalg.norm(y, axis=0)
    return float(((x * y).sum(0) / (norms + 1e-6)).mean())


def detect_key(x: Array) -> tuple[int, bool]:
    """Return the tonic's pitch class and whether the mode is minor, as session matching hears them."""
    name, _ = estimate_key(x[None], SAMPLE_RATE)
    return tonic(name), name.endswith("minor")


def tempo_after_matching(x: Array, bpm: float) -> float:
    """Return the tempo, within a tenth of `bpm`, of the whole bars that session matching makes of a clip in 4/4."""
    bar = 4 * 60 / bpm
    bars = max(1, int((len(x) / SAMPLE_RATE - bar - 0.5) / 1.05 / bar))
    frames = math.floor(bars * bar * SAMPLE_RATE + 0.5)
    target = Target(bpm=bpm, signature=Signature(4, 4), frames=frames, sample_rate=SAMPLE_RATE)
    tempos = (bpm * np.exp(np.arange(-0.1, 0.1, 0.0005))).astype(np.float32)
    return float(tempos[tempo_salience(match(x[None], SAMPLE_RATE, target).audio[:, 0], tempos).argmax()])


@cache
def _mel_filters(n: int, bands: int) -> torch.Tensor:
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(n // 2 + 1, bands, 40, 16_000, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
    return torch.tensor(filters.T, dtype=torch.float32)


def mel_decibels(x: Array, n: int = 2048, hop: int = 512, bands: int = 80) -> torch.Tensor:
    """Return the mel spectrogram in dB, floored at -80 dB, of shape [bands, frames]."""
    return 20 * torch.log10(torch.clamp(_mel_filters(n, bands) @ magnitudes(x, n, hop), min=1e-4))


def mel_distance(a: Array, b: Array) -> float:
    """Return the mean absolute difference of two mel spectrograms in dB."""
    return float((mel_decibels(a) - mel_decibels(b)).abs().mean())


def si_sdr(reference: Array, estimate: Array) -> float:
    """Return the scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019)."""
    scale = (reference * estimate).sum() / ((reference**2).sum() + 1e-9)
    target = scale * reference
    return float(10 * np.log10((target**2).sum() / (((target - estimate) ** 2).sum() + 1e-9)))
