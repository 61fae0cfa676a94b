"""What a recording is mixed of: drums, bass, other and vocals by Demucs; and its melody, without Demucs too."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
import soxr
import torch

from musicgen_bridge.engine.device import memory_errors
from musicgen_bridge.errors import ModelError
from musicgen_bridge.medians import running_median
from musicgen_bridge.request import SOURCES

BY_DEMUCS = "demucs: all but drums and bass"
BY_HARMONICS = "degraded: harmonic/percussive split"
AS_IT_IS = "the recording as it is"

AROUND_S = 2.0
"""Seconds of a loop's other end that Demucs hears before its start and after its end."""
_SEAM_S = 0.25
_REACH_S = 0.005
_OVERLAP = 0.25
"""How much of a segment Demucs hears again in the next; its own default."""


def melody_of(
    audio: np.ndarray,
    sample_rate: int,
    demucs: Any | None,
    part: str = "lead",
    *,
    device: torch.device | str = "cpu",
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[np.ndarray, str]:
    """Return the melody [C', N], float32, of `audio` [C, N] at `sample_rate` Hz, and how it was found.

    `part` is one of `MELODY_PARTS`. With `demucs`, a model as `load_demucs` returns it, the lead is everything but
    drums and bass, as in audiocraft's `ChromaStemConditioner`; without, `harmonic_lead`. Raises as `split` does, and
    ModelError where a single source is asked for and there is no Demucs.
    """
    if part == "all":
        return np.asarray(audio, np.float32), AS_IT_IS
    if demucs is None and part == "lead":
        return harmonic_lead(audio, sample_rate), BY_HARMONICS
    if demucs is None:
        raise ModelError(f"The melody can't be taken from the {part} without Demucs: fetch it, or take lead or all.")
    sources = separate(demucs, audio, sample_rate, device=device, on_step=on_step)
    if part != "lead":
        return sources[part], f"demucs: {part}"
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
    mono = scipy.signal.sosfiltfilt(scipy.signal.butter(4, 180, "highpass", fs=sample_rate, output="sos"), mono)
    transform = scipy.signal.ShortTimeFFT(scipy.signal.windows.hann(size, sym=False), hop=size // 4, fs=sample_rate)
    spectrum = transform.stft(mono)  # [F, T]
    magnitude = np.abs(spectrum).astype(np.float32)
    harmonic = running_median(magnitude, 31, axis=1) ** 2  # over 0.36 s
    percussive = running_median(magnitude, 17, axis=0) ** 2  # over 370 Hz
    mask = harmonic / np.maximum(harmonic + percussive, np.finfo(np.float32).tiny)
    return transform.istft(spectrum * mask, k1=len(mono))[None, :length].astype(np.float32)


def split(
    demucs: Any,
    audio: np.ndarray,
    sample_rate: int,
    *,
    loop: bool,
    device: torch.device | str = "cpu",
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, np.ndarray]:
    """Return the stems of `audio` [C, N] by the names of `SOURCES`, each [C, N] float32; their sum is `audio`.

    What Demucs gives to none of the others goes to other: its estimates alone leave a rest, above 22 kHz all of it. A
    loop is heard together with its other end on either side, and the end of each stem crosses over to what Demucs
    found before the start, so that the stems too go round without a step. Raises OutOfMemoryError, and what `on_step`
    raises, which is told before each layer how many segments of how many are done.
    """
    around = round(AROUND_S * sample_rate) if loop else 0
    heard = np.pad(audio, ((0, 0), (around, around)), mode="wrap")
    found = separate(demucs, heard, sample_rate, device=device, on_step=on_step)
    stems = {}
    for name in ("drums", "bass", "vocals"):
        source = found[name] if audio.shape[0] == 2 else found[name].mean(axis=0, keepdims=True)
        stems[name] = _round(source, around, audio.shape[1], round(_SEAM_S * sample_rate))
    stems["other"] = audio - stems["drums"] - stems["bass"] - stems["vocals"]
    return {name: stems[name] for name in SOURCES}


def within_full_scale(stems: dict[str, np.ndarray], sample_rate: int, *, loop: bool) -> dict[str, np.ndarray]:
    """Return stems [C, N] with the same sum, none of which exceeds full scale where that sum does not.

    Two stems that nearly cancel may each be louder than their mix m. There drums, bass and vocals, whose sum is s, are
    turned down for some milliseconds, and the difference goes to other: by the greatest g <= 1 with which each |g x|
    <= 1 and |m - g s| <= 1; g = 0 always is one.
    """
    others = {name: stem for name, stem in stems.items() if name != "other"}
    mix = stems["other"] + sum(others.values())
    room = np.maximum(1.0, np.abs(mix))
    gains = [1 / np.maximum(np.abs(stem), 1) for stem in others.values()]
    sign = np.sign(stems["other"])
    over = np.abs(stems["other"]) > room
    gains.append(np.where(over, (room - sign * mix) / np.where(over, sign * (stems["other"] - mix), 1), 1))
    gain = np.min(gains, axis=(0, 1))  # [N]
    if gain.min() >= 1:
        return stems
    reach = round(_REACH_S * sample_rate)
    mode = "wrap" if loop else "nearest"
    gain = scipy.ndimage.minimum_filter1d(gain, 2 * reach + 1, mode=mode)
    for _ in range(2):  # no further in all than the minimum, so it stays under it
        gain = scipy.ndimage.uniform_filter1d(gain, 2 * (reach // 2) + 1, mode=mode)
    turned = {name: (stem * gain).astype(np.float32) for name, stem in others.items()}
    turned["other"] = mix - sum(turned.values())
    return {name: turned[name] for name in stems}


def separate(
    demucs: Any,
    audio: np.ndarray,
    sample_rate: int,
    *,
    device: torch.device | str = "cpu",
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, np.ndarray]:
    """Return Demucs' own estimates of the sources of `audio` [C, N], by name, each [2, N] float32.

    Rouard et al. 2023, "Hybrid Transformers for Music Source Separation". Raises as `split` does.
    """
    from demucs.apply import apply_model

    stereo = audio if audio.shape[0] == demucs.audio_channels else audio.mean(axis=0, keepdims=True)
    stereo = np.broadcast_to(stereo, (demucs.audio_channels, audio.shape[-1])).astype(np.float32)
    mix = torch.from_numpy(soxr.resample(stereo.T, sample_rate, demucs.samplerate, quality="VHQ").T.copy())
    stride = int((1 - _OVERLAP) * int(demucs.samplerate * demucs.segment))
    segments = math.ceil(mix.shape[-1] / stride)
    done = 0

    def tell(state: dict[str, Any]) -> None:
        nonlocal done
        done = state["segment_offset"] // stride + (state["state"] == "end")
        on_step(done, segments)

    # A segment takes seconds on a CPU: between the layers too there is a moment to be cancelled.
    hooks = [layer.register_forward_pre_hook(lambda *_: on_step(done, segments)) for layer in demucs.modules()]
    try:
        with memory_errors():
            # Without Demucs' random shifts: the same recording gives the same sources again.
            estimate = apply_model(demucs, mix[None], shifts=0, overlap=_OVERLAP, device=device, callback=tell)[0]
    finally:
        for hook in hooks:
            hook.remove()
    return {
        name: _at_rate(source.cpu().numpy(), demucs.samplerate, sample_rate, audio.shape[-1])
        for name, source in zip(demucs.sources, estimate, strict=True)  # [S, 2, N']
    }


def _at_rate(audio: np.ndarray, sample_rate: int, wanted: int, length: int) -> np.ndarray:
    """Return `audio` [C, N] resampled to `wanted` Hz and to exactly `length` samples."""
    resampled = soxr.resample(audio.T, sample_rate, wanted, quality="VHQ").T[:, :length]
    return np.pad(resampled, ((0, 0), (0, length - resampled.shape[1])))


def _round(source: np.ndarray, start: int, length: int, seam: int) -> np.ndarray:
    """Return `length` samples of `source` [C, N] from `start`, whose last `seam` cross over to those before `start`.

    Both are estimates of the same samples of a loop, so the weights add up to 1.
    """
    out = source[:, start : start + length].copy()
    seam = min(seam, start, length // 2)
    fade_in = (np.arange(seam, dtype=np.float32) + 0.5) / max(seam, 1)
    out[:, length - seam :] = out[:, length - seam :] * (1 - fade_in) + source[:, start - seam : start] * fade_in
    return out
