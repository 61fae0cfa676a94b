"""Composes seeded four-bar pieces whose bar is a whole number of codec frames, labelled with tempo, key and roles."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SAMPLE_RATE = 32_000
FRAME = 640
"""Samples in one codec frame: 50 frames a second."""
STEPS = 16
"""Sixteenth notes in a bar; one lasts `bar_frames * FRAME / STEPS` samples, a whole number for every bar below."""
LOOP_BARS = 4
ROLES = ("drums", "bass", "chords", "lead")
TEMPOS = range(60, 183)
"""In quarter notes a minute; others are these an octave away."""
BAR_FRAMES = tuple(sorted({round(4 * 60 * 50 / bpm) for bpm in TEMPOS}))
"""Lengths of a 4/4 bar in frames, each tempo's rounded by less than 0.8 %: a piece repeats on the frame grid."""

MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
MAJOR_PROGRESSIONS = ((0, 4, 0, 3), (0, 3, 0, 4), (0, 0, 3, 4), (0, 3, 4, 0), (0, 5, 0, 4), (0, 4, 5, 0))
MINOR_PROGRESSIONS = ((0, 5, 0, 6), (0, 3, 0, 4), (0, 0, 5, 6), (0, 6, 5, 0), (0, 0, 3, 4), (0, 5, 6, 0))
"""Scale degrees of four bars: every piece begins and dwells on its tonic, so that its key can be heard."""
DRUM_KEYS = {"K": 36, "S": 38, "C": 39, "R": 37, "H": 42, "O": 46, "D": 51, "M": 70}
VELOCITY = {"x": 92, "X": 112, "o": 58}

Note = tuple[float, float, int, int]
"""Start and length in sixteenth notes, MIDI pitch, velocity."""


def tempo_of(bar_frames: int) -> float:
    """Return the tempo in quarter notes a minute at which a 4/4 bar lasts `bar_frames` frames of 20 ms."""
    return 4 * 60 * 50 / bar_frames


@dataclass(frozen=True, slots=True)
class Genre:
    """What a genre may use, as genres.toml says: tempos in bpm, drum rows, styles and General MIDI programs."""

    tempo: list[int]
    minor: float
    kick: list[str]
    backbeat: list[list[str]]
    hats: list[list[str]]
    kits: list[int]
    bass_styles: list[str]
    basses: list[int]
    chord_styles: list[str]
    chords: list[int]
    leads: list[int]
    room: float
    sevenths: bool = False


def _read_genres(path: Path) -> dict[str, Genre]:
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: Genre(**table) for name, table in tables.items()}


GENRES = _read_genres(Path(__file__).with_name("genres.toml"))


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece: everything that a prompt may name. `kit`, `bass`, `chords`, `lead` are General MIDI programs."""

    genre: str
    bar_frames: int
    tonic: int
    minor: bool
    busy: bool
    kit: int
    bass: int
    chords: int
    lead: int

    @property
    def step_samples(self) -> int:
        """Samples in a sixteenth note."""
        return self.bar_frames * FRAME // STEPS

    @property
    def scale(self) -> tuple[int, ...]:
        """The seven pitch classes above the tonic."""
        return MINOR if self.minor else MAJOR


def draw_piece(rng: np.random.Generator) -> Piece:
    """Draw genre, tempo, key and instruments; half of the tempos come from the genre's own range."""
    name = str(rng.choice(list(GENRES)))
    genre = GENRES[name]
    low, high = genre.tempo
    bars = [n for n in BAR_FRAMES if low <= tempo_of(n) <= high] if rng.random() < 0.5 else BAR_FRAMES
    return Piece(
        genre=name,
        bar_frames=int(rng.choice(bars)),
        tonic=int(rng.integers(12)),
        minor=bool(rng.random() < genre.minor),
        busy=bool(rng.random() < 0.5),
        kit=int(rng.choice(genre.kits)),
        bass=int(rng.choice(genre.basses)),
        chords=int(rng.choice(genre.chords)),
        lead=int(rng.choice(genre.leads)),
    )


def compose(piece: Piece, rng: np.random.Generator, lead_bars: int = LOOP_BARS) -> dict[str, list[Note]]:
    """Return each role's notes: four bars that repeat, and `lead_bars` bars of lead."""
    progression = (MINOR_PROGRESSIONS if piece.minor else MAJOR_PROGRESSIONS)[rng.integers(6)]
    chords = [_chord(piece, degree) for degree in progression]
    return {
        "drums": _drums(piece, rng),
        "bass": _bass(piece, chords, rng),
        "chords": _comping(piece, chords, rng),
        "lead": _lead(piece, chords, lead_bars, rng),
    }


def _chord(piece: Piece, degree: int) -> list[int]:
    thirds = (0, 2, 4, 6) if GENRES[piece.genre].sevenths else (0, 2, 4)
    return [piece.scale[(degree + third) % 7] + 12 * ((degree + third) // 7) for third in thirds]


def _drums(piece: Piece, rng: np.random.Generator) -> list[Note]:
    genre = GENRES[piece.genre]
    hat_keys, hat_rows = genre.hats[-1 if piece.busy else 0]
    rows = [("K", str(rng.choice(genre.kick))), tuple(genre.backbeat[rng.integers(len(genre.backbeat))])]
    rows += [(key, hat_rows[STEPS * i : STEPS * (i + 1)]) for i, key in enumerate(hat_keys)]
    fill = rng.random() < 0.25
    notes: list[Note] = []
    for bar in range(LOOP_BARS):
        filled = fill and bar == LOOP_BARS - 1
        for key, row in rows:
            for step, mark in enumerate(row):
                if mark in VELOCITY and not (filled and step >= 12 and key in "KSC"):
                    notes.append((bar * STEPS + step, 0.8, DRUM_KEYS[key], VELOCITY[mark]))
        if filled:
            toms = sorted((int(p) for p in rng.choice((38, 45, 47, 50), 4)), reverse=True)
            notes += [(bar * STEPS + 12 + i, 0.8, pitch, 96) for i, pitch in enumerate(toms)]
    return notes


BASS_LINES: dict[str, tuple[tuple[float, float, int], ...]] = {
    "off": ((2, 1.8, 1), (6, 1.8, 1), (10, 1.8, 1), (14, 1.8, 3)),
    "octaves": tuple((2 * i, 1.6, degree) for i, degree in enumerate((1, 8, 1, 8, 1, 8, 3, 5))),
    "roll": tuple((i, 0.8, 3 if i > 13 else 1) for i in range(16) if i % 4),
    "eighths": tuple((2 * i, 1.8, degree) for i, degree in enumerate((1, 1, 1, 1, 1, 1, 3, 5))),
    "long": ((0, 9.5, 1), (10, 3.5, 1), (14, 1.8, 3)),
    "sync": ((0, 2.8, 1), (3, 2.8, 1), (6, 1.8, 1), (10, 3.5, 3), (14, 1.8, 5)),
    "funk": ((0, 1.6, 1), (3, 0.8, 1), (6, 0.8, 8), (10, 1.6, 5), (13, 0.8, 7), (14, 1.2, 3)),
}
"""Bars of bass: start and length in sixteenth notes, degree of the chord; the thirds tell major from minor."""


def _bass(piece: Piece, chords: list[list[int]], rng: np.random.Generator) -> list[Note]:
    line = BASS_LINES[str(rng.choice(GENRES[piece.genre].bass_styles))]
    low = 28  # E1, the lowest string of a bass
    notes: list[Note] = []
    for bar, chord in enumerate(chords):
        root = low + (piece.tonic + chord[0] - low) % 12
        up = dict(zip((1, 3, 5, 7), (tone - chord[0] for tone in chord), strict=False)) | {8: 12}
        notes += [(bar * STEPS + start, length, root + up[degree], 100) for start, length, degree in line]
    return notes


def _voicings(piece: Piece, chords: list[list[int]]) -> list[list[int]]:
    """The root between G2 and F#3; above it close position between G3 and F#4, so that neighbours move little."""
    roots = [43 + (piece.tonic + chord[0] - 43) % 12 for chord in chords]
    close = [sorted(55 + (piece.tonic + tone - 55) % 12 for tone in chord) for chord in chords]
    return [[root, *tones] for root, tones in zip(roots, close, strict=True)]


COMPS: dict[str, tuple[tuple[float, float], ...]] = {
    "pad": ((0, 15.8),),
    "block": ((0, 9.5), (10, 5.5)),
    "offbeat": tuple((4 * i + 2, 1.5) for i in range(4)),
    "stab": ((0, 1.2), (3, 1.2), (6, 1.2), (10, 1.2)),
    "eighths": tuple((2 * i, 1.7) for i in range(8)),
    "power": tuple((2 * i, 1.8) for i in range(8)),
}
"""Bars of chords: start and length in sixteenth notes."""


def _comping(piece: Piece, chords: list[list[int]], rng: np.random.Generator) -> list[Note]:
    style = str(rng.choice(GENRES[piece.genre].chord_styles))
    notes: list[Note] = []
    for bar, voicing in enumerate(_voicings(piece, chords)):
        if style == "arp":
            notes += [(bar * STEPS + i, 1.0, voicing[(0, 1, 2, 3, 2, 1, 2, 3)[i % 8]], 84) for i in range(STEPS)]
            continue
        if style == "power":
            root = 40 + (piece.tonic + chords[bar][0] - 40) % 12
            voicing = [root, root + 7, root + 12]
        for start, length in COMPS[style]:
            notes += [(bar * STEPS + start, length, pitch, 84) for pitch in voicing]
    return notes


LEAD_RHYTHMS = (
    (4, 4, 4, 4), (6, 2, 4, 4), (2, 2, 4, 2, 2, 4), (8, 4, 4), (6, 6, 4), (4, 2, 2, 8), (12, 4), (3, 3, 2, 4, 4),
    (8, 8),
)  # fmt: skip


def _lead(piece: Piece, chords: list[list[int]], bars: int, rng: np.random.Generator) -> list[Note]:
    """Two motifs of two bars over the chords: strong beats take a chord tone, tonic bars begin with the tonic."""
    pitches = [p for p in range(64, 85) if (p - piece.tonic) % 12 in piece.scale]
    motifs = [[LEAD_RHYTHMS[rng.integers(len(LEAD_RHYTHMS))] for _ in range(2)] for _ in range(2)]
    contour = rng.choice((-2, -1, -1, 0, 1, 1, 2), 64)
    notes: list[Note] = []
    place = len(pitches) // 2
    for bar in range(bars):
        tones = {(piece.tonic + tone) % 12 for tone in chords[bar % LOOP_BARS]}
        step = 0
        for i, length in enumerate(motifs[bar // 2 % 2][bar % 2]):
            home = step == 0 and chords[bar % LOOP_BARS][0] == 0
            if step % 8 == 0:
                wanted = {piece.tonic} if home else tones
                place = min((j for j, p in enumerate(pitches) if p % 12 in wanted), key=lambda j: abs(j - place))
            if i == 0 or rng.random() > 0.06:
                notes.append((bar * STEPS + step, length * 0.92, pitches[place], 104))
            step += length
            move = rng.choice(contour) if bars > LOOP_BARS else contour[(bar % 2) * 9 + i]
            place = int(np.clip(place + move, 0, len(pitches) - 1))
    return notes
