"""A job in the worker: a recording through the whole pipeline, and what is separated, with models that lie on disk."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicgen_bridge.asking.build_request import make_request, wire_values
from musicgen_bridge.errors import AudioError, CancelledError, ModelError, PathError
from musicgen_bridge.request import SOURCES, Progress, RenderRequest, Session, Stem
from musicgen_bridge.settings import Settings
from musicgen_bridge.stems.manifest import read_take
from musicgen_bridge.worker.reporter import Asker
from musicgen_bridge.worker.worker import Worker
from tests import small_demucs

RATE = 44_100
ALL = ", ".join(SOURCES)
UNTOUCHED = {"match": False, "loop": False, "loudness": "off", "sample_rate": RATE}


@pytest.fixture
def song(tmp_path: Path) -> Path:
    (tmp_path / "song").mkdir()
    return tmp_path / "song"


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    """A worker with a random Demucs."""
    (tmp_path / "demucs").mkdir()
    small_demucs.make(tmp_path / "demucs")
    return Worker(settings(tmp_path))


def settings(folder: Path) -> Settings:
    return Settings(device="cpu", roots=(folder,), demucs=str(folder / "demucs"))


def asked(song: Path, **values: object) -> RenderRequest:
    return make_request(values, Session(project=str(song), bpm=126.5), {})  # type: ignore[arg-type]


def band(bpm: float, bars: float, rate: int = RATE, before: float = 0.0) -> np.ndarray:
    """Return a kick on one, a snare on three, hats between and a bass that enters on one: [frames, 2]."""
    rng = np.random.default_rng(5)
    beat = 60 / bpm
    out = np.zeros(round((before + bars * 4 * beat) * rate))
    for eighth in range(round(bars * 8)):
        at = round((before + eighth * beat / 2) * rate)
        time = np.arange(min(round(0.1 * rate), len(out) - at)) / rate
        hit = 0.15 * rng.normal(size=len(time)) * np.exp(-time / 0.01)
        if eighth % 8 == 0:
            hit = np.sin(2 * np.pi * 60 * time) * np.exp(-time / 0.05)
        elif eighth % 8 == 4:
            hit = 0.6 * rng.normal(size=len(time)) * np.exp(-time / 0.03)
        out[at : at + len(time)] += 0.7 * hit
    out += 0.1 * np.sin(2 * np.pi * 110 * np.arange(len(out)) / rate)
    out *= 0.9 / np.abs(out).max()
    return np.stack([out, 0.8 * out], axis=1)


@pytest.fixture
def loop(song: Path) -> Path:
    """Four bars at 118, with a moment before the first."""
    path = song / "my loop.wav"
    soundfile.write(path, band(118, 4, before=0.3), RATE, subtype="FLOAT")
    return path


def samples(stem: Stem) -> np.ndarray:
    return soundfile.read(stem.path, always_2d=True)[0]


def report(stem: Stem) -> dict[str, object]:
    return read_take(Path(stem.path).with_suffix(".json")).report


def decibels(audio: np.ndarray) -> float:
    return 10 * float(np.log10(np.mean(audio**2) + 1e-20))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_recording_comes_out_in_the_session(worker: Worker, song: Path, loop: Path) -> None:
    before = loop.read_bytes()
    (stem,) = worker.render(asked(song, file=str(loop), bars=2.0))
    assert Path(stem.path).name == "my-loop_126.5bpm_2bars.wav"
    audio = samples(stem)
    # floor(2 * 4 * 60 * 48000 / 126.5 + 0.5)
    assert audio.shape == (182_134, 2)
    kicks = [round(bar * 4 * 60 / 126.5 * 48_000) for bar in (0, 1)]
    assert all(np.abs(audio[at : at + 1_200]).max() > 0.5 for at in kicks)
    heard = report(stem)
    assert heard["bpm"] == pytest.approx(118, rel=1e-3)
    assert heard["rate"] == pytest.approx(126.5 / 118, rel=1e-3)
    assert heard["downbeat_s"] == pytest.approx(0.3, abs=0.01)
    assert heard["downbeat_confidence"] < 1
    assert loop.read_bytes() == before
    assert files(song / "MusicGen") == {f"my-loop_126.5bpm_2bars.{ending}" for ending in ("wav", "json")}


def test_the_starters_take_opens_a_bar(worker: Worker, song: Path) -> None:
    (stem,) = worker.render(asked(song, prompt="trap beat", bpm=70.0, bars=1.0, seed=107))
    heard = report(stem)
    assert not heard["beatless"]
    assert heard["downbeat_s"] == pytest.approx(0, abs=0.03)  # its first bar, not the second for a seam's sake
    assert heard["downbeat_confidence"] == 1


def test_words_that_the_model_does_not_know_are_told(worker: Worker, song: Path) -> None:
    notes: list[str] = []
    parts = "drums: techno; lead: 緩やかな"
    worker.render(asked(song, parts=parts, variations=2, seconds=0.5, match=False), Asker(note=notes.append))
    assert notes == ['starter knows no word of "緩やかな"; try others, in English']


def test_a_recording_follows_a_tempo_map(worker: Worker, song: Path, loop: Path) -> None:
    notes: list[str] = []
    (stem,) = worker.render(
        asked(song, file=str(loop), bars=3.0, tempo_map="0 126.5; 4 110>100"), Asker(note=notes.append)
    )
    timing = read_take(Path(stem.path).with_suffix(".json")).request.timing
    audio = samples(stem)
    assert len(audio) == timing.frames(48_000)
    for bar in (1, 2):
        kick = round(timing.seconds(4 * bar) * 48_000)
        assert np.abs(audio[kick : kick + 1_200]).max() > 2 * np.abs(audio[kick - 1_200 : kick - 240]).max()
    assert notes == []


def test_a_tempo_map_that_goes_too_far_is_told(worker: Worker, song: Path, loop: Path) -> None:
    notes: list[str] = []
    (stem,) = worker.render(asked(song, file=str(loop), bars=3.0, tempo_map="0 140; 4 80"), Asker(note=notes.append))
    assert len(notes) == 1
    assert "from 80 to 140" in notes[0]
    assert report(stem)["warning"] == notes[0]


def test_no_model_is_loaded_for_a_recording(worker: Worker, song: Path, loop: Path) -> None:
    worker.render(asked(song, file=str(loop), bars=1.0, separate="drums"))
    assert list(worker.models) == []


@pytest.mark.parametrize(("values", "bars", "frames"), [({}, 4, 364_269), ({"file_start": 1.0}, 3, 273_202)])
def test_without_a_length_it_has_the_recording_s_bars(worker, song, loop, values, bars, frames) -> None:
    (stem,) = worker.render(asked(song, file=str(loop), **values))
    assert (read_take(Path(stem.path).with_suffix(".json")).request.bars, stem.frames) == (bars, frames)


def test_untouched_every_sample_stays(worker: Worker, song: Path, loop: Path) -> None:
    (stem,) = worker.render(asked(song, file=str(loop), bits=32, **UNTOUCHED))
    assert np.array_equal(samples(stem), soundfile.read(loop)[0])


def test_the_sidecar_makes_the_same_again(worker: Worker, song: Path, loop: Path) -> None:
    (first,) = worker.render(asked(song, file=str(loop), file_end=6.0, separate="bass"))
    take = read_take(Path(first.path).with_suffix(".json"))
    (second,) = worker.render(make_request(wire_values(take.request), Session(), {}))
    assert second.path != first.path
    assert np.array_equal(samples(second), samples(first))


@pytest.mark.parametrize(("form", "bits"), [("wav", 32), ("wav", 24), ("flac", 24), ("aiff", 16)])
def test_the_stems_in_the_files_sum_to_the_mix(worker, song, loop, form, bits) -> None:
    keys = {"file": str(loop), "bars": 2.0, "format": form, "bits": bits}
    (mix,) = worker.render(asked(song, **keys))
    stems = worker.render(asked(song, **keys, separate=ALL))
    assert [(stem.index, stem.total, stem.frames) for stem in stems] == [(i, 4, mix.frames) for i in range(4)]
    assert [report(stem)["separated"] for stem in stems] == list(SOURCES)
    whole = samples(mix)
    assert decibels(sum(samples(stem) for stem in stems) - whole) < decibels(whole) - 60
    assert len({report(stem)["rate"] for stem in [mix, *stems]}) == 1


def test_with_mix_the_whole_stands_behind_its_stems(worker: Worker, song: Path, loop: Path) -> None:
    keys = {"file": str(loop), "bars": 2.0, "separate": ALL}
    *stems, mix = worker.render(asked(song, **keys, mix=True))
    assert [Path(stem.path).name.split("_")[1] for stem in (*stems, mix)] == [*SOURCES, "mix"]
    assert {(stem.total, stem.frames) for stem in (*stems, mix)} == {(5, mix.frames)}
    whole = samples(mix)
    assert decibels(sum(samples(stem) for stem in stems) - whole) < decibels(whole) - 60


def test_each_name_gets_its_own_source(worker: Worker, song: Path, loop: Path, tmp_path: Path) -> None:
    levels = {"drums": 0.5, "bass": -0.25, "other": 3.0, "vocals": 1.0}
    small_demucs.make(tmp_path / "demucs", levels=tuple(levels.values()))
    mix = soundfile.read(loop)[0]
    vocals, bass, other = worker.render(
        asked(song, file=str(loop), bits=32, separate="vocals, bass, other", **UNTOUCHED)
    )
    for stem, name in ((vocals, "vocals"), (bass, "bass")):
        assert f"_{name}_" in stem.path
        assert samples(stem).mean() == pytest.approx(levels[name] * mix.mean(axis=1).std(), rel=0.1)
    rest = sum(levels[name] for name in ("drums", "bass", "vocals")) * mix.mean(axis=1).std()
    assert (mix - samples(other)).mean() == pytest.approx(rest, rel=0.1)  # what is left over, not what Demucs says


def test_stems_that_would_clip_give_way_and_still_sum(worker: Worker, song: Path, loop: Path, tmp_path: Path) -> None:
    small_demucs.make(tmp_path / "demucs", levels=(20.0, -5.0, 0.0, 0.0))
    keys = {"file": str(loop), "separate": ALL, **UNTOUCHED}
    whole = soundfile.read(loop)[0]
    for bits, highest in ((24, 1.0), (32, 10.0)):
        stems = worker.render(asked(song, **keys, bits=bits))
        assert 0.99 < max(np.abs(samples(stem)).max() for stem in stems) <= highest
        assert decibels(sum(samples(stem) for stem in stems) - whole) < decibels(whole) - 60
    assert max(np.abs(samples(stem)).max() for stem in stems) > 1.5


def test_a_render_is_separated_take_by_take(worker: Worker, song: Path) -> None:
    keys = {"parts": "drums: break; keys: pad", "bars": 1.0, "seed": 4}
    mixes = worker.render(asked(song, **keys))
    stems = worker.render(asked(song, **keys, separate=ALL))
    assert [stem.index for stem in stems] == list(range(8))
    takes = [read_take(Path(stem.path).with_suffix(".json")) for stem in stems]
    assert [take.part.name for take in takes] == [f"{part} {name}" for part in ("drums", "keys") for name in SOURCES]
    assert [take.seed for take in takes] == [4] * 4 + [5] * 4
    for mix, four in zip(mixes, (stems[:4], stems[4:]), strict=True):
        assert decibels(sum(samples(stem) for stem in four) - samples(mix)) < decibels(samples(mix)) - 60
    raw = files(song / "MusicGen" / ".raw")
    assert len([name for name in raw if "drums-drums" in name or "keys-drums" in name]) == 2
    assert len(raw) == 2 + 2  # of the mixes, and once of each separated take


def test_progress_goes_up_to_the_end_through_separating(worker: Worker, song: Path, loop: Path) -> None:
    seen: list[Progress] = []
    worker.render(asked(song, file=str(loop), separate=ALL), Asker(progress=seen.append))
    fractions = [one.fraction for one in seen]
    assert fractions == sorted(fractions) and fractions[-1] <= 1
    assert "separating" in {one.stage for one in seen}
    assert not {"generating", "decoding"} & {one.stage for one in seen}


def test_a_cancel_while_separating_leaves_nothing(worker: Worker, song: Path, loop: Path) -> None:
    seen: list[str] = []
    before = files(song)
    with pytest.raises(CancelledError):
        worker.render(
            asked(song, file=str(loop), separate=ALL),
            Asker(progress=lambda now: seen.append(now.stage), cancelled=lambda: "separating" in seen),
        )
    assert files(song) == before
    assert len(worker.render(asked(song, file=str(loop), separate=ALL))) == 4


def test_a_melody_that_demucs_finds_can_be_cancelled_too(worker: Worker, song: Path, loop: Path) -> None:
    seen: list[float] = []
    with pytest.raises(CancelledError):
        worker.render(
            asked(song, prompt="lead", melody=str(loop)),
            Asker(progress=lambda now: seen.append(now.fraction), cancelled=lambda: len(seen) > 1 and seen[-1] > 0),
        )
    assert seen[-1] < 0.011  # of reading, the first stage


@pytest.mark.parametrize(("part", "how"), [("vocals", "demucs: vocals"), ("all", "the recording as it is")])
def test_the_part_that_is_the_melody_can_be_chosen(worker: Worker, song: Path, loop: Path, part: str, how: str) -> None:
    (stem,) = worker.render(asked(song, prompt="lead", melody=str(loop), melody_part=part, seconds=0.5, match=False))
    assert report(stem)["melody"] == how
    assert read_take(Path(stem.path).with_suffix(".json")).request.melody_part == part


def test_a_part_that_only_demucs_finds_is_told_at_once(tmp_path: Path, song: Path, loop: Path) -> None:
    worker = Worker(dataclasses.replace(settings(tmp_path), demucs=None))
    with pytest.raises(ModelError, match="models pull demucs"):
        worker.render(asked(song, prompt="lead", melody=str(loop), melody_part="bass"))
    assert list(worker.models) == []


def test_without_weights_it_is_told_before_anything_is_loaded(tmp_path: Path, song: Path) -> None:
    worker = Worker(dataclasses.replace(settings(tmp_path), demucs=None))
    seen: list[Progress] = []
    with pytest.raises(ModelError, match=r"models pull demucs.* and set demucs"):
        worker.render(asked(song, prompt="techno", separate="drums"), Asker(progress=seen.append))
    assert list(worker.models) == []
    assert {one.stage for one in seen} <= {"reading"}


def write(path: Path, audio: np.ndarray) -> None:
    soundfile.write(path, audio, RATE, subtype="FLOAT")


BAD = {
    "no audio": (lambda path: path.write_text("hello"), AudioError, "can't be read as audio"),
    "silence": (lambda path: write(path, np.zeros(RATE)), AudioError, "is silent there"),
    "10 ms": (
        lambda path: write(path, np.sin(np.arange(441) / 9)),
        AudioError,
        r"is 0\.010 s long there; give at least 0\.1 s",
    ),
    "not a number": (lambda path: write(path, np.full(RATE, np.nan)), AudioError, "not numbers"),
    "eleven minutes": (lambda path: write(path, np.ones(661 * RATE)), AudioError, "give file_start and file_end"),
    "nothing": (lambda path: None, PathError, "does not exist"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_recording_is_refused_and_nothing_is_lost(worker: Worker, song: Path, case: str) -> None:
    make, error, said = BAD[case]
    make(song / "bad.wav")
    before = files(song)
    with pytest.raises(error, match=said):
        worker.render(asked(song, file=str(song / "bad.wav")))
    assert files(song) == before


def test_a_melody_of_a_moment_is_refused(worker: Worker, song: Path, loop: Path) -> None:
    with pytest.raises(AudioError, match=r"is 0\.050 s long there; give at least 0\.1 s"):
        worker.render(asked(song, prompt="techno", melody=str(loop), melody_start=2.0, melody_end=2.05))


def test_a_recording_of_too_many_slow_bars_is_refused(worker: Worker, song: Path) -> None:
    soundfile.write(song / "long.wav", band(60, 60), RATE)
    with pytest.raises(AudioError, match="give bars"):
        worker.render(asked(song, file=str(song / "long.wav"), file_bpm=60.0, bpm=20.0))


def test_what_was_heard_is_plain_json(worker: Worker, song: Path, loop: Path) -> None:
    (stem,) = worker.render(asked(song, file=str(loop), separate="vocals"))
    told = json.loads(Path(stem.path).with_suffix(".json").read_text("utf-8"))
    assert told["part"] == {"name": "vocals", "prompt": "my loop"}
    assert len(told["fingerprint"]) == 64
