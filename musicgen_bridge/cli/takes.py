"""The commands on audio: takes are rendered and cut anew, recordings are made and fitted, melodies are drawn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from musicgen_bridge.asking.keys import FIT_KEYS, MELODY_KEYS, RENDER_KEYS, Value
from musicgen_bridge.asking.record import RECORD_KEYS
from musicgen_bridge.asking.recut import RECUT_KEYS
from musicgen_bridge.cli.console import note, progress
from musicgen_bridge.cli.flags import json_flag, key_flags, setting_flags, spool_flag
from musicgen_bridge.cli.spool import Spool
from musicgen_bridge.errors import BridgeError, from_code
from musicgen_bridge.request import Progress, Stem
from musicgen_bridge.settings import Settings


def plain(stem: Stem) -> dict[str, object]:
    """Return what the command line says of a stem."""
    return {name: getattr(stem, name) for name in ("path", "frames", "sample_rate", "bpm", "seed")}


def answer(stems: Sequence[Mapping[str, object]], spool: Spool | None, as_json: bool) -> None:
    """Say which stems there are now, to whoever asked."""
    if spool is not None:
        spool.end({"stems": list(stems)})
    if as_json:
        click.echo(json.dumps({"stems": list(stems)}))
    else:
        for stem in stems:
            click.echo(stem["path"])


@contextmanager
def watched(spool: Spool | None) -> Iterator[tuple[Callable[[Progress], None], dict[str, Value]]]:
    """Yield who is told of progress, and the keys in the spool's request: none without a spool."""
    with progress() as tell:
        if spool is None:
            yield tell, {}
        else:
            left = spool.request()
            spool.progress(Progress(fraction=0.0, eta_s=-1.0, stage="waiting"))
            yield spool.progress, left


@click.command()
@click.argument("prompt", required=False)
@key_flags(RENDER_KEYS, but="prompt")
@click.option("--preset", metavar="NAME", help="what is left out comes from this preset; a name or a slot number")
@click.option(
    "--again", type=click.Path(path_type=Path), metavar="FILE", help="the .json beside a stem: that take again"
)
@spool_flag
@json_flag
@setting_flags("host", "port", "device", "dtype", "roots", "demucs", "presets")
def render(
    settings: Settings,
    prompt: str | None,
    preset: str | None,
    again: Path | None,
    spool: Spool | None,
    as_json: bool,
    keys: dict[str, Value],
) -> None:
    """Render PROMPT to stems and print their paths.

    They lie in the project's MusicGen folder. The daemon renders where one runs, and its session counts; else this
    command loads the model and renders once by itself, in the current folder where no --project is given.
    """
    from musicgen_bridge.cli.rendering import render

    words: dict[str, Value] = {} if prompt is None else {"prompt": prompt}
    with watched(spool) as (tell, left):
        stems = render(settings, {**left, **words, **keys}, preset, again, tell, note)
    answer([plain(stem) for stem in stems], spool, as_json)


@click.command()
@key_flags(RECORD_KEYS)
@json_flag
@setting_flags("host", "port")
def record(settings: Settings, as_json: bool, keys: dict[str, Value]) -> None:
    """Record an input, to be used as a melody, and print the file's path.

    It begins at the session's next bar line, or at once while nothing plays, and shows the input's level.
    """
    from musicgen_bridge.cli.rendering import record

    with progress() as tell:
        file = record(settings, keys, tell, note)
    click.echo(json.dumps({"recording": asdict(file)}) if as_json else file.path)


@click.command()
@click.argument("files", nargs=-1, metavar="FILE…", type=click.Path(path_type=Path))
@key_flags(FIT_KEYS, but="file")
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help="write there and not to the project")
@spool_flag
@json_flag
@setting_flags("host", "port", "device", "roots", "demucs")
def fit(
    settings: Settings,
    files: tuple[Path, ...],
    out: Path | None,
    spool: Spool | None,
    as_json: bool,
    keys: dict[str, Value],
) -> None:
    """Bring recordings to the session, as a render is: its tempo, bars, sample rate and loudness; print their paths.

    What is left out comes from the daemon's session where one runs; the length is the recording's own. One that fails
    does not keep the others from being done. --json tells what was heard and done, with warnings.
    """
    from musicgen_bridge.cli.rendering import facts, fit

    stems: list[dict[str, object]] = click.get_current_context().obj.stems
    failures: list[tuple[str, BridgeError]] = []
    with watched(spool) as (tell, left):
        wanted: list[dict[str, Value]] = [{**left, **keys, "file": str(file)} for file in files]
        if not wanted and spool is None:
            raise click.UsageError("name a recording")
        wanted = wanted or [{**left, **keys}]
        for one in wanted:
            name = str(one.get("file"))
            try:
                made = [(stem, facts(stem)) for stem in fit(settings, one, out, tell)]
            except BridgeError as error:
                failures.append((name, error))
                continue
            stems += [{"file": name, **plain(stem), **heard} for stem, heard in made]
            for warning in dict.fromkeys(text for _, heard in made for text in heard["warnings"]):
                click.secho(f"{name}: {warning}", fg="yellow", err=True)
    if failures:
        raise _together(failures, len(wanted))
    answer(stems, spool, as_json)


def _together(failures: Sequence[tuple[str, BridgeError]], wanted: int) -> BridgeError:
    """Return what tells of them all: the first, with a line for each recording where only some of several failed."""
    first = failures[0][1]
    if len(failures) == wanted and len({error.text for _, error in failures}) == 1:
        return first
    return from_code(first.code, "\n".join(f"{file}: {error.text}" for file, error in failures))


@click.command()
@click.argument("take", required=False, metavar="FILE", type=click.Path(path_type=Path))
@key_flags(RECUT_KEYS, but="take")
@spool_flag
@json_flag
@setting_flags("host", "port", "roots")
def recut(settings: Settings, take: Path | None, spool: Spool | None, as_json: bool, keys: dict[str, Value]) -> None:
    """Cut an earlier take anew from what the model made of it, and print the new stem's path.

    FILE is a stem or its sidecar, in the project's MusicGen folder. Its downbeat, length, tempo or loudness changes;
    what is left out stays as it is. The stem that is there stays too.
    """
    from musicgen_bridge.cli.rendering import recut

    named: dict[str, Value] = {} if take is None else {"take": str(take)}
    with watched(spool) as (tell, left):
        stems = recut(settings, {**left, **keys, **named}, tell, note)
    answer([plain(stem) for stem in stems], spool, as_json)


@click.command()
@click.argument("recording", metavar="FILE", type=click.Path(path_type=Path))
@key_flags(MELODY_KEYS, but="melody")
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help="write there, not beside FILE")
@setting_flags("roots", "demucs")
def chroma(settings: Settings, recording: Path, out: Path | None, keys: dict[str, Value]) -> None:
    """Draw the melody that a model would hear in FILE as an SVG picture, and print its path.

    That is the loudest pitch class, about eight times a second: where it is not the tune that you hear, choose another
    part or section.
    """
    from musicgen_bridge.cli.melody_picture import picture

    click.echo(picture(settings, {**keys, "melody": str(recording)}, out))
