"""Held-out pieces for the evaluation: their prompts, plain and in users' words, and their real renders."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from training.prompts import NOTE_NAMES, PLAIN_GENRES, PLAIN_SOUNDS, USERS_GENRES
from training.scores import SAMPLE_RATE, tempo_of

CLIP_SECONDS = 10

Samples = npt.NDArray[np.float32]
Label = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One held-out piece: its prompts, the tempo and key in them, and the real render."""

    plain: str
    users: str
    bpm: int
    tonic: int
    minor: bool
    genre: str
    roles: tuple[str, ...]
    chroma: npt.NDArray[np.uint8]
    real: Samples


def describe(label: Label, rng: np.random.Generator) -> tuple[str, str, int]:
    """Return a plain prompt, one in users' words, and the whole tempo that both name."""
    bpm = round(tempo_of(int(label["bar_frames"])))
    key = f"{NOTE_NAMES[label['tonic']]} {'minor' if label['minor'] else 'major'}"
    roles = [str(role) for role in label["roles"]]
    sounds = ["drums" if role == "drums" else PLAIN_SOUNDS[label[role]] for role in roles]
    genre = str(label["genre"])
    plain_genre = PLAIN_GENRES[genre]
    alone = {"drums": "drum loop", "bass": "bassline", "chords": f"{sounds[0]} chords", "lead": f"solo {sounds[0]}"}
    plain = f"{plain_genre} {alone[roles[0]]}" if len(roles) == 1 else f"{plain_genre}, {', '.join(sounds)}"
    only = {"drums": "just drums", "bass": "bass only", "chords": "just chords", "lead": "melody only"}
    what = only[roles[0]] if len(roles) == 1 else "with " + " and ".join(sounds)
    users = [f"{USERS_GENRES[genre]} track {what}", f"something {USERS_GENRES[genre]}, {what}"][rng.integers(2)]
    tempo = [f"at {bpm}", f"{bpm}bpm", f"tempo {bpm}", f"around {bpm} BPM"][rng.integers(4)]
    if roles == ["drums"]:
        return f"{plain}, {bpm} bpm", f"{users} {tempo}", bpm
    return f"{plain}, {bpm} bpm, in {key}", f"{users} {tempo}, key of {key.replace(' minor', 'm')}", bpm


def held_out(paths: Sequence[Path], count: int, needs: Callable[[Label], bool], apart: bool) -> list[Wanted]:
    """Return the first `count` rendered clips that fit; with `apart`, one of a piece."""
    found: list[Wanted] = []
    rng = np.random.default_rng(1)
    pieces: set[str] = set()
    for path in paths:
        with np.load(path) as shard:
            labels, audio, chroma = json.loads(str(shard["labels"])), shard["audio"], shard["chroma"]
        for i in rng.permutation(len(labels)):
            label = labels[i]
            piece = str({k: v for k, v in label.items() if k not in ("roles", "texts")})
            if len(found) < count and needs(label) and not (apart and piece in pieces):
                pieces.add(piece)
                plain, users, bpm = describe(label, rng)
                real = audio[i, : CLIP_SECONDS * SAMPLE_RATE].astype(np.float32) / 32768
                key = (label["tonic"], label["minor"], label["genre"])
                found.append(Wanted(plain, users, bpm, *key, tuple(label["roles"]), chroma[i], real))
    return found
