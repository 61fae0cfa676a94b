"""Which part of a recording is its melody: Demucs where its weights are at hand, else a harmonic/percussive split."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from safetensors import SafetensorError, safe_open
from scipy import ndimage, signal

from musicgen_bridge.errors import ModelError

BY_DEMUCS = "demucs: all but drums and bass"
BY_HARMONICS = "degraded: harmonic/percussive split"
_DEMUCS_MODELS = ("demucs.htdemucs.HTDemucs", "demucs.hdemucs.HDemucs")


def lead(
    audio: np.ndarray, sample_rate: int, demucs: Path | None, *, device: torch.device | str = "cpu"
) -> tuple[np.ndarray, str]:
    """Return the melody [C', N], float32, of `audio` [C, N] at `sample_rate` Hz, and how it was found.

    With `demucs`, a folder with Demucs weights, it is everything but drums and bass, as in audiocraft's
    `ChromaStemConditioner`; without, `harmonic_lead`. Raises ModelError where the weights cannot be used.
    """
    if demucs is None:
        return harmonic_lead(audio, sample_rate), BY_HARMONICS
    sources = separate(audio, sample_rate, demucs, device=device)
    kept = [source for name, source in sources.items() if name not in ("drums", "bass")]
    return np.sum(kept, axis=0), BY_DEMUCS


def harmonic_lead(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return what of `audio` [C, N] is steady in pitch and above 180 Hz, as [1, N] float32.

    Fitzgerald 2010, "Harmonic/Percussive Separation using Median Filtering": in a magnitude spectrogram a tone is a
    horizontal line, which a median over time keeps, and a stroke a vertical one, which a median over frequency keeps;
    the mask is harmonic^2 / (harmonic^2 + percussive^2).
    """
    length = audio.shape[-1]
    size = 2 ** round(math.log2(0.046 * sample_rate))  # 46 ms: 2048 samples at 44.1 kHz
    mono = np.pad(audio.mean(axis=0), (0, max(0, size - length)))
    mono = signal.sosfiltfilt(signal.butter(4, 180, "highpass", fs=sample_rate, output="sos"), mono)
    transform = signal.ShortTimeFFT(signal.windows.hann(size, sym=False), hop=size // 4, fs=sample_rate)
    spectrum = transform.stft(mono)  # [F, T]
    magnitude = np.abs(spectrum).astype(np.float32)
    harmonic = ndimage.median_filter(magnitude, size=(1, 31)) ** 2  # over 0.36 s
    percussive = ndimage.median_filter(magnitude, size=(17, 1)) ** 2  # over 370 Hz
    mask = harmonic / np.maximum(harmonic + percussive, np.finfo(np.float32).tiny)
    return transform.istft(spectrum * mask, k1=len(mono))[None, :length].astype(np.float32)


def separate(
    audio: np.ndarray, sample_rate: int, weights: Path, *, device: torch.device | str = "cpu"
) -> dict[str, np.ndarray]:
    """Return the sources of `audio` [C, N] by name ("drums", "bass", "other", "vocals"), each [2, N] float32.

    `weights` is a folder with one Demucs model as safetensors (Rouard et al. 2023, "Hybrid Transformers for Music
    Source Separation"). Raises ModelError where it cannot be used, or Demucs is not installed.
    """
    model = load_demucs(weights)
    from demucs.apply import apply_model

    stereo = audio if audio.shape[0] == model.audio_channels else audio.mean(axis=0, keepdims=True)
    stereo = np.broadcast_to(stereo, (model.audio_channels, audio.shape[-1])).astype(np.float32)
    mix = torch.from_numpy(soxr.resample(stereo.T, sample_rate, model.samplerate, quality="VHQ").T.copy())
    # Without Demucs' random shifts: the same recording gives the same sources again.
    estimate = apply_model(model, mix[None], shifts=0, device=device)[0]  # [S, 2, N']
    return {
        name: _at_rate(source.cpu().numpy(), model.samplerate, sample_rate, audio.shape[-1])
        for name, source in zip(model.sources, estimate, strict=True)
    }


def load_demucs(folder: Path) -> Any:
    """Return the Demucs model in `folder`, on the CPU; raises ModelError where there is none that is safe to load.

    Demucs' own .th files are pickles and can run any code. Its safetensors files name a class to call, with arguments,
    in their metadata: only its two models are let through, and no quantized ones, whose metadata names more classes.
    """
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise ModelError(
            f"The Demucs folder {folder} should hold exactly one .safetensors model and holds {len(files)}: "
            "put HTDemucs there, as published on the Hugging Face Hub (.th files are not read, they can hide code)."
        )
    try:
        with safe_open(files[0], framework="pt") as file:
            metadata = file.metadata() or {}
        if metadata.get("klass") not in _DEMUCS_MODELS or "structure" in metadata:
            raise ModelError(f"{files[0].name} is not a plain Demucs model: put HTDemucs there instead.")
        from demucs.hf import load_safetensors_model

        return load_safetensors_model(files[0]).eval()
    except ImportError as error:
        raise ModelError("Demucs is not installed: run `pip install musicgen-bridge[separate]`.") from error
    except (SafetensorError, RuntimeError, TypeError, ValueError, KeyError) as error:
        raise ModelError(f"{files[0].name} cannot be read as a Demucs model; download it again ({error}).") from error


def _at_rate(audio: np.ndarray, sample_rate: int, wanted: int, length: int) -> np.ndarray:
    """Return `audio` [C, N] resampled to `wanted` Hz and to exactly `length` samples."""
    resampled = soxr.resample(audio.T, sample_rate, wanted, quality="VHQ").T[:, :length]
    return np.pad(resampled, ((0, 0), (0, length - resampled.shape[1])))
