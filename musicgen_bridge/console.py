"""What a person sees in the terminal: progress on stderr, tables on stdout; rich is imported only where it draws."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from musicgen_bridge.request import Progress


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on stdout."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    drawn = Table(*headers, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        drawn.add_row(*(str(cell) for cell in row))
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:  # whoever reads the lines of a pipe wants them whole
        console.width = 10_000
    console.print(drawn)


@contextmanager
def progress() -> Iterator[Callable[[Progress], None]]:
    """Draw a bar with stage, share and time to go on stderr; one line a stage where that is no terminal."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[eta]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("waiting", total=1.0, eta="")
        yield lambda now: bar.update(task, completed=now.fraction, description=now.stage, eta=_eta(now))


class _Lines:
    """Writes a line whenever a stage begins."""

    def __init__(self) -> None:
        self._stage = ""

    def __call__(self, now: Progress) -> None:
        if now.stage != self._stage:
            self._stage = now.stage
            print(f"{now.stage}  {now.fraction:.0%}  {_eta(now)}".rstrip(), file=sys.stderr, flush=True)


def _eta(now: Progress) -> str:
    return f"{now.eta_s:.0f} s to go" if now.eta_s >= 0 else ""
