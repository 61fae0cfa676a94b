"""A take's samples as the bytes of a WAV, FLAC or AIFF file: the same take, the same bytes."""

from __future__ import annotations

import io
from copy import deepcopy

import numpy as np
import soundfile
from numpy.typing import NDArray

from musicgen_bridge.errors import ArgumentError
from musicgen_bridge.stems.chunks import acid, bext, smpl, with_chunks
from musicgen_bridge.stems.manifest import Take

Audio = NDArray[np.float32]
_AT_ONCE = 1 << 18
"""Frames that are quantised at once."""


def encode_stem(audio: Audio, take: Take) -> bytes:
    """Return the file of a stem, in the format, bits and sample rate that its request names.

    `audio` is [frames, channels], full scale at 1. WAV of 32 bits is floating point, all else integer; what exceeds
    full scale is clipped there. 16 bits are dithered. Every format says in words what the stem is (title, comment,
    software; INFO in WAV, NAME and ANNO in AIFF, Vorbis comments in FLAC). Tempo and loop as numbers stand in WAV
    alone: libsndfile writes neither to the other two.

    Raises:
        ArgumentError: the format has no such bits.
    """
    request = take.request
    tags = {"title": take.part.prompt or request.mode, "comment": describe(take), "software": "musicgen-bridge"}
    if request.floating:
        data = _encode(audio, request.sample_rate, "WAV", "FLOAT", tags)
    else:
        kind, subtype = request.format.upper(), f"PCM_{request.bits}"
        # The seed of the take seeds the dither too, so that the take can be had again to the bit.
        dither = np.random.PCG64([take.seed, take.index]) if request.bits == 16 else None
        data = _encode(quantise(audio, request.bits, dither), request.sample_rate, kind, subtype, tags)
    if request.format != "wav":
        return data
    extra = [
        bext(f"{take.part.prompt} | {describe(take)}".strip(" |"), take.created),
        # One tempo for all would have a DAW pull a stem off its tempo map.
        acid(request.quarters, request.signature, take.bpm, take.key, loops=take.loops and request.timing.steady),
    ]
    if take.seamless:
        extra.append(smpl(len(audio), request.sample_rate, take.key))
    return with_chunks(data, extra)


def encode_raw(audio: Audio, sample_rate: int) -> bytes:
    """Return the model's own output, [frames, channels] at its own rate, as FLAC of 24 bits.

    A codec overshoots full scale now and then, which FLAC can't hold: such a take is turned down as a whole, and the
    comment says by how much.
    """
    scale = max(1.0, float(np.max(np.abs(audio), initial=0.0)))
    return _encode(quantise(audio / scale, 24), sample_rate, "FLAC", "PCM_24", {"comment": f"divided by {scale:.9g}"})


def encode_recording(audio: Audio, sample_rate: int, name: str) -> bytes:
    """Return what was recorded, [frames, channels], as WAV of 24 bits."""
    return _encode(quantise(audio, 24), sample_rate, "WAV", "PCM_24", {"title": name, "software": "musicgen-bridge"})


def describe(take: Take) -> str:
    """Return one line on the stem: tempo, meter, key, seed, model."""
    request = take.request
    made = (f"seed {take.seed}", f"model {request.model}") if request.mode != "fit" else ()
    mean = "" if request.timing.steady else "mean "
    facts = (f"{mean}{take.bpm:g} BPM", str(request.signature), take.key, *made)
    return ", ".join(filter(None, facts))


def quantise(audio: Audio, bits: int, dither: np.random.PCG64 | None = None) -> NDArray[np.int32]:
    """Return samples of `bits` in the upper bits of int32, as libsndfile takes them; full scale is 2^(bits-1).

    The dither has a triangular density from -1 to 1 step (the sum of two uniform ones), which makes mean and variance
    of the error independent of the signal: Lipshitz, Wannamaker and Vanderkooy, Quantization and Dither, JAES 1992.
    The second uniform one goes on where the first ends.
    """
    limit = 2.0 ** (bits - 1)
    if dither is not None:
        first, second = np.random.Generator(deepcopy(dither)), np.random.Generator(deepcopy(dither).advance(audio.size))
    out = np.empty(audio.shape, np.int32)  # [frames, channels]
    for begin in range(0, len(audio), _AT_ONCE):
        steps = audio[begin : begin + _AT_ONCE].astype(np.float64) * limit
        if dither is not None:
            steps += first.random(steps.shape) - second.random(steps.shape)
        out[begin : begin + _AT_ONCE] = np.clip(np.rint(steps), -limit, limit - 1)
    return np.left_shift(out, 32 - bits, out=out)


def _encode(
    samples: Audio | NDArray[np.int32], sample_rate: int, kind: str, subtype: str, tags: dict[str, str]
) -> bytes:
    # To memory first: libsndfile is silent on a disk that fills up while it closes a file.
    if not soundfile.check_format(kind, subtype):
        raise ArgumentError(f"{kind.lower()} has no {subtype}; choose bits 16 or 24, or the format wav")
    memory = io.BytesIO()
    with soundfile.SoundFile(memory, "w", sample_rate, samples.shape[1], subtype, format=kind) as file:
        for name, text in tags.items():
            setattr(file, name, text.replace("\0", " ").encode(errors="replace").decode())
        file.write(samples)
    return memory.getvalue()
