"""Users' words must reach the words that the model was trained on, whoever loads the tokenizer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.prompts import FILLER, NOTE_NAMES, PHASES, SYNONYMS, WORDS, caption, nearest_bar, vocabulary
from training.scores import BAR_FRAMES, ROLES, TEMPOS, draw_piece, tempo_of


def heard(tokenizer, prompt: str) -> list[str]:
    """The words of a prompt without fillers, a tempo's sixteen shown as one."""
    words = [word for word in tokenizer.encode(prompt).tokens[:-1] if word != FILLER]
    return [word.removesuffix("p0") for word in words if not word.startswith("bar") or word.endswith("p0")]


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("85 bpm", "bar141"),
        ("at 124", "bar97"),
        ("124.00 BPM", "bar97"),
        ("tempo:97.5", "bar122"),
        ("45 bpm", "bar133"),
        ("in F minor", "key5min"),
        ("F# minor", "key6min"),
        ("F♯m", "key6min"),
        ("key of G flat minor", "key6min"),
        ("B flat Major", "key10maj"),
        ("rock in G at 140", "rock key7maj bar86"),
        ("Lofi hip hop, rhodes and upright bass, 85 BPM, in F# minor", "lofi epiano uprightbass bar141 key6min"),
        ("drum and bass, drums only, 174bpm", "dnb drumsonly bar69"),
        ("80s synth at 100", "synthwave synthlead bar120"),
        ("funky bassline in Eb major, 99.6 bpm", "funk bassonly key3maj bar120"),
        ("16 bars of trap in 4/4, 60 seconds", "trap"),
        ("a dark mood in a minor key", "dark dark"),
        ("something entirely unknown", ""),
    ],
)
def test_prompts_as_users_write_them(tokenizer, prompt, words):
    assert heard(tokenizer, prompt) == words.split()


@pytest.mark.parametrize("bpm", TEMPOS)
def test_every_tempo_reaches_a_bar_less_than_a_hundredth_off(tokenizer, bpm):
    (word,) = heard(tokenizer, f"{bpm} bpm")
    assert tempo_of(int(word.removeprefix("bar"))) == pytest.approx(bpm, rel=0.01)
    assert heard(tokenizer, f"at {bpm}") == [word]


@pytest.mark.parametrize("tonic", range(12))
def test_every_key_is_one_word_in_both_modes(tokenizer, tonic):
    for mode in ("minor", "major"):
        assert heard(tokenizer, f"in {NOTE_NAMES[tonic]} {mode}") == [f"key{tonic}{mode[:3]}"]


def test_every_phrase_means_its_word(tokenizer):
    wrong = {
        p: heard(tokenizer, p) for word, phrases in SYNONYMS.items() for p in phrases if heard(tokenizer, p) != [word]
    }
    assert not wrong


@given(st.text(min_size=1, max_size=300))
def test_no_prompt_moves_the_audio(tokenizer, text):
    special = ("<pad>", "</s>", "<unk>")
    if not any(word in text.lower() for word in special) and any(c.isprintable() for c in text):
        assert len(tokenizer.encode(text).ids) in (1, WORDS + 1)


def test_captions_are_read_as_they_were_meant(tokenizer):
    rng = np.random.default_rng(5)
    known = set(vocabulary())
    for _ in range(300):
        piece = draw_piece(rng)
        roles = ROLES[: rng.integers(1, 5)]
        text = caption(piece, roles, rng)
        named = [
            f"bar{piece.bar_frames}" if word.endswith(" bpm") else word for word in text.split(", ") if word.strip()
        ]
        assert heard(tokenizer, text) == named
        assert {word for word in named if not word.startswith("bar")} <= known


def test_bars_lie_on_the_frame_grid():
    assert {nearest_bar(bpm) for bpm in TEMPOS} == set(BAR_FRAMES)
    assert len(vocabulary()) == len(set(vocabulary()))
    assert sum(word.startswith(f"bar{BAR_FRAMES[0]}p") for word in vocabulary()) == PHASES
