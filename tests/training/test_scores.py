"""A piece must repeat exactly on the codec's frame grid, and its labels must be true."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training.measures import detect_tempo
from training.render import CLIP_FRAMES, MIXTURE, chroma_classes, draw_mixes, mix, render_stems
from training.scores import FRAME, LOOP_BARS, ROLES, SAMPLE_RATE, STEPS, compose, draw_piece, tempo_of


class Sines:
    """A synthesizer of decaying sines, with the soundfont player's interface."""

    def play(self, notes, program, drums, step, samples):
        out = np.zeros(samples, np.float32)
        t = np.arange(SAMPLE_RATE // 4) / SAMPLE_RATE
        for start, _, pitch, velocity in notes:
            tone = velocity / 127 * np.exp(-12 * t) * np.sin(2 * math.pi * 440 * 2 ** ((pitch - 69) / 12) * t)
            part = out[int(start * step) :][: len(t)]
            part += tone[: len(part)].astype(np.float32)
        return out


def test_pieces_stay_in_key_and_in_their_bars():
    rng = np.random.default_rng(0)
    for _ in range(100):
        piece = draw_piece(rng)
        notes = compose(piece, rng, lead_bars=7)
        assert set(notes) == set(ROLES)
        assert piece.bar_frames * FRAME == STEPS * piece.step_samples
        for role, bars in (*((role, LOOP_BARS) for role in ROLES[:3]), ("lead", 7)):
            assert all(0 <= start < bars * STEPS for start, *_ in notes[role])
        for _, _, pitch, _ in notes["lead"]:
            assert (pitch - piece.tonic) % 12 in piece.scale


def test_a_bass_line_alone_tells_major_from_minor():
    rng = np.random.default_rng(5)
    for _ in range(100):
        piece = draw_piece(rng)
        classes = {(pitch - piece.tonic) % 12 for _, _, pitch, _ in compose(piece, rng)["bass"]}
        assert classes <= set(piece.scale)
        assert (3 if piece.minor else 4) in classes


def test_a_chord_stands_on_its_root_and_an_arpeggio_has_all_of_it():
    rng = np.random.default_rng(6)
    for _ in range(100):
        piece = draw_piece(rng)
        notes = [note for note in compose(piece, rng)["chords"] if note[0] < STEPS]
        assert min(pitch for _, _, pitch, _ in notes) % 12 == piece.tonic
        if piece.genre != "rock":  # power chords have no third
            assert {(pitch - piece.tonic) % 12 for _, _, pitch, _ in notes} >= {0, 3 if piece.minor else 4, 7}


def test_a_render_repeats_to_the_sample_and_keeps_its_tempo():
    rng = np.random.default_rng(4)
    piece = draw_piece(rng)
    while not 0 < piece.bar_frames <= CLIP_FRAMES // 10:
        piece = draw_piece(rng)
    stems = render_stems(Sines(), piece, {"drums", "bass"}, rng)
    loop = LOOP_BARS * piece.bar_frames * FRAME
    for stem in stems.values():
        again = stem[2 * loop : 3 * loop]
        np.testing.assert_array_equal(stem[loop : loop + len(again)], again)
    clip = mix(stems, ("drums", "bass")).astype(np.float32) / 32768
    assert len(clip) == CLIP_FRAMES * FRAME
    ratio = detect_tempo(clip[: 12 * SAMPLE_RATE]) / tempo_of(piece.bar_frames)
    assert min(abs(ratio / octave - 1) for octave in (0.5, 1, 2)) < 0.02


def test_chroma_is_the_engines():
    from musicgen_bridge.engine.chroma import melody_chroma

    rng = np.random.default_rng(1)
    t = np.arange(6 * SAMPLE_RATE) / SAMPLE_RATE
    x = sum(np.sin(2 * math.pi * f * t) * (t > at) for f, at in ((261.6, 0), (392.0, 2), (466.2, 4)))
    x = (x + 0.01 * rng.normal(size=len(t))).astype(np.float32)
    theirs = melody_chroma(x[None], SAMPLE_RATE).argmax(1).numpy()
    np.testing.assert_array_equal(chroma_classes(x), theirs)


@pytest.mark.parametrize("drums_first", [False, True])
def test_the_first_shards_favour_drums_alone(drums_first):
    rng = np.random.default_rng(2)
    drawn = [roles for _ in range(400) for roles in draw_mixes(rng, drums_first)]
    share = sum(roles == ("drums",) for roles in drawn) / len(drawn)
    assert sum(MIXTURE.values()) == pytest.approx(1)
    assert (share > 0.45) == drums_first
