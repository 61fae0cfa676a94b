"""What a person sees in the terminal: progress on stderr, tables on stdout; rich is imported only where it draws."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click

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
        TextColumn("{task.fields[level]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("waiting", total=1.0, eta="", level="")
        yield lambda now: bar.update(
            task, completed=now.fraction, description=now.stage, eta=_eta(now), level=meter(now.level)
        )


def note(text: str) -> None:
    """Tell on stderr what a person should know."""
    click.secho(text, fg="yellow", err=True)


def meter(level: float | None) -> str:
    """Draw a peak in dBFS, from -60 to 0; nothing for None."""
    if level is None:
        return ""
    lit = round((min(max(level, _QUIETEST), 0) - _QUIETEST) / -_QUIETEST * _METER)
    return f"{'█' * lit}{'░' * (_METER - lit)} {level:.0f} dB{'  clips' if level > _CLIPS else ''}"


_QUIETEST, _CLIPS, _METER = -60.0, -0.1, 20


class _Lines:
    """Writes a line whenever a stage begins."""

    def __init__(self) -> None:
        self._stage = ""

    def __call__(self, now: Progress) -> None:
        if now.stage != self._stage:
            self._stage = now.stage
            told = (now.stage, f"{now.fraction:.0%}", _eta(now), meter(now.level))
            print("  ".join(filter(None, told)), file=sys.stderr, flush=True)


def _eta(now: Progress) -> str:
    return f"{now.eta_s:.0f} s to go" if now.eta_s >= 0 else ""
