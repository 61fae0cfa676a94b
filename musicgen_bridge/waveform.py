"""Waveforms as tensors: channels, sample rate, level and PCM, with audiocraft's functions and defaults.

After `audiocraft/data/audio_utils.py` of facebookresearch/audiocraft (MIT licence).
"""

from __future__ import annotations

import math
import sys

import torch
from torch import Tensor

_BLOCK = 0.4
"""Seconds that ITU-R BS.1770-4 measures at once."""


def convert_audio_channels(wav: Tensor, channels: int = 2) -> Tensor:
    """Return `wav` [..., C, T] with `channels` channels: mixed down to one, repeated from one, or the first of many.

    Raises ValueError where more channels are asked for than there are, and there is more than one.
    """
    there = wav.shape[-2]
    if channels == there:
        return wav
    if channels == 1:
        return wav.mean(-2, keepdim=True)
    if there == 1:
        return wav.expand(*wav.shape[:-2], channels, wav.shape[-1])
    if there < channels:
        raise ValueError(f"The audio has {there} channels and is not mono: it can't be made {channels} channels.")
    return wav[..., :channels, :]


def convert_audio(wav: Tensor, from_rate: float, to_rate: float, to_channels: int) -> Tensor:
    """Return `wav` [..., C, T] at another sample rate (Hz, whole) and number of channels.

    Resampled by julius, as audiocraft does. Raises ValueError as `convert_audio_channels`.
    """
    from julius.resample import resample_frac

    return convert_audio_channels(resample_frac(wav, int(from_rate), int(to_rate)), to_channels)


def normalize_audio(
    wav: Tensor,
    normalize: bool = True,
    strategy: str = "peak",
    peak_clip_headroom_db: float = 1,
    rms_headroom_db: float = 18,
    loudness_headroom_db: float = 14,
    loudness_compressor: bool = False,
    log_clipping: bool = False,
    sample_rate: int | None = None,
    stem_name: str | None = None,
) -> Tensor:
    """Return `wav` [C, T] at the level that `strategy` says; `wav` itself is left as it is.

    `peak` brings the largest sample to its headroom below full scale, `clip` cuts what exceeds that, `rms` brings the
    root mean square of the mono mix to its own headroom, `loudness` the integrated loudness (ITU-R BS.1770-4) to
    -`loudness_headroom_db` LUFS, with tanh over it where `loudness_compressor`; `none` demands that nothing reaches
    full scale. Without `normalize`, `peak` and `rms` only make quieter. `rms` and `loudness` cut at full scale, and say
    so on stderr where `log_clipping`. Silence stays silence.

    Raises AssertionError on an unknown strategy, on loudness without `sample_rate`, on `none` where a sample clips.
    """
    full = 10 ** (-peak_clip_headroom_db / 20)
    if strategy == "clip":
        return wav.clamp(-full, full)
    if strategy == "peak":
        return _scaled(wav, full, float(wav.abs().max()), normalize)
    if strategy == "rms":
        level = float(wav.mean(0).pow(2).mean().sqrt())
        return _clip(_scaled(wav, 10 ** (-rms_headroom_db / 20), level, normalize), log_clipping, stem_name)
    if strategy == "loudness":
        assert sample_rate is not None, "Loudness normalization requires sample rate."
        return _clip(_at_loudness(wav, sample_rate, loudness_headroom_db, loudness_compressor), log_clipping, stem_name)
    assert strategy in {"", "none"}, f"Unexpected strategy: '{strategy}'"
    assert wav.abs().max() < 1
    return wav


def f32_pcm(wav: Tensor) -> Tensor:
    """Return int16 samples as floats, full scale at 1; floats as they are. Raises AssertionError on another dtype."""
    if wav.dtype.is_floating_point:
        return wav
    assert wav.dtype == torch.int16
    return wav.float() / 2**15


def i16_pcm(wav: Tensor) -> Tensor:
    """Return floats within [-1, 1] as int16 samples; int16 as they are.

    Full scale is 2^15; where that would not fit, the whole is scaled by 2^15 - 1 instead, so `i16_pcm(f32_pcm(x))` is
    `x` only where there is headroom. Raises AssertionError on a sample beyond full scale, or on another dtype.
    """
    if not wav.dtype.is_floating_point:
        assert wav.dtype == torch.int16
        return wav
    assert wav.abs().max() <= 1
    steps = (wav * 2**15).round()
    return (steps if steps.max() < 2**15 else (wav * (2**15 - 1)).round()).short()


def _scaled(wav: Tensor, wanted: float, there: float, normalize: bool) -> Tensor:
    if there == 0 or (not normalize and there <= wanted):
        return wav
    return wav * (wanted / there)


def _at_loudness(wav: Tensor, sample_rate: int, headroom_db: float, compressor: bool, floor: float = 2e-3) -> Tensor:
    """Return `wav` [C, T] at -`headroom_db` LUFS; what has less than `floor` of RMS is left alone."""
    if wav.pow(2).mean().sqrt() < floor:
        return wav
    gain = 10 ** ((-headroom_db - _loudness(wav, sample_rate)) / 20)
    return torch.tanh(gain * wav) if compressor else gain * wav


def _loudness(wav: Tensor, sample_rate: int) -> float:
    """Return the integrated loudness in LUFS of `wav` [C, T]; what is shorter than a block is measured as a loop."""
    from torchaudio.functional import loudness

    times = math.ceil(_BLOCK * sample_rate / wav.shape[-1])
    scale = max(1.0, 4 * float(wav.abs().max()))  # torchaudio's filters clip at full scale, and K-weighting adds 4 dB
    return float(loudness(wav.repeat(1, times) / scale, sample_rate)) + 20 * math.log10(scale)


def _clip(wav: Tensor, log: bool, name: str | None) -> Tensor:
    if log and wav.abs().max() > 1:
        share, most = float((wav.abs() > 1).float().mean()), float(wav.abs().max())
        print(
            f"CLIPPING {name or ''} happening with proba (a bit of clipping is okay): {share} maximum scale: {most}",
            file=sys.stderr,
        )
    return wav.clamp(-1, 1)
