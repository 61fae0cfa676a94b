"""Takes that are cut anew: a band of known beats as the raw take, through match and stems as the worker runs them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicgen_bridge.asking.build_request import make_request, wire_values
from musicgen_bridge.asking.recut import make_recut
from musicgen_bridge.errors import ArgumentError, BridgeError, PathError
from musicgen_bridge.match import match
from musicgen_bridge.request import Part, RenderRequest, Session, Stem
from musicgen_bridge.roots import Roots
from musicgen_bridge.settings import Settings
from musicgen_bridge.stems.manifest import Take, read_take
from musicgen_bridge.stems.publish import publish
from musicgen_bridge.worker.takes import Made, takes_of, unseparated
from musicgen_bridge.worker.targets import target_of
from musicgen_bridge.worker.worker import Worker
from tests.worker.test_worker import band, decibels

RATE = 32_000
OWN, SESSION, BEFORE = 118.0, 126.5, 0.9
"""The band's tempo, the session's, and the seconds before the band's first bar."""
BEAT = 60 / OWN


@pytest.fixture
def song(tmp_path: Path) -> Path:
    (tmp_path / "song").mkdir()
    return (tmp_path / "song").resolve()


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    return Roots.of([tmp_path])


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(Settings(device="cpu", roots=(tmp_path,)))


def made(song: Path, roots: Roots, scale: float = 1.0, **values: object) -> Stem:
    """Return a stem of four bars whose raw take is five bars of a band, as a worker would have made it."""
    keys = {"prompt": "funk", "seed": 42, "key": "A minor", "bars": 4.0, "loudness": -20.0, **values}
    request = make_request(keys, Session(project=str(song), bpm=SESSION), {})
    raw = (scale * band(OWN, 5, RATE, BEFORE).T).astype(np.float32)
    facts = {"fingerprint": "f" * 64, "device": "cpu", "dtype": "torch.float32"}
    one = Made(audio=[raw], sample_rate=RATE, parts=(Part("drums", "tight funk"),), **facts)
    results = unseparated([match(raw, RATE, target_of(request))], one)
    (take,) = takes_of(request, 7, results, one)
    return publish(results[0].audio, take, roots=roots, raw=results[0].raw)


@pytest.fixture
def stem(song: Path, roots: Roots) -> Stem:
    return made(song, roots)


def recut(worker: Worker, roots: Roots, stem: Stem, **values: object) -> Stem:
    (new,) = worker.render(make_recut({"take": stem.path, **values}, roots))
    return new


def samples(stem: Stem) -> np.ndarray:
    return soundfile.read(stem.path, always_2d=True)[0]


def take_of(stem: Stem) -> Take:
    return read_take(Path(stem.path).with_suffix(".json"))


def began(stem: Stem) -> float:
    """Return the second of the raw take that a stem begins with."""
    return float(take_of(stem).report["downbeat_s"])


def kicks(stem: Stem) -> list[int]:
    """Return the quarter notes of a stem at which a kick's 60 Hz is heard."""
    audio = samples(stem)[:, 0]
    beat = 60 / stem.bpm * stem.sample_rate
    low = np.exp(-2j * np.pi * 60 * np.arange(2_400) / stem.sample_rate)
    loud = [abs(audio[round(i * beat) :][:2_400] @ low) for i in range(int(len(audio) / beat))]
    return [i for i, level in enumerate(loud) if level > 0.7 * max(loud)]


def difference(one: Stem, other: Stem) -> float:
    """Return it in dB under the other; the stretch makes the 24 bits of a raw take heard at -70 dB."""
    return decibels(samples(one) - samples(other)) - decibels(samples(other))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_band_is_where_the_tests_expect_it(stem: Stem) -> None:
    assert began(stem) == pytest.approx(BEFORE, abs=0.01)
    assert kicks(stem) == [0, 4, 8, 12]


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_with_nothing_said_it_is_the_same_stem_again(worker, roots, song, scale) -> None:
    """A raw take over full scale was turned down to be kept, and is turned up again."""
    stem = made(song, roots, scale)
    before = files(song)
    new = recut(worker, roots, stem)
    assert new.path != stem.path and Path(new.path).parent == Path(stem.path).parent
    assert difference(new, stem) < -60
    assert {name: data for name, data in files(song).items() if name in before} == before


def test_what_is_left_out_stays_and_the_sidecar_tells_where_it_is_from(worker, roots, stem) -> None:
    new, old = take_of(recut(worker, roots, stem, shift_beats=1.0)), take_of(stem)
    assert (new.request.mode, new.request.take, new.request.shift_beats) == ("recut", stem.path, 1.0)
    kept = ("bars", "bpm", "signature", "sample_rate", "key", "loop", "loudness", "format", "bits", "model", "project")
    assert {name: getattr(new.request, name) for name in kept} == {name: getattr(old.request, name) for name in kept}
    assert (new.part, new.seed, new.fingerprint, new.key) == (old.part, old.seed, old.fingerprint, old.key)
    assert (new.index, new.total) == (0, 1)


@pytest.mark.parametrize(("shift", "expected"), [(1.0, [3, 7, 11, 15]), (-1.0, [1, 5, 9, 13])])
def test_beats_move_the_downbeat(worker, roots, stem, shift, expected) -> None:
    new = recut(worker, roots, stem, shift_beats=shift)
    assert kicks(new) == expected
    assert began(new) - began(stem) == pytest.approx(shift * BEAT, abs=1e-3)
    assert new.frames == stem.frames


def test_milliseconds_are_the_stem_s_and_add_to_the_beats(worker, roots, stem) -> None:
    new = recut(worker, roots, stem, shift_beats=1.0, shift_ms=-40.0)
    assert began(new) - began(stem) == pytest.approx(BEAT - 0.04 * SESSION / OWN, abs=1e-3)


def test_bars_tempo_and_loudness(worker, roots, stem) -> None:
    new = recut(worker, roots, stem, bars=2.0, bpm=132.0, loudness=-26.0, name="tight")
    assert (new.frames, new.bpm) == (174_545, 132.0)  # floor(2 * 4 * 60 * 48000 / 132 + 0.5)
    assert kicks(new) == [0, 4]
    assert Path(new.path).name.startswith("tight_drums_132bpm_")
    report = take_of(new).report
    assert (report["rate"], report["lufs"]) == (pytest.approx(132 / OWN, rel=1e-3), pytest.approx(-26, abs=0.2))
    assert began(new) == pytest.approx(began(stem), abs=1e-6)


def test_a_recut_can_be_recut_without_the_first(worker, roots, stem) -> None:
    second = recut(worker, roots, stem, shift_beats=1.0, bars=2.0)
    for path in (Path(stem.path), Path(stem.path).with_suffix(".json")):
        path.unlink()
    third = recut(worker, roots, second, shift_beats=-1.0, bars=4.0)
    assert kicks(third) == [0, 4, 8, 12]
    assert began(third) == pytest.approx(BEFORE, abs=0.01)


def test_the_sidecar_makes_the_same_again(worker, roots, stem) -> None:
    new = recut(worker, roots, stem, shift_beats=2.0, bars=3.0)
    request = make_request(wire_values(take_of(new).request), Session(), {})
    assert request == take_of(new).request
    (again,) = worker.render(request)
    assert np.array_equal(samples(again), samples(new))


def test_a_project_that_was_moved_is_written_where_it_is_now(worker, roots, stem, song, tmp_path) -> None:
    song.rename(tmp_path / "moved")
    there = replace(stem, path=stem.path.replace(str(song), str(tmp_path / "moved")))
    assert Path(recut(worker, roots, there).path).parent == (tmp_path / "moved" / "MusicGen").resolve()
    assert not song.exists()


def test_a_take_without_matching_begins_with_its_first_sample_and_can_be_moved(worker, roots, song) -> None:
    stem = made(song, roots, match=False)
    assert take_of(stem).report["downbeat_s"] is None
    assert difference(recut(worker, roots, stem), stem) < -120
    assert began(recut(worker, roots, stem, shift_ms=900.0, bars=2.0)) == pytest.approx(0.9, abs=1e-6)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            {"shift_beats": -3.0},
            r"for a shift of -1\.\d+ to \d\.?\d* beats \(-\d+ to \d+ ms; more is earlier\): ask for",
        ),
        ({"shift_beats": 12.0}, r"for a shift of -1\.\d+ to \d\.?\d* beats"),
        ({"bars": 8.0}, r"is enough for [56]\.?\d* bars: ask for no more"),
        ({"bars": 8.0, "shift_beats": 1.0}, r"is enough for [56]\.?\d* bars: ask for no more"),
        ({"bpm": 190.0}, r"was played at 118; it can be cut anew at 94\.\d+ to 147\.\d+"),
        ({"bpm": 60.0}, "was played at 118"),
    ],
)
def test_outside_of_the_raw_take_it_says_how_far_it_goes(worker, roots, stem, song, values, says) -> None:
    before = files(song)
    with pytest.raises(ArgumentError, match=says):
        recut(worker, roots, stem, **values)
    assert files(song) == before


@pytest.mark.parametrize("asked", [{"shift_beats": 64.0}, {"shift_ms": -30_000.0}, {"shift_beats": 2.5, "bars": 5.5}])
def test_the_shifts_that_it_says_are_the_furthest_that_there_are(worker, roots, stem, asked) -> None:
    with pytest.raises(ArgumentError) as refused:
        recut(worker, roots, stem, **asked)
    least, most = map(float, re.findall(r"shift of (\S+) to (\S+) beats", refused.value.text)[0])
    bars = {name: value for name, value in asked.items() if name == "bars"}
    for shift, beyond in ((least, -0.2), (most, 0.02)):  # 50 ms of silence may stand before the raw take
        recut(worker, roots, stem, shift_beats=shift, **bars)
        with pytest.raises(ArgumentError, match="for a shift of"):
            recut(worker, roots, stem, shift_beats=shift + beyond, **bars)


def test_at_the_tempo_that_it_was_made_at_it_can_always_be_cut(worker, roots, song) -> None:
    stem = made(song, roots, bpm=147.7)
    assert take_of(stem).report["rate"] > 1.25
    assert difference(recut(worker, roots, stem), stem) < -60
    with pytest.raises(ArgumentError, match=r"it can be cut anew at 94\.\d+ to 147\.7:"):
        recut(worker, roots, stem, bpm=148.5)


def test_without_its_raw_take_it_says_so(worker, roots, stem) -> None:
    (Path(stem.path).parent / ".raw" / f"{Path(stem.path).stem}.flac").unlink()
    with pytest.raises(PathError, match=r"has no raw take in \.raw; keep that folder"):
        recut(worker, roots, stem)


def test_a_report_that_was_edited_is_refused(worker, roots, stem) -> None:
    sidecar = Path(stem.path).with_suffix(".json")
    told = json.loads(sidecar.read_text("utf-8"))
    del told["report"]["downbeat_s"]
    sidecar.write_text(json.dumps(told), "utf-8")
    with pytest.raises(ArgumentError, match="its report lacks 'downbeat_s'"):
        recut(worker, roots, stem)


def edited(stem: Stem, **changes: object) -> str:
    sidecar = Path(stem.path).with_suffix(".json")
    told = json.loads(sidecar.read_text("utf-8"))
    told["request"] |= changes
    sidecar.write_text(json.dumps(told), "utf-8")
    return stem.path


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"file": "/m.wav", "mode": "fit"}, "it was made of a recording; fit that again"),
        ({"separate": "drums"}, "it is one stem of a separation"),
        ({"bars": "many"}, "bars must be a number"),
    ],
)
def test_what_the_model_did_not_make_alone_is_refused(roots, stem, changes, says) -> None:
    with pytest.raises(ArgumentError, match=says):
        make_recut({"take": edited(stem, **changes)}, roots)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({}, "E_ARGS recut needs a take"),
        ({"take": "loop.wav"}, "E_PATH loop.wav is not absolute"),
        ({"take": "/etc/hostname"}, "E_PATH .* allowed folders"),
        ({"take": "{song}/loop.wav"}, "E_PATH .* lies in no MusicGen folder"),
        ({"take": "{song}/MusicGen/mine.wav"}, "E_PATH .*mine.json does not exist"),
        ({"take": "{stem}", "bars": 1.0, "seconds": 2.0}, "E_ARGS .* give one length"),
    ],
)
def test_a_take_that_is_none_is_refused(roots, stem, song, values, error) -> None:
    for name in ("loop.wav", "MusicGen/mine.wav"):
        (song / name).touch()
    places = {"{song}": str(song), "{stem}": stem.path}
    given = dict(values)
    for mark, place in places.items():
        if "take" in given:
            given["take"] = given["take"].replace(mark, place)
    with pytest.raises(BridgeError) as raised:
        make_recut(given, roots)
    assert re.match(error, f"{raised.value.code} {raised.value.text}")


def test_the_sidecar_names_the_take_too(roots, stem) -> None:
    sidecar = str(Path(stem.path).with_suffix(".json"))
    asked: RenderRequest = make_recut({"take": sidecar}, roots)
    assert (asked.take, asked.project) == (sidecar, str(Path(stem.path).parents[1]))
