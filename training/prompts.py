"""Captions for pieces, and a tokenizer that folds users' words, tempos and keys into a small closed vocabulary."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from training.scores import BAR_FRAMES, TEMPOS, Piece, tempo_of

SPECIAL = ("<pad>", "</s>", "<unk>")
FILLER = "_"
PHASES = 16
"""A tempo becomes this many words, one for each phase of its bar, so that attention can point at the present one."""
WORDS = 12 + PHASES
"""Every prompt but the empty one becomes this many words and </s>: the text never moves the audio's positions."""
NOTE_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
SPELLINGS = {
    0: ("c",), 1: ("c#", "db"), 2: ("d",), 3: ("d#", "eb"), 4: ("e",), 5: ("f",),
    6: ("f#", "gb"), 7: ("g",), 8: ("g#", "ab"), 9: ("a",), 10: ("a#", "bb"), 11: ("b", "cb"),
}  # fmt: skip

_TABLES = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
SYNONYMS: dict[str, list[str]] = _TABLES["synonyms"]
PROGRAM_WORDS = {int(program): str(words[0]) for program, words in _TABLES["programs"].items()}
PLAIN_SOUNDS = {int(program): str(words[1]) for program, words in _TABLES["programs"].items()}
KIT_WORDS = {int(program): str(word) for program, word in _TABLES["kits"].items()}
PLAIN_GENRES = {str(genre): str(words[0]) for genre, words in _TABLES["genres"].items()}
USERS_GENRES = {str(genre): str(words[1]) for genre, words in _TABLES["genres"].items()}


def key_word(tonic: int, minor: bool) -> str:
    """Return the one word of a key."""
    return f"key{tonic}{'min' if minor else 'maj'}"


def bar_words(bar_frames: int) -> str:
    """Return the words of a tempo, one a phase, named by the bar's length in frames."""
    return " ".join(f"bar{bar_frames}p{phase}" for phase in range(PHASES))


def nearest_bar(bpm: int) -> int:
    """Return the bar length, in frames, of a whole tempo, octave-folded into `TEMPOS`."""
    while bpm < TEMPOS.start:
        bpm *= 2
    while bpm >= TEMPOS.stop:
        bpm //= 2
    return round(4 * 60 * 50 / bpm)


def _spelling(name: str) -> str:
    """One note name as people write it: f#, f sharp, f-sharp, f♯ (folded before)."""
    accidental = {"#": r"(?:#|[ -]?sharp)", "b": r"(?:b|[ -]flat)"}
    return name[0] + (accidental[name[1]] if len(name) > 1 else "")


def _key_rules() -> list[tuple[str, str]]:
    """Full names first, then bare ones: "in g" is major, as musicians mean it."""
    end = r"(?![\w#'])"
    named: list[tuple[str, str]] = []
    bare: list[tuple[str, str]] = []
    for tonic, names in SPELLINGS.items():
        spelled = "|".join(_spelling(name) for name in names)
        not_an_article = r"(?!\s+key)" if tonic == 9 else ""
        lead = rf"(?<![\w#'])(?:in )?(?:the )?(?:key )?(?:of )?(?:{spelled})"
        named.append(
            (lead + rf"[ -]?(?:minor|min|m|aeolian|dorian|phrygian){end}{not_an_article}", key_word(tonic, True))
        )
        named.append(
            (lead + rf"[ -]?(?:major|maj|ionian|lydian|mixolydian){end}{not_an_article}", key_word(tonic, False))
        )
        stop = r"(?=\s*(?:[,.;]|$|at |@|\d))"
        bare.append((rf"(?<!\w)(?:in|key of|key|in the key of)\s+(?:{spelled}){stop}", key_word(tonic, False)))
    return named + bare


def _tempo_rules() -> list[tuple[str, str]]:
    """Whole numbers and decimals rounded to them; outside `TEMPOS` only with the unit, an octave away."""
    unit = r"\s*-?\s*(?:bpm|beats per minute)(?!\w)"
    notes = r"(?![\w%/:#]|['’]s|\.\d|\s*-?\s*(?:bars?|beats?|hz|khz|seconds?|secs?|s|ms|bits?|steps?)(?!\w))"
    numbers: dict[int, list[int]] = {}
    for bpm in range(30, 300):
        numbers.setdefault(nearest_bar(bpm), []).append(bpm)

    def spelled(tempos: list[int]) -> str:
        return "|".join(rf"{t}(?:[.,][0-4]\d*)?|{t - 1}[.,][5-9]\d*" for t in tempos)

    rules = []
    for bar, tempos in numbers.items():
        rules.append((rf"(?<![\w#])(?<!\d[.,])(?:{spelled(tempos)}){unit}", bar_words(bar)))
        plain = spelled([t for t in tempos if t in TEMPOS])
        rules.append((rf"(?<![\w#/])(?<!\d[.,:])(?:{plain}){notes}", bar_words(bar)))
    return rules


def vocabulary() -> list[str]:
    """Return every word, its index its id."""
    keys = [key_word(tonic, minor) for tonic in range(12) for minor in (True, False)]
    return [*SPECIAL, FILLER, *(word for n in BAR_FRAMES for word in bar_words(n).split()), *keys, *SYNONYMS]


def build_tokenizer() -> Tokenizer:
    """Return the tokenizer; its normalizer alone turns any prompt into `WORDS` known words, whoever loads it."""
    words = vocabulary()
    phrases = sorted(((p, w) for w, ps in SYNONYMS.items() for p in ps), key=lambda pair: -len(pair[0]))
    known = "|".join([r"bar\d+p\d+", *(re.escape(word) for word in words[3:] if not word.startswith("bar"))])
    rules = [("♯", "#"), ("♭", "b"), ("[’`]", "'"), (r"[_]+", " "), (r"\s+", " ")]
    rules += [(pattern, f" {word} ") for pattern, word in _key_rules() + _tempo_rules()]
    rules += [(rf"(?<![\w&']){re.escape(p)}(?:e?s)?(?![\w&])", f" {w} ") for p, w in phrases]
    rules += [(r"[^\w\s]+", " "), (rf"(?<!\S)(?!(?:{known})(?!\S))\S+", " "), (r"$", f" {FILLER}" * WORDS)]
    rules += [(r"\s+", " "), (r"^ ", ""), (rf"^(?:\S+ ){{{WORDS - 1}}}\S+\K.*$", "")]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), *(normalizers.Replace(Regex(p), w) for p, w in rules)]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def caption(piece: Piece, roles: tuple[str, ...], rng: np.random.Generator) -> str:
    """Return a prompt in the tokenizer's words: tempo and key nearly always, the rest often, in any order.

    One instrument named means that one alone; a mix names two or more, or none.
    """
    words = [piece.genre] if rng.random() < 0.92 else []
    sound = {
        "drums": KIT_WORDS[piece.kit] if rng.random() < 0.5 else "drums",
        "bass": PROGRAM_WORDS[piece.bass] if rng.random() < 0.6 else "bass",
        "chords": PROGRAM_WORDS[piece.chords] if rng.random() < 0.7 else "chords",
        "lead": PROGRAM_WORDS[piece.lead] if rng.random() < 0.7 else "lead",
    }
    named = [sound[role] for role in roles]
    if len(roles) == 1:
        if rng.random() < 0.85:
            words.append(f"{roles[0]}only")
            named = named if rng.random() < 0.6 else []
    elif rng.random() < 0.35:
        named = []
    elif len(named) > 2 and rng.random() < 0.4:
        named = [str(word) for word in rng.permutation(named)[:2]]
    words += dict.fromkeys(named)
    if "drums" not in roles and rng.random() < 0.3:
        words.append("nodrums")
    if rng.random() < 0.25:
        words.append(
            ("energetic" if piece.busy else "calm") if "drums" in roles else ("dark" if piece.minor else "happy")
        )
    if rng.random() < 0.95:
        words.append(f"{tempo_of(piece.bar_frames):.0f} bpm")
    if (roles != ("drums",) and rng.random() < 0.95) or rng.random() < 0.3:
        words.append(key_word(piece.tonic, piece.minor))
    return ", ".join(str(word) for word in rng.permutation(words)) if words else " "
