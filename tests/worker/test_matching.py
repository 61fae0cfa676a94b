"""From several takes to the stems of a job: the best candidate, parts that share a grid, and the mix."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from musicgen_bridge.asking.build_request import make_request, wire_values
from musicgen_bridge.errors import ArgumentError, CancelledError
from musicgen_bridge.request import RenderRequest, Session
from musicgen_bridge.worker.matching import matched_of, mixdowns
from musicgen_bridge.worker.takes import Made, Result, takes_of
from tests.worker.test_worker import band

RATE = 32_000


def asked(**values: object) -> RenderRequest:
    keys = {"prompt": "funk", "bars": 2.0, "seed": 40, **values}
    return make_request(keys, Session(project="/song", bpm=120.0), {})  # type: ignore[arg-type]


def made(request: RenderRequest, *audio: np.ndarray, **more: object) -> Made:
    facts = {"fingerprint": "f", "device": "cpu", "dtype": "torch.float32", **more}
    takes = [one.T.astype(np.float32) for one in audio]
    return Made(audio=takes, sample_rate=RATE, parts=request.candidates, **facts)  # type: ignore[arg-type]


def stems_of(request: RenderRequest, made: Made) -> list[Result]:
    return matched_of(request, made, lambda done, total: None)


@pytest.fixture(scope="module")
def bands() -> dict[float, np.ndarray]:
    """Three bars at the tempo asked for and at two others."""
    return {bpm: band(bpm, 3.5, RATE) for bpm in (120, 104, 140)}


def test_of_the_candidates_the_one_nearest_to_the_tempo_is_kept_and_all_are_told(bands) -> None:
    request = asked(best_of=3)
    (kept,) = stems_of(request, made(request, bands[104], bands[120], bands[140]))
    (take,) = takes_of(request, 1, [kept], made(request, bands[104]))
    assert (kept.row, take.seed, take.variation, take.total) == (1, 41, 0, 1)
    told = kept.report["candidates"]
    assert [one["seed"] for one in told] == [40, 41, 42]
    assert max(told, key=lambda one: one["total"])["seed"] == 41
    assert told[0].keys() == {"seed", "total", "tempo", "downbeat", "key", "melody"}
    assert told[0]["key"] is told[0]["melody"] is None
    assert kept.report["rate"] == pytest.approx(1, abs=1e-3)
    assert kept.raw is not None and np.array_equal(kept.raw[0], bands[120].astype(np.float32))


def test_every_row_has_its_own_candidates(bands) -> None:
    request = asked(best_of=2, variations=2)
    audio = (bands[104], bands[120], bands[120], bands[140])
    kept = stems_of(request, made(request, *audio))
    takes = takes_of(request, 1, kept, made(request, *audio))
    assert [(one.row, take.seed, take.variation) for one, take in zip(kept, takes, strict=True)] == [
        (1, 41, 0),
        (2, 42, 1),
    ]
    assert [[c["seed"] for c in one.report["candidates"]] for one in kept] == [[40, 41], [42, 43]]


def test_a_melody_counts() -> None:
    request = replace(asked(best_of=2), match=False)
    times = np.arange(2 * RATE) / RATE
    tones = {hertz: np.sin(2 * np.pi * hertz * times)[:, None] * 0.5 for hertz in (440, 523.25)}
    followed = (tones[440].T.astype(np.float32), RATE)
    (kept,) = stems_of(request, made(request, tones[523.25], tones[440], followed=followed))
    assert kept.row == 1
    assert kept.report["candidates"][1]["melody"] > 0.9 > kept.report["candidates"][0]["melody"]


def test_without_best_of_nothing_is_told_of_candidates(bands) -> None:
    request = asked()
    (kept,) = stems_of(request, made(request, bands[104]))
    assert "candidates" not in kept.report


def test_parts_of_one_band_are_cut_as_one_and_others_by_themselves(bands) -> None:
    request = asked(parts="drums: tight; keys: soft", variations=2)
    late = np.roll(bands[120], round(0.19 * RATE), axis=0)
    kept = stems_of(request, made(request, bands[120], bands[120], 0.7 * bands[120], late))
    starts = [one.report["downbeat_s"] for one in kept]
    assert starts[0] == starts[2]
    assert starts[1] != starts[3]
    apart = (kept[3].report["downbeat_s"] - kept[1].report["downbeat_s"]) % 2.0  # a bar
    assert apart == pytest.approx(0.19, abs=0.01)


def test_the_mix_stands_behind_the_parts(bands) -> None:
    request = asked(parts="drums: tight; keys: soft", variations=2, mix=True)
    kept = stems_of(request, made(request, *[bands[120]] * 4))
    mixes = mixdowns(request, kept)
    takes = takes_of(request, 1, kept + mixes, made(request, bands[120]))
    assert [take.part.name for take in takes] == ["drums", "drums", "keys", "keys", "mix", "mix"]
    assert [take.variation for take in takes] == [0, 1, 0, 1, 0, 1]
    assert request.stems == len(takes) == takes[0].total == 6
    assert mixes[0].raw is None
    assert mixes[0].report["mix"] == ["drums", "keys"]
    assert mixes[0].report["true_peak_db"] <= -0.9
    assert mixes[0].report["lufs"] == pytest.approx(-14, abs=0.5)
    assert mixes[0].audio.shape == kept[0].audio.shape


def test_cancelling_ends_it_between_two_takes(bands) -> None:
    request, seen = asked(best_of=3), []

    def step(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 2:
            raise CancelledError("cancelled")

    with pytest.raises(CancelledError):
        matched_of(request, made(request, *[bands[120]] * 3), step)
    assert seen == [(1, 3), (2, 3)]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"best_of": 17, "variations": 2}, "best_of, parts and variations make 34 takes; at most 32"),
        ({"best_of": 2, "stream": True}, "leave out one of stream, best_of"),
        ({"mix": True}, "mix sums parts, or what is separated"),
        ({"parts": "a: x; b: y", "variations": 11, "mix": True}, "make 33 stems"),
    ],
)
def test_what_a_batch_does_not_take_is_refused(values, says) -> None:
    with pytest.raises(ArgumentError, match=says):
        asked(**values)


def test_they_survive_the_sidecar() -> None:
    request = asked(best_of=3, parts="a: x; b: y", mix=True)
    assert make_request(wire_values(request), Session(), {}) == request


def test_a_recording_is_let_go_of_once_it_is_matched_and_a_take_is_kept(bands) -> None:
    request = asked()
    take, recording = made(request, bands[120]), made(request, bands[120], kept=False)
    kept, unkept = stems_of(request, take), stems_of(request, recording)
    assert (len(take.audio), len(recording.audio)) == (1, 0)
    assert kept[0].raw is not None and unkept[0].raw is None
    assert np.array_equal(kept[0].audio, unkept[0].audio)
