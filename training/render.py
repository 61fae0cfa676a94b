"""Renders composed pieces through a General MIDI soundfont into shards of clips with captions and the lead's chroma."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfft

from training.prompts import WORDS, build_tokenizer, caption
from training.scores import FRAME, GENRES, LOOP_BARS, ROLES, SAMPLE_RATE, STEPS, Note, Piece, compose, draw_piece

CLIP_FRAMES = 1280
"""25.6 s."""
CHROMA_FRAMES = 195
"""MusicGen-Melody's `chroma_length`: 24.96 s at 4096 samples a frame."""
CAPTIONS = 4
MIXES = 4
TAIL = SAMPLE_RATE * 3 // 2
LEVEL = {"drums": 0.11, "bass": 0.09, "chords": 0.065, "lead": 0.10}
"""Root mean square of each stem in a mix."""
MIXTURE: dict[tuple[str, ...], float] = {
    ROLES: 0.27, ("drums",): 0.20, ("drums", "bass"): 0.07, ("drums", "bass", "chords"): 0.08, ("bass",): 0.08,
    ("chords",): 0.09, ("lead",): 0.09, ("chords", "lead"): 0.07, ("drums", "lead"): 0.05,
}  # fmt: skip
"""How often which roles play; drums alone are rendered first (`curriculum`)."""

Samples = npt.NDArray[np.float32]


class Synth:
    """A soundfont player at 32 kHz, mono."""

    def __init__(self, soundfont: Path) -> None:
        import tinysoundfont

        self._synth = tinysoundfont.Synth(gain=-6, samplerate=SAMPLE_RATE)
        self._font = self._synth.sfload(str(soundfont))

    def play(self, notes: list[Note], program: int, drums: bool, step: int, samples: int) -> Samples:
        """Return `samples` samples of notes that start on multiples of `step` samples."""
        synth, channel = self._synth, 9 if drums else 0
        synth.program_select(channel, self._font, 128 if drums else 0, program, drums)
        events = []
        for start, length, pitch, velocity in notes:
            at = int(start * step)
            events += [(at, 1, pitch, velocity), (max(at + 400, int((start + length) * step)), 0, pitch, 0)]
        events.sort(key=lambda event: event[:2])
        pieces, now = [], 0
        for at, on, pitch, velocity in events:
            at = min(at, samples)
            if at > now:
                pieces.append(np.frombuffer(bytes(synth.generate(at - now)), np.float32))
                now = at
            if on:
                synth.noteon(channel, pitch, velocity)
            else:
                synth.noteoff(channel, pitch)
        if now < samples:
            pieces.append(np.frombuffer(bytes(synth.generate(samples - now)), np.float32))
        synth.sounds_off(channel)
        synth.generate(2048)
        return np.concatenate(pieces).reshape(-1, 2).mean(1)[:samples]


@cache
def _room(samples: int) -> tuple[int, npt.NDArray[np.complex64]]:
    """The spectrum of half a second of decaying noise, padded for a signal of `samples`."""
    n = SAMPLE_RATE // 2
    response = np.random.default_rng(7).normal(size=n) * np.exp(-6.9 * np.arange(n) / n)
    response = (response / np.sqrt((response**2).sum())).astype(np.float32)
    size = next_fast_len(samples + n, real=True)
    return size, rfft(response, size)


def reverberate(x: Samples, wet: float) -> Samples:
    """Add a short diffuse room at `wet` of the direct sound's level."""
    size, room = _room(-(-len(x) // 65536) * 65536)
    return x + np.float32(wet) * irfft(rfft(x, size) * room, size)[: len(x)].astype(np.float32)


def render_stems(synth: Synth, piece: Piece, roles: set[str], rng: np.random.Generator) -> dict[str, Samples]:
    """Return each role's stem, `CLIP_FRAMES` long: four bars repeated exactly; half of the leads don't repeat."""
    total = CLIP_FRAMES * FRAME
    loop = LOOP_BARS * STEPS * piece.step_samples
    long_bars = -(-total // (STEPS * piece.step_samples))
    lead_bars = long_bars if rng.random() < 0.5 else LOOP_BARS
    notes = compose(piece, rng, lead_bars)
    programs = {"drums": piece.kit, "bass": piece.bass, "chords": piece.chords, "lead": piece.lead}
    stems = {}
    for role in sorted(roles):
        bars = lead_bars if role == "lead" else LOOP_BARS
        period = bars * STEPS * piece.step_samples
        once = synth.play(notes[role], programs[role], role == "drums", piece.step_samples, min(period, total) + TAIL)
        once = reverberate(once, GENRES[piece.genre].room) if role in ("chords", "lead") else once
        stem = np.zeros(total + loop + TAIL, np.float32)
        for start in range(0, total, period):
            part = stem[start : start + len(once)]
            part += once[: len(part)]
        stem = stem[:total]
        stems[role] = stem * np.float32(LEVEL[role] / (np.sqrt(np.mean(stem**2)) + 1e-6))
    return stems


def mix(stems: dict[str, Samples], roles: tuple[str, ...]) -> npt.NDArray[np.int16]:
    """Return the sum at an RMS of about 0.14, gently limited, as 16-bit samples."""
    x = sum((stems[role] for role in roles[1:]), start=stems[roles[0]])
    x = np.tanh(x * np.float32(0.154 / (np.sqrt(np.mean(x**2)) + 1e-6))) / 1.1
    return (x * 32767).astype(np.int16)


@cache
def _chroma_filters() -> npt.NDArray[np.float32]:
    from transformers.audio_utils import chroma_filter_bank

    filters = chroma_filter_bank(sampling_rate=SAMPLE_RATE, num_frequency_bins=16384, tuning=0, num_chroma=12)
    return np.asarray(filters, np.float32)


def chroma_classes(x: Samples) -> npt.NDArray[np.uint8]:
    """Return the strongest pitch class of each hop of 4096 samples, as MusicgenMelodyFeatureExtractor finds it."""
    padded = np.pad(x, 8192, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, 16384)[::4096]
    window = np.hanning(16385)[:-1].astype(np.float32)
    power = np.abs(rfft(frames * window, axis=1)) ** 2  # [T, 8193]
    return (power @ _chroma_filters().T).argmax(1).astype(np.uint8)


def draw_mixes(rng: np.random.Generator, drums_first: bool) -> list[tuple[str, ...]]:
    """Draw the role sets of one piece's clips, each another; with `drums_first`, half of the clips are drums alone."""
    if drums_first and rng.random() < 0.8:
        return [("drums",)]
    choices = list(MIXTURE)
    picked = rng.choice(len(choices), MIXES, replace=False, p=list(MIXTURE.values()))
    return [choices[i] for i in picked]


def render_shard(soundfont: Path, folder: Path, index: int, clips: int, curriculum: int) -> float:
    """Render shard `index` (its seed) and return its seconds of audio; the first `curriculum` shards favour drums."""
    rng = np.random.default_rng((20_260, index))
    synth = _synth(soundfont)
    tokenizer = build_tokenizer()
    audio = np.empty((clips, CLIP_FRAMES * FRAME), np.int16)
    chroma = np.zeros((clips, CHROMA_FRAMES), np.uint8)
    words = np.zeros((clips, CAPTIONS, WORDS + 1), np.int16)
    labels: list[dict[str, object]] = []
    while len(labels) < clips:
        piece = draw_piece(rng)
        mixes = draw_mixes(rng, index < curriculum)[: clips - len(labels)]
        stems = render_stems(synth, piece, {role for roles in mixes for role in roles}, rng)
        lead = chroma_classes(stems["lead"])[:CHROMA_FRAMES] if "lead" in stems else 0
        for roles in mixes:
            i = len(labels)
            audio[i] = mix(stems, roles)
            chroma[i] = lead if "lead" in roles else 0
            texts = [caption(piece, roles, rng) for _ in range(CAPTIONS)]
            words[i] = [tokenizer.encode(text).ids for text in texts]
            labels.append({**asdict(piece), "roles": roles, "texts": texts})
    bars = np.array([label["bar_frames"] for label in labels], np.int16)
    lead_flags = np.array(["lead" in label["roles"] for label in labels])  # type: ignore[operator]
    unfinished = folder / f"{index:05d}.part"
    with unfinished.open("wb") as file:
        np.savez(file, audio=audio, chroma=chroma, words=words, bars=bars, lead=lead_flags, labels=json.dumps(labels))
    unfinished.rename(folder / f"{index:05d}.npz")
    return clips * CLIP_FRAMES / 50


@cache
def _synth(soundfont: Path) -> Synth:
    return Synth(soundfont)


def _job(arguments: tuple[Path, Path, int, int, int, int]) -> float:
    soundfont, folder, index, clips, curriculum, waiting = arguments
    while waiting and sum(1 for _ in folder.glob("*.npz")) >= waiting:  # the reader deletes what it has read
        time.sleep(0.2)
    return render_shard(soundfont, folder, index, clips, curriculum)


def main() -> None:
    """Render shards until all are there, in as many processes as asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("soundfont", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--first", type=int, default=0, help="index, and seed, of the first shard")
    parser.add_argument("--clips", type=int, default=48, help="clips a shard")
    parser.add_argument("--curriculum", type=int, default=0, help="shards below this index favour drums alone")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--waiting", type=int, default=0, help="pause while so many shards wait to be read")
    o = parser.parse_args()
    o.folder.mkdir(parents=True, exist_ok=True)
    start, seconds = time.time(), 0.0
    jobs = [(o.soundfont, o.folder, o.first + i, o.clips, o.curriculum, o.waiting) for i in range(o.shards)]
    with multiprocessing.get_context("spawn").Pool(o.workers) as pool:
        for i, done in enumerate(pool.imap_unordered(_job, jobs)):
            seconds += done
            if (i + 1) % 20 == 0 or i + 1 == o.shards:
                print(f"{i + 1} shards, {seconds / 3600:.1f} h, {seconds / (time.time() - start):.0f}x", flush=True)


if __name__ == "__main__":
    main()
