"""Requests that wait: the first in line and the last one's end, drawn together and one after the other, in one run.

    python benchmarks/serving.py                                            the starter, on the CPU or the GPU there is
    python benchmarks/serving.py --size small --size large

Through the worker's own line, from a request to its file. Besides at once, the others come when the first is a third
through. Other sizes than the starter are random weights at the true sizes, written to a folder first.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parent))

from checkpoints import CHECKPOINTS, SIZES, checkpoint

from musicgen_bridge.asking.build_request import make_request
from musicgen_bridge.engine import Engine
from musicgen_bridge.request import Progress, Session, Stem
from musicgen_bridge.settings import Settings
from musicgen_bridge.worker.company import Company
from musicgen_bridge.worker.costs import SLOWEST, Costs, measured
from musicgen_bridge.worker.line import Errand, Line
from musicgen_bridge.worker.reporter import Asker
from musicgen_bridge.worker.worker import Worker

PROMPTS = ("techno drum loop", "rolling sub bass", "warm pad", "bright arp")


@dataclass
class Run:
    """When each of a line was done, in seconds since the first was asked for, and its file."""

    done: dict[int, float] = field(default_factory=dict)
    paths: dict[int, str] = field(default_factory=dict)

    @property
    def first(self) -> float:
        """The first one's."""
        return self.done[0]

    @property
    def all(self) -> float:
        """The last one's."""
        return max(self.done.values())


class Bench:
    """A worker with a model and a project folder."""

    def __init__(self, model: Path, folder: Path, device: str, dtype: str, seconds: float) -> None:
        settings = Settings(model="it", models={"it": str(model)}, device=device, dtype=dtype, roots=(folder,))
        self._worker, self._folder, self._seconds = Worker(settings), folder, seconds
        self.costs = measured(self._worker.warm_up())

    def serve(self, count: int, *, together: bool, at: float = 0.0) -> Run:
        """Serve `count` requests, the others coming when the first is at a fraction `at`."""
        run, line, began = Run(), Line(), time.perf_counter()
        errands = [self._errand(number, run, began) for number in range(count)]

        def come(now: Progress) -> None:
            if now.fraction >= at and waiting:
                for one in waiting:
                    line.put(one)
                waiting.clear()

        first, waiting = self._errand(0, run, began, come), errands[1:]
        if not at:
            come(Progress(fraction=0.0, eta_s=-1, stage="waiting"))
        company = Company(self._worker, line, measure=self._costs if together else _nobody)
        company.serve(first)
        while isinstance(errand := line.get(0), Errand):
            company.serve(errand)
        return run

    def _costs(self, engine: Engine) -> Costs:
        return Costs(dict(self.costs.steps))

    def _errand(
        self, number: int, run: Run, began: float, told: Callable[[Progress], None] = lambda now: None
    ) -> Errand:
        def done(stems: list[Stem]) -> None:
            run.done[number], run.paths[number] = time.perf_counter() - began, stems[0].path

        def failed(error: BaseException) -> None:
            raise error

        values = {"prompt": PROMPTS[number % len(PROMPTS)], "seed": number, "seconds": self._seconds, "model": "it"}
        return Errand(
            make_request(values, Session(project=str(self._folder)), {}),
            Asker(job=number, progress=told),
            done,
            failed,
        )


def _nobody(engine: Engine) -> Costs:
    return Costs({})


def same(one: Run, other: Run) -> int:
    """Return how many files hold the same samples."""
    files = [(soundfile.read(one.paths[n])[0], soundfile.read(other.paths[n])[0]) for n in one.paths]
    return sum(np.array_equal(a, b) for a, b in files)


def median(runs: list[Run], what: Callable[[Run], float]) -> float:
    """Return the median over runs."""
    return statistics.median(map(what, runs))


@click.command()
@click.option("--size", "sizes", multiple=True, type=click.Choice(["starter", *SIZES]), default=["starter"])
@click.option("--device", default="auto", show_default=True)
@click.option("--dtype", default="auto", show_default=True)
@click.option("--seconds", default=8.0, show_default=True, help="Length of each stem.")
@click.option("--others", default=3, show_default=True, help="How many wait behind the first.")
@click.option("--repeats", default=3, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), default=CHECKPOINTS, show_default=True)
def main(
    sizes: tuple[str, ...], device: str, dtype: str, seconds: float, others: int, repeats: int, folder: Path
) -> None:
    """Print the table."""
    for size in sizes:
        with tempfile.TemporaryDirectory() as project:
            bench = Bench(checkpoint(size, folder), Path(project).resolve(), device, dtype, seconds)
            steps = ", ".join(f"{1000 * took:.2f}" for took in bench.costs.steps.values())
            click.echo(f"{size}: {seconds:g} s each; ms a step with one row to {len(bench.costs.steps)}: {steps}")
            bench.serve(1, together=False)
            alone = [bench.serve(1, together=False) for _ in range(repeats)]
            by_itself = median(alone, lambda run: run.first)
            click.echo(f"    one alone: {by_itself:.2f} s")
            apart: list[Run] = []
            for together, at in ((False, 0.0), (True, 0.0), (True, 1 / 3)):
                runs = [bench.serve(others + 1, together=together, at=at) for _ in range(repeats)]
                apart = apart or runs
                first, last = median(runs, lambda run: run.first), median(runs, lambda run: run.all)
                name = "one after the other" if not together else "together"
                came = f"{others} others come at once" if not at else f"they come at {at:.0%}"
                kept = "" if not together else f" ({'kept' if first <= SLOWEST * by_itself else 'BROKEN'})"
                click.echo(
                    f"    {name}, {came}: the first after {first:.2f} s, {first / by_itself:.2f} of alone{kept}; all "
                    f"after {last:.2f} s; {same(apart[0], runs[0])} of {others + 1} the same to the sample"
                )


if __name__ == "__main__":
    main()
