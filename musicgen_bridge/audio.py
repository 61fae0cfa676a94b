"""Audio files to tensors and back, with audiocraft's functions and defaults.

After `audiocraft/data/audio.py` of facebookresearch/audiocraft (MIT licence).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from musicgen_bridge.stems.waves import AudioFileInfo, encode_wave, file_info, put, read_part
from musicgen_bridge.waveform import i16_pcm, normalize_audio

__all__ = ["AudioFileInfo", "audio_info", "audio_read", "audio_write"]


def audio_info(filepath: str | Path) -> AudioFileInfo:
    """Return sample rate (Hz), duration (seconds) and channels of any file that libsndfile reads.

    Raises AudioError where it is no audio, FileNotFoundError where there is none.
    """
    return file_info(Path(filepath))


def audio_read(
    filepath: str | Path, seek_time: float = 0.0, duration: float = -1.0, pad: bool = False
) -> tuple[Tensor, int]:
    """Return audio [C, T], full scale at 1, and its sample rate.

    It begins `seek_time` seconds into the file and lasts `duration` seconds, or to the end if that is not above 0 or
    exceeds what is left; with `pad` zeros make up for what lacks. Nothing [C, 0] is read beyond the end. Raises as
    `audio_info`.
    """
    audio, rate = read_part(Path(filepath), seek_time, duration)
    wav = torch.from_numpy(audio)
    if pad and duration > 0:
        wav = F.pad(wav, (0, int(duration * rate) - wav.shape[-1]))
    return wav, rate


def audio_write(
    stem_name: str | Path,
    wav: Tensor,
    sample_rate: int,
    format: str = "wav",  # noqa: A002 (audiocraft's name)
    mp3_rate: int = 320,
    ogg_rate: int | None = None,
    normalize: bool = True,
    strategy: str = "peak",
    peak_clip_headroom_db: float = 1,
    rms_headroom_db: float = 18,
    loudness_headroom_db: float = 14,
    loudness_compressor: bool = False,
    log_clipping: bool = True,
    make_parent_dir: bool = True,
    add_suffix: bool = True,
) -> Path:
    """Write `wav` [C, T] or [T] and return the path: `stem_name`, with the format's suffix if `add_suffix`.

    The format is wav (16 bits), flac (24 bits), mp3 (constant `mp3_rate`, kbit/s) or ogg (Vorbis of about `ogg_rate`).
    The level is that of `normalize_audio`. A file of that name is replaced, and never half-written.

    Raises AssertionError where `wav` is not floating point or not finite, and as `normalize_audio`; ValueError where it
    has more than two dimensions, RuntimeError on another format, DiskError or PathError where it can't be written.
    """
    assert wav.dtype.is_floating_point, "wav is not floating point"
    if wav.dim() > 2:
        raise ValueError("Input wav should be at most 2 dimension.")
    wav = wav.detach().cpu().float()
    wav = wav[None] if wav.dim() == 1 else wav
    assert wav.isfinite().all(), "wav is not finite"
    wav = normalize_audio(
        wav,
        normalize,
        strategy,
        peak_clip_headroom_db,
        rms_headroom_db,
        loudness_headroom_db,
        loudness_compressor,
        log_clipping=log_clipping,
        sample_rate=sample_rate,
        stem_name=str(stem_name),
    )
    samples = (i16_pcm(wav) if format == "wav" else wav).t().numpy()  # [T, C]
    data = encode_wave(samples, sample_rate, format, mp3_rate, ogg_rate)
    path = Path(f"{stem_name}.{format}" if add_suffix else stem_name)
    if make_parent_dir:
        path.parent.mkdir(exist_ok=True, parents=True)
    put(path, data)
    return path
