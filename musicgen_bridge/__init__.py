"""MusicGen for the digital audio workstation.

The names below are audiocraft's; torch is imported when the first of them is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from musicgen_bridge.audio import AudioFileInfo, audio_info, audio_read, audio_write
    from musicgen_bridge.musicgen import MusicGen
    from musicgen_bridge.waveform import (
        convert_audio,
        convert_audio_channels,
        f32_pcm,
        i16_pcm,
        normalize_audio,
    )

__version__ = "0.1.0"
__all__ = [
    "AudioFileInfo",
    "MusicGen",
    "__version__",
    "audio_info",
    "audio_read",
    "audio_write",
    "convert_audio",
    "convert_audio_channels",
    "f32_pcm",
    "i16_pcm",
    "normalize_audio",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from musicgen_bridge import audio, musicgen, waveform

    return next(getattr(module, name) for module in (musicgen, audio, waveform) if hasattr(module, name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
