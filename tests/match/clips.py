"""Synthetic clips of a band whose tempo, downbeat and key are known: drums, bass, chords and a lead from numpy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

RATE = 32_000
MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
PROGRESSIONS = ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 0, 4), (0, 5, 2, 6), (0, 0, 3, 4))

# Kick, snare and hat on a grid of sixteenths, one bar each.
DRUMS = {
    "4/4": (
        ("x.......x.x.....", "....x.......x...", "x.x.x.x.x.x.x.x."),
        ("x...x...x...x...", "....x.......x...", "..x...x...x...x."),
        ("x.........x.....", "....x..x.x..x..x", "xxx.xxx.xxx.xxxx"),
        ("x.....x.........", "........x.......", "x.xxx.x.x.xxx.x."),
        ("x..x..x...x.....", "....x.......x...", "xxxxxxxxxxxxxxxx"),
    ),
    "3/4": (
        ("x...........", "....x...x...", "x.x.x.x.x.x."),
        ("x.....x.....", "........x...", "x...x...x..."),
    ),
    "7/8": (
        ("x.......x.....", "....x.......x.", "x.x.x.x.x.x.x."),
        ("x.....x.......", "..........x...", "x.x.x.x.x.x.x."),
    ),
    "6/8": (
        ("x.........x.", "......x.....", "x.x.x.x.x.x."),
        ("x...........", "......x.....", "x.xxx.x.xxx."),
    ),
    "5/4": (
        ("x.........x.x.......", "....x...........x...", "x.x.x.x.x.x.x.x.x.x."),
        ("x.....x.....x.......", "........x.......x...", "x...x...x...x...x..."),
    ),
}
QUARTERS = {"4/4": 4.0, "3/4": 3.0, "7/8": 3.5, "6/8": 3.0, "5/4": 5.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """What was played, and what a perfect listener would say about it."""

    audio: NDArray[np.float32]
    """[1, n] at `RATE`."""
    bpm: float
    """Quarter notes a minute."""
    signature: str
    downbeats: NDArray[np.float64]
    """Seconds of each first beat of a bar inside the clip."""
    beats: NDArray[np.float64]
    """Seconds of each quarter note inside the clip (in n/8: of each eighth)."""
    key: str
    roles: tuple[str, ...]


def make_clip(
    seed: int,
    *,
    signature: str = "4/4",
    bpm: float = 120.0,
    roles: tuple[str, ...] = ("drums", "bass", "chords", "lead"),
    seconds: float = 16.0,
    start: float = 0.0,
    swing: float = 0.5,
    human: float = 0.0,
) -> Clip:
    """Return `seconds` of a band; the first downbeat that is heard lies `start` seconds in.

    A negative `start` begins in the middle of a bar. `swing` is the place of every second sixteenth inside its
    eighth (0.5 is straight), `human` the standard deviation of the players' timing in seconds.
    """
    rng = np.random.default_rng(seed)
    quarter = 60 / bpm
    bar = QUARTERS[signature] * quarter
    bars = int(np.ceil((seconds - min(start, 0.0)) / bar)) + 1
    lead_in = max(0.0, -start)
    out = np.zeros(int((bars * bar + lead_in + 4) * RATE))
    score = _Score(rng, signature, quarter, bars, swing, human)
    for role in roles:
        PLAYERS[role](score, out)
    head = round(lead_in * RATE)
    music = out[head : head + int(seconds * RATE)]
    silence = round(max(0.0, start) * RATE)
    audio = np.concatenate([np.zeros(silence), music])[: int(seconds * RATE)]
    audio = _room(audio, rng) * 0.5 / max(np.abs(audio).max(), 1e-9)
    audio += 10 ** (-60 / 20) * rng.standard_normal(len(audio))
    step = quarter / 2 if signature.endswith("/8") else quarter
    return Clip(
        audio=audio[None].astype(np.float32),
        bpm=bpm,
        signature=signature,
        downbeats=_inside(start + bar * np.arange(-1, bars), seconds),
        beats=_inside(start + step * np.arange(-1, round(bars * bar / step)), seconds),
        key=f"{NAMES[score.tonic]} {'major' if score.scale is MAJOR else 'minor'}",
        roles=roles,
    )


def random_clip(seed: int, signature: str | None = None, *, drums: bool | None = None, seconds: float = 16.0) -> Clip:
    """Return a clip as a model might make it: half begin on a downbeat, a quarter on a beat, the rest anywhere."""
    rng = np.random.default_rng([seed, 7])
    signature = signature or str(rng.choice(list(DRUMS), p=(0.5, 0.15, 0.12, 0.13, 0.1)))
    bpm = float(np.exp(rng.uniform(np.log(70), np.log(170))))
    pitched = [role for role in ("bass", "chords", "lead") if rng.random() < 0.7] or ["chords"]
    with_drums = rng.random() < 0.75 if drums is None else drums
    quarter = 60 / bpm
    bar = QUARTERS[signature] * quarter
    pulse = quarter / 2 if signature.endswith("/8") else quarter
    how = rng.random()
    if how < 0.5:
        start = rng.uniform(0, 0.3)
    elif how < 0.75:
        start = -pulse * rng.integers(1, round(bar / pulse)) + rng.uniform(0, 0.02)
    else:
        start = -rng.uniform(0, bar)
    return make_clip(
        seed,
        signature=signature,
        bpm=bpm,
        roles=(("drums",) if with_drums else ()) + tuple(pitched),
        seconds=seconds,
        start=start,
        swing=float(rng.choice([0.5, 0.5, 0.5, 0.58, 0.64])),
        human=float(rng.choice([0.0, 0.002, 0.005])),
    )


def make_drone(seed: int, seconds: float = 16.0) -> NDArray[np.float32]:
    """Return a pad that never strikes: a chord whose partials swell slowly, each at its own pace; [1, n]."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    audio = np.zeros(len(time))
    for pitch in 48 + np.array((0, 7, 12, 16, 19)) + rng.integers(12):
        for partial in range(1, 5):
            swell = 1 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.03, 0.11) * time + rng.uniform(0, 6))
            phase = 2 * np.pi * partial * _hertz(pitch) * (1 + rng.normal(0, 3e-4)) * time
            audio += swell * np.sin(phase + rng.uniform(0, 6)) / partial**1.5
    audio *= np.minimum(1, time / 1.5)
    return (0.4 * audio / np.abs(audio).max())[None].astype(np.float32)


def click_train(times: NDArray[np.float64], seconds: float, rate: int = RATE) -> NDArray[np.float32]:
    """Return short noise bursts that begin exactly (to the sample) at `times` seconds; [1, n]."""
    burst = np.random.default_rng(0).standard_normal(rate // 80) * np.exp(-np.arange(rate // 80) / (rate / 600))
    audio = np.zeros(int(seconds * rate) + len(burst))
    for time in times:
        place = round(time * rate)
        audio[place : place + len(burst)] += 0.3 * burst
    return audio[None, : int(seconds * rate)].astype(np.float32)


def attacks(audio: NDArray, times: NDArray, rate: int = RATE, reach: float = 0.02) -> NDArray:
    """Return by how many seconds the sound's rise near each of `times` comes late, for mono audio [n]."""
    late = []
    width = max(1, rate // 1500)
    for time in times:
        first = max(round((time - reach) * rate), 0)
        level = np.convolve(np.abs(audio[first : round((time + reach) * rate)]), np.ones(width) / width, "same")
        late.append((first + int(np.argmax(level > 0.3 * level.max()))) / rate - time)
    return np.array(late)


class _Score:
    """The harmony, and where each sixteenth of each bar falls."""

    def __init__(
        self, rng: np.random.Generator, signature: str, quarter: float, bars: int, swing: float, human: float
    ) -> None:
        self.rng, self.quarter, self.bars = rng, quarter, bars
        self.signature, self.swing, self.human = signature, swing, human
        self.steps = round(QUARTERS[signature] * 4)
        self.tonic = int(rng.integers(12))
        self.scale = MAJOR if rng.random() < 0.5 else MINOR
        self.progression = PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
        self.bars_each = 2 if rng.random() < 0.25 else 1

    def time(self, bar: int, step: float) -> float:
        """Seconds of a sixteenth, swung and played by a human."""
        late = (2 * self.swing - 1) if step % 2 == 1 else 0.0
        grid = (bar * self.steps + step + late) * self.quarter / 4
        return max(0.0, grid + self.rng.normal(0, 1) * self.human)

    def degree(self, bar: int) -> int:
        """The scale degree of the bar's chord."""
        return self.progression[bar // self.bars_each % len(self.progression)]

    def pitch(self, degree: int, octave: int) -> int:
        """The MIDI note of a scale degree, which may run over the octave."""
        return 12 * octave + self.tonic + self.scale[degree % 7] + 12 * (degree // 7)


def _play_drums(score: _Score, out: NDArray[np.float64]) -> None:
    rng = score.rng
    patterns = DRUMS[score.signature]
    kick, snare, hat = patterns[rng.integers(len(patterns))]
    sounds = (
        (kick, _kick(rng), 1.0),
        (snare, _noise(rng, 0.16, 900.0, 0.05) + _tone(rng.uniform(170, 220), 0.16, 0.04), 0.6),
        (hat, _noise(rng, 0.06, 6500.0, 0.015), 0.25),
    )
    for bar in range(score.bars):
        for pattern, sound, level in sounds:
            for step in range(score.steps):
                if pattern[step] == "x" and not (pattern is hat and rng.random() < 0.06):
                    accent = 1.0 if step % 4 == 0 else 0.75
                    _add(out, score.time(bar, step), sound * level * accent * rng.uniform(0.8, 1.0))


def _play_bass(score: _Score, out: NDArray[np.float64]) -> None:
    rng = score.rng
    rhythm = [0] + [step for step in range(2, score.steps, 2) if rng.random() < 0.45]
    for bar in range(score.bars):
        for index, step in enumerate(rhythm):
            degree = score.degree(bar) + (0 if index == 0 else int(rng.choice([0, 0, 4, 7])))
            end = rhythm[index + 1] if index + 1 < len(rhythm) else score.steps
            note = _note(score.pitch(degree, 2), 0.9 * (end - step) * score.quarter / 4, 8, 1.2, 0.004)
            _add(out, score.time(bar, step), 0.5 * note)


def _play_chords(score: _Score, out: NDArray[np.float64]) -> None:
    rng = score.rng
    style = str(rng.choice(["held", "stabs", "arpeggio", "strum"]))
    strum = [0] + [step for step in range(2, score.steps, 2) if rng.random() < 0.5]
    steps = {"held": [0], "stabs": list(range(2, score.steps, 4)), "strum": strum}.get(
        style, list(range(0, score.steps, 2))
    )
    attack = 0.03 if style == "held" else 0.006
    for bar in range(score.bars):
        triad = [score.degree(bar) + third for third in (0, 2, 4)]
        for index, step in enumerate(steps):
            end = steps[index + 1] if index + 1 < len(steps) else score.steps
            length = (end - step) * score.quarter / 4 * (0.5 if style == "stabs" else 0.98)
            voices = [triad[index % 3] + 7 * (index // 3 % 2)] if style == "arpeggio" else triad
            for voice in voices:
                _add(out, score.time(bar, step), 0.2 * _note(score.pitch(voice, 4), length, 6, 1.5, attack))


def _play_lead(score: _Score, out: NDArray[np.float64]) -> None:
    rng = score.rng
    motif = [(step, int(rng.integers(0, 8))) for step in range(0, score.steps, 2) if rng.random() < 0.55]
    for bar in range(score.bars):
        for step, degree in motif:
            moved = degree + (int(rng.integers(-1, 2)) if rng.random() < 0.3 else 0)
            length = score.quarter * float(rng.choice([0.4, 0.8]))
            _add(out, score.time(bar, step), 0.25 * _note(score.pitch(moved, 5), length, 5, 1.0, 0.008))


PLAYERS = {"drums": _play_drums, "bass": _play_bass, "chords": _play_chords, "lead": _play_lead}


def _hertz(pitch: float) -> float:
    return 440.0 * 2 ** ((pitch - 69) / 12)


@lru_cache(maxsize=256)
def _note(pitch: int, length: float, partials: int, slope: float, attack: float) -> NDArray[np.float64]:
    time = np.arange(int((length + 0.05) * RATE)) / RATE
    frequency = _hertz(pitch)
    wave = np.zeros(len(time))
    for partial in range(1, partials + 1):
        if partial * frequency < RATE / 2.2:
            wave += np.sin(2 * np.pi * partial * frequency * time) / partial**slope
    envelope = np.minimum(1, time / attack) * np.exp(-time / 0.8) * np.clip((length + 0.05 - time) / 0.05, 0, 1)
    return wave * envelope


def _kick(rng: np.random.Generator) -> NDArray[np.float64]:
    time = np.arange(int(0.25 * RATE)) / RATE
    low, fall = rng.uniform(42, 60), rng.uniform(0.02, 0.04)
    phase = 2 * np.pi * (low * time + 120 * fall * (1 - np.exp(-time / fall)))
    return np.sin(phase) * np.exp(-time / 0.09) + 0.3 * np.exp(-time / 0.002) * rng.standard_normal(len(time))


def _noise(rng: np.random.Generator, length: float, cutoff: float, decay: float) -> NDArray[np.float64]:
    time = np.arange(int(length * RATE)) / RATE
    sos = butter(2, cutoff, "highpass", fs=RATE, output="sos")
    return sosfilt(sos, rng.standard_normal(len(time))) * np.exp(-time / decay)


def _tone(frequency: float, length: float, decay: float) -> NDArray[np.float64]:
    time = np.arange(int(length * RATE)) / RATE
    return np.sin(2 * np.pi * frequency * time) * np.exp(-time / decay)


def _room(audio: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """A short reverb, 12 dB under the direct sound."""
    time = np.arange(int(0.4 * RATE)) / RATE
    tail = rng.standard_normal(len(time)) * np.exp(-time / 0.1)
    tail *= 10 ** (-12 / 20) / np.sqrt((tail**2).sum())
    size = len(audio) + len(tail)
    return audio + np.fft.irfft(np.fft.rfft(audio, size) * np.fft.rfft(tail, size), size)[: len(audio)]


def _add(out: NDArray[np.float64], time: float, sound: NDArray[np.float64]) -> None:
    place = round(time * RATE)
    sound = sound[: max(0, len(out) - place)]
    out[place : place + len(sound)] += sound


def _inside(times: NDArray[np.float64], seconds: float) -> NDArray[np.float64]:
    return times[(times >= -0.005) & (times < seconds)]
