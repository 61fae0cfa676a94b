"""The worker's line on the starter: who rides with whom, and that nobody's stem depends on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicgen_bridge.asking.build_request import make_request
from musicgen_bridge.engine import Engine
from musicgen_bridge.engine.ensemble import Ensemble
from musicgen_bridge.errors import BridgeError, OutOfMemoryError
from musicgen_bridge.request import Progress, Session, Stem
from musicgen_bridge.settings import Settings
from musicgen_bridge.worker import reporter
from musicgen_bridge.worker.company import Company
from musicgen_bridge.worker.costs import Costs
from musicgen_bridge.worker.line import Errand, Line
from musicgen_bridge.worker.reporter import NOBODY, Asker
from musicgen_bridge.worker.worker import Worker

FREE = Costs(dict.fromkeys(range(1, 5), 1.0))
"""Of a device on which company costs nothing, and a step so much that time never runs out."""
DEAR = Costs({rows: 1000.0 ** (rows - 1) for rows in range(1, 5)})
"""Of one on which every further row is a burden to its very last step."""
SHORT = {"seconds": 0.6, "match": False, "loop": False, "seed": 3}


@dataclass
class Told:
    """What became of an errand, and what it was told meanwhile."""

    errand: Errand = field(init=False)
    stems: list[Stem] | None = None
    error: BaseException | None = None
    seen: list[Progress] = field(default_factory=list)
    cancelled: bool = False
    ends: int = 0

    @property
    def audio(self) -> list[np.ndarray]:
        assert self.stems is not None, self.error
        return [soundfile.read(stem.path)[0] for stem in self.stems]

    @property
    def code(self) -> str:
        assert isinstance(self.error, BridgeError), self.error
        return self.error.code


class Bench:
    """A worker with its line, whose errands are told here."""

    def __init__(self, folder: Path) -> None:
        self.worker = Worker(Settings(device="cpu", roots=(folder,)))
        self.song = folder / "song"
        self.song.mkdir()
        self.ended: list[Told] = []
        self._number = 0

    def errand(self, on_progress: Callable[[Told], None] = lambda told: None, **values: object) -> Told:
        told = Told()
        self._number += 1

        def end(stems: list[Stem] | None, error: BaseException | None) -> None:
            told.stems, told.error, told.ends = stems, error, told.ends + 1
            self.ended.append(told)

        def progress(now: Progress) -> None:
            told.seen.append(now)
            on_progress(told)

        request = make_request({**SHORT, **values}, Session(project=str(self.song)), {})  # type: ignore[dict-item]
        told.errand = Errand(
            request,
            Asker(job=self._number, progress=progress, cancelled=lambda: told.cancelled),
            done=lambda stems: end(stems, None),
            failed=lambda error: end(None, error),
        )
        return told

    def serve(self, *line: Told, costs: Costs = FREE) -> list[int]:
        """Serve a line to its end; return how many rows were drawn in each step."""
        rows: list[int] = []
        step = Ensemble.step

        def counted(ensemble: Ensemble) -> None:
            step(ensemble)
            rows.append(ensemble.rows)

        waiting = Line()
        for told in line:
            waiting.put(told.errand)
        company = Company(self.worker, waiting, measure=lambda engine: Costs(dict(costs.steps)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Ensemble, "step", counted)
            patch.setattr(reporter, "PROGRESS_S", 0.0)  # each step is told, however fast they are
            while isinstance(errand := waiting.get(0), Errand):
                company.serve(errand)
        return rows


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("company"))


@pytest.fixture(autouse=True)
def nothing_ended(bench: Bench) -> None:
    bench.ended.clear()


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


ASKED = (
    {"prompt": "techno drum loop", "seconds": 1.2, "match": True, "loop": True},
    {"prompt": "deep sub bass that rolls", "seed": 4},
    {"parts": "keys: warm pad; lead: bright arp", "seed": 5, "seconds": 0.9},
)


def test_nobodys_stem_depends_on_its_company(bench: Bench) -> None:
    alone = [bench.errand(**values) for values in ASKED]
    assert set(bench.serve(alone[0])) == {1}
    for told in alone[1:]:
        bench.serve(told)
    together = [bench.errand(**values) for values in ASKED]
    rows = bench.serve(*together)
    assert max(rows) == 4
    assert rows[-1] == 1  # the first is the longest
    assert bench.ended[-3:] == together
    for one, other in zip(alone, together, strict=True):
        assert same(one.audio, other.audio)
        assert one.ends == other.ends == 1


def test_who_comes_while_the_first_is_drawn_joins_it(bench: Bench) -> None:
    wanted = bench.errand(prompt="slow pad", seed=8)
    bench.serve(wanted)
    late, line = bench.errand(prompt="slow pad", seed=8), Line()

    def now(told: Told) -> None:
        """Half way through, somebody comes."""
        if told.seen[-1].fraction > 0.4 and not came:
            came.append(told.seen[-1].stage)
            line.put(late.errand)

    came: list[str] = []
    first = bench.errand(now, prompt="techno", seconds=2.0)
    Company(bench.worker, line, measure=lambda engine: Costs(dict(FREE.steps))).serve(first.errand)
    assert came == ["generating"]
    assert bench.ended[1:] == [first, late]
    assert same(late.audio, wanted.audio)


def test_where_it_would_cost_the_first_too_much_everybody_waits(bench: Bench) -> None:
    both = [bench.errand(prompt="techno"), bench.errand(prompt="house")]
    assert set(bench.serve(*both, costs=DEAR)) == {1}
    assert bench.ended == both


def test_other_draws_and_recordings_go_alone(bench: Bench) -> None:
    soundfile.write(bench.song / "a.wav", 0.3 * np.sin(np.arange(32_000) * 0.1), 32_000)
    line = [
        bench.errand(prompt="techno"),
        bench.errand(prompt="techno", temperature=0.8),
        bench.errand(prompt="techno", melody=str(bench.song / "a.wav")),
        bench.errand(file=str(bench.song / "a.wav"), match=False),
    ]
    rows = bench.serve(*line)
    assert set(rows) == {1}
    assert bench.ended == line
    assert [told.error for told in line] == [None] * 4


def test_a_take_of_several_windows_goes_alone(bench: Bench) -> None:
    for seconds, shares in ((20.0, True), (25.5, False)):
        request = bench.errand(seconds=seconds).errand.request
        render = bench.worker.begin(request, NOBODY)
        assert render.wanted is not None
        assert render.wanted.shares is shares
        render.stop()


def test_a_cancel_leaves_the_others_alone(bench: Bench) -> None:
    kept = bench.errand(prompt="techno", seed=2)
    bench.serve(kept)

    def stop(told: Told) -> None:
        told.cancelled = told.seen[-1].stage == "generating"

    first, second, third = bench.errand(stop), bench.errand(prompt="techno", seed=2), bench.errand(stop, prompt="b")
    bench.serve(first, second, third)
    assert [first.code, third.code] == ["E_CANCELLED"] * 2
    assert same(second.audio, kept.audio)
    assert first.ends == second.ends == third.ends == 1


def test_a_cancel_is_heard_while_another_is_matched(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = bench.errand(prompt="techno"), bench.errand(prompt="house", seconds=1.2)
    take = Engine.take

    def taken(*every: object) -> object:
        second.cancelled = True
        return take(*every)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "take", taken)
    bench.serve(first, second)
    assert bench.ended == [second, first]
    assert first.stems and second.code == "E_CANCELLED"


def test_a_failure_leaves_the_others_alone(bench: Bench) -> None:
    (bench.song.parent / "gone").mkdir(exist_ok=True)
    line = [bench.errand(prompt="techno"), bench.errand(project=str(bench.song.parent / "gone")), bench.errand()]
    (bench.song.parent / "gone").rmdir()
    bench.serve(*line)
    assert line[1].code == "E_PATH"
    assert line[0].stems and line[2].stems


def test_too_little_memory_for_company_is_enough_for_one_after_the_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [bench.errand(prompt="techno", seed=1), bench.errand(prompt="house", seed=2)]
    for told in wanted:
        bench.serve(told)
    join = Ensemble.join

    def short(ensemble: Ensemble, voice: object) -> None:
        if ensemble.voices:
            raise OutOfMemoryError("too little")
        join(ensemble, voice)  # type: ignore[arg-type]

    monkeypatch.setattr(Ensemble, "join", short)
    line = [bench.errand(prompt="techno", seed=1), bench.errand(prompt="house", seed=2)]
    bench.serve(*line)
    for one, other in zip(wanted, line, strict=True):
        assert same(one.audio, other.audio)
        assert other.ends == 1


def test_too_little_memory_for_one_is_told_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(ensemble: Ensemble, voice: object) -> None:
        raise OutOfMemoryError("too little")

    monkeypatch.setattr(Ensemble, "join", short)
    told = bench.errand(prompt="techno")
    bench.serve(told)
    assert (told.code, told.ends) == ("E_OOM", 1)


@pytest.mark.parametrize(
    ("error", "code"), [(OutOfMemoryError("too little"), "E_OOM"), (ValueError("odd"), "ValueError")]
)
def test_a_model_that_cannot_be_measured_fails_its_errand_once(bench: Bench, error: Exception, code: str) -> None:
    def measure(engine: Engine) -> Costs:
        raise error

    told = bench.errand(prompt="techno")
    Company(bench.worker, Line(), measure=measure).serve(told.errand)
    assert told.ends == 1
    assert code in (type(told.error).__name__, getattr(told.error, "code", ""))


def test_who_could_not_join_comes_next_whatever_becomes_of_the_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch takes in nobody and then runs out of memory."""
    steps: list[int] = []
    step = Ensemble.step

    def short(ensemble: Ensemble) -> None:
        steps.append(ensemble.rows)
        if len(steps) == 5:
            raise OutOfMemoryError("too little")
        step(ensemble)

    monkeypatch.setattr(Ensemble, "welcomes", lambda ensemble, voice: False)
    monkeypatch.setattr(Ensemble, "step", short)
    first, second = bench.errand(prompt="techno"), bench.errand(prompt="house")
    bench.serve(first, second)
    assert (first.code, first.ends) == ("E_OOM", 1)
    assert second.stems and second.ends == 1
