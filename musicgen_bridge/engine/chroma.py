"""The melody as MusicGen-Melody hears it: which of twelve pitch classes is loudest, about eight times a second.

Copet et al. 2023, "Simple and Controllable Music Generation", 3.2; equal at 32 kHz to transformers'
MusicgenMelodyFeatureExtractor (and so to audiocraft's ChromaExtractor), without the seconds that its import costs.
"""

from __future__ import annotations

import math

import numpy as np
import soxr
import torch
from torch import Tensor
from torch.nn import functional as F

from musicgen_bridge.errors import AudioError

SAMPLE_RATE = 32_000
N_FFT = 16_384
HOP = 4_096
SILENCE = 1e-4
"""The peak below which a melody is silent: -80 dBFS."""


def melody_chroma(audio: np.ndarray, sample_rate: int, *, num_chroma: int = 12) -> Tensor:
    """Return the one-hot chroma [T, num_chroma], float32, of `audio` [C, N] at `sample_rate` Hz.

    The channels are averaged and resampled to 32 kHz (N' samples); T is 1 + max(N', 16384) // 4096 and bin 0 is C. A
    silent frame within a melody counts as a C, as it does in the reference: there all bins are 0, and the first wins.
    Raises AudioError where the melody is empty, not finite or silent from end to end.
    """
    mono = np.mean(audio, axis=0, dtype=np.float32)
    if not mono.size or not np.isfinite(mono).all():
        raise AudioError("The melody is empty or not finite: choose another recording, or another part of this one.")
    if np.abs(mono).max() < SILENCE:
        raise AudioError("The melody is silent: choose another part of the recording with melody_start and melody_end.")
    wave = torch.from_numpy(soxr.resample(mono, sample_rate, SAMPLE_RATE, quality="VHQ"))
    lacking = max(0, N_FFT - len(wave))
    wave = F.pad(wave, (lacking // 2, lacking - lacking // 2))
    window = torch.hann_window(N_FFT)
    spectrum = torch.stft(wave, N_FFT, HOP, window=window, pad_mode="reflect", return_complex=True)
    power = (spectrum / window.pow(2).sum().sqrt()).abs().pow(2)  # [F, T]
    raw = chroma_filters(num_chroma) @ power  # [num_chroma, T]
    # The scale changes no maximum, but two that differ in the last bit may become equal, as in the reference.
    loudest = F.normalize(raw, p=torch.inf, dim=0, eps=1e-6).argmax(0)
    return F.one_hot(loudest, num_chroma).float()


def chroma_filters(num_chroma: int) -> Tensor:
    """Return the weight [num_chroma, 1 + N_FFT / 2] of each frequency in each pitch class, C first.

    Ellis 2007, "Chroma Feature Analysis and Synthesis", as in librosa's `filters.chroma` with its defaults at A440: a
    Gaussian around each pitch class, half a class wide (or half the distance of two FFT bins, where that is more);
    each frequency's weights have norm 1, then fall off as a Gaussian, two octaves wide, around the fifth octave.
    """
    hertz = np.arange(1, N_FFT) * SAMPLE_RATE / N_FFT
    pitch = num_chroma * np.log2(hertz / (440 / 16))  # in classes above A0
    pitch = np.concatenate(([pitch[0] - 1.5 * num_chroma], pitch))  # 0 Hz, one and a half octaves below the next
    width = np.concatenate((np.maximum(np.diff(pitch), 1), [1]))
    half = np.round(num_chroma / 2)
    distance = pitch - np.arange(num_chroma)[:, None]  # [num_chroma, N_FFT]
    distance = (distance + half + 10 * num_chroma) % num_chroma - half
    weight = np.exp(-0.5 * (2 * distance / width) ** 2)
    weight /= np.sqrt((weight**2).sum(0))
    weight *= np.exp(-0.5 * ((pitch / num_chroma - 5) / 2) ** 2)
    weight = np.roll(weight, -3 * (num_chroma // 12), axis=0)  # from A first to C first
    return torch.from_numpy(weight[:, : 1 + N_FFT // 2]).float()


def chroma_window(chroma: Tensor, start_s: float, length: int) -> Tensor:
    """Return `length` frames of `chroma` [T, num_chroma] from `start_s` seconds on; a short melody starts again.

    Audiocraft reads a melody cyclically too (`MusicGen._generate_tokens`).
    """
    first = math.floor(start_s * SAMPLE_RATE / HOP + 0.5)
    return chroma[(first + torch.arange(length, device=chroma.device)) % len(chroma)]
