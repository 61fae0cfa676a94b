"""The command line: each command is a few lines here; what takes longer to load is imported when it is called."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from musicgen_bridge import __version__
from musicgen_bridge.cli.flags import (
    SETTINGS,
    json_flag,
    key_flags,
    setting_flags,
    spool_flag,
    typed,
)
from musicgen_bridge.cli.jobs import cancel, jobs
from musicgen_bridge.cli.models import models
from musicgen_bridge.cli.spool import Spool
from musicgen_bridge.cli.takes import answer, chroma, fit, plain, recut, watched
from musicgen_bridge.errors import ArgumentError, BridgeError
from musicgen_bridge.keys import RENDER_KEYS, Value
from musicgen_bridge.pipe import ENVIRONMENT
from musicgen_bridge.record import RECORD_KEYS
from musicgen_bridge.settings import Settings

if TYPE_CHECKING:
    from musicgen_bridge.client import Bridge

OK, FAILED, USAGE, NO_DAEMON, INTERRUPTED = 0, 1, 2, 3, 130
EXIT_CODES = """\b
Exit codes:
  0    done
  1    a render or a command failed, or doctor found a problem
  2    an argument or a setting is wrong, or the port is taken
  3    no daemon answers
  130  interrupted"""


@dataclass
class Asked:
    """What the command line asks of the output, wherever a failure happens."""

    json: bool = False
    spool: Spool | None = None
    stems: list[dict[str, object]] = field(default_factory=list)
    """What was made before the failure, to be told with it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with one of `EXIT_CODES`; a failure is one line, never a traceback."""
    os.environ.update({**ENVIRONMENT, **os.environ})  # for the worker
    asked = Asked()
    try:
        status = cli.main(arguments, prog_name="musicgen-bridge", standalone_mode=False, obj=asked) or OK
    except click.ClickException as error:
        error.show()
        _report_failure("E_ARGS", error.format_message(), asked)
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _tell_failure("E_CANCELLED", "interrupted", asked)
        status = INTERRUPTED
    except BridgeError as error:
        _tell_failure(error.code, error.text, asked)
        status = USAGE if isinstance(error, ArgumentError) else FAILED
    except ConnectionError as error:
        _tell_failure("E_NO_DAEMON", str(error), asked)
        status = NO_DAEMON
    except Exception as error:
        _report_failure("E_INTERNAL", f"musicgen-bridge failed ({error!r}); try it in a shell to see more", asked)
        raise
    sys.exit(status)


def _tell_failure(code: str, text: str, asked: Asked) -> None:
    _report_failure(code, text, asked)
    if asked.json:
        click.echo(json.dumps(_failure(code, text, asked)))
    else:
        for stem in asked.stems:
            click.echo(stem["path"])
        for line in text.splitlines():
            click.secho(f"{code} {line}", fg="red", err=True)


def _report_failure(code: str, text: str, asked: Asked) -> None:
    if asked.spool is not None:
        asked.spool.end(_failure(code, text, asked))


def _failure(code: str, text: str, asked: Asked) -> dict[str, object]:
    made = {"stems": asked.stems} if asked.stems else {}
    return {**made, "error": {"code": code, "text": text}}


def connect(settings: Settings) -> Bridge:
    """Return a client of the daemon that the settings name; raises ConnectionError if none answers."""
    from musicgen_bridge.client import Bridge

    return Bridge.connect(settings.host, settings.port)


@click.group(
    commands=[cancel, chroma, fit, jobs, models, recut],
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="musicgen-bridge")
def cli() -> None:
    """MusicGen for the digital audio workstation: stems at the session's tempo, to the sample, in its folder."""


@cli.command()
@setting_flags(*SETTINGS)
def start(settings: Settings) -> int:
    """Run the daemon in the foreground; one line says when it is ready."""
    from musicgen_bridge.daemon import run

    return run(settings)


@cli.command()
@click.option("--now", is_flag=True, help="don't finish the jobs; the next start takes them up")
@setting_flags("host", "port", "state")
def stop(settings: Settings, now: bool) -> None:
    """End the daemon once its jobs are done, and wait until it is gone."""
    from socket import SOCK_DGRAM

    from musicgen_bridge.cli.doctor import taken
    from musicgen_bridge.daemon import read_token

    with connect(settings) as bridge:
        bridge.request("/musicgen/quit" if now else "/musicgen/drain", {"token": read_token(settings.home)})
    while taken(settings, SOCK_DGRAM):
        time.sleep(0.1)


@cli.command()
@json_flag
@setting_flags("host", "port")
def status(settings: Settings, as_json: bool) -> None:
    """Tell how the daemon is."""
    from musicgen_bridge.client import pairs

    with connect(settings) as bridge:
        (reply,) = bridge.request("/musicgen/status")
        values = {"version": bridge.version, "instance": bridge.instance, **pairs(reply)}
    if as_json:
        click.echo(json.dumps(values))
    else:
        _table(("", ""), list(values.items()))


@cli.command()
@click.argument("model", required=False)
@setting_flags("host", "port")
def unload(settings: Settings, model: str | None) -> None:
    """Have the daemon's MODEL, or all of them, leave memory once no job is in hand; what is used is loaded again."""
    with connect(settings) as bridge:
        bridge.request("/musicgen/unload", {"model": model} if model else {})


@cli.command()
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
    from musicgen_bridge.cli.console import note
    from musicgen_bridge.cli.rendering import render

    words: dict[str, Value] = {} if prompt is None else {"prompt": prompt}
    with watched(spool) as (tell, left):
        stems = render(settings, {**left, **words, **keys}, preset, again, tell, note)
    answer([plain(stem) for stem in stems], spool, as_json)


@cli.command()
@key_flags(RECORD_KEYS)
@json_flag
@setting_flags("host", "port")
def record(settings: Settings, as_json: bool, keys: dict[str, Value]) -> None:
    """Record an input, to be used as a melody, and print the file's path.

    It begins at the session's next bar line, or at once while nothing plays, and shows the input's level.
    """
    from dataclasses import asdict

    from musicgen_bridge.cli.console import note, progress
    from musicgen_bridge.cli.rendering import record

    with progress() as tell:
        file = record(settings, keys, tell, note)
    click.echo(json.dumps({"recording": asdict(file)}) if as_json else file.path)


@cli.command()
@json_flag
def devices(as_json: bool) -> None:
    """List the audio devices: inputs to record, outputs on which a render can be heard."""
    from musicgen_bridge.ports import audio_devices

    found = [{"kind": kind, **device} for kind in ("input", "output") for device in audio_devices(kind)]
    if as_json:
        click.echo(json.dumps({"devices": found}))
        return
    rows = [
        [one["kind"], one["name"], one["api"], one["channels"], one["rate"], "default" if one["default"] else ""]
        for one in found
    ]
    _table(("", "name", "system", "channels", "Hz", ""), rows)


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("address")
@click.argument("values", nargs=-1, metavar="[KEY VALUE]…")
@click.option("--wait", is_flag=True, help="follow a job to its end instead of its acceptance")
@setting_flags("host", "port")
def send(settings: Settings, address: str, values: tuple[str, ...], wait: bool) -> None:
    """Send a request to the daemon and print the answer.

    ADDRESS is one of the protocol's, such as /musicgen/ping; values that read as numbers are sent as numbers.
    """
    if not address.startswith("/"):
        raise click.UsageError(f"an address begins with a slash, such as /musicgen/{address}")
    if len(values) % 2:
        raise click.UsageError(f"{values[-1]} has no value; give pairs of key and value")
    given = {key: typed(key, value) for key, value in zip(values[::2], values[1::2], strict=True)}
    from musicgen_bridge.client import ANSWER_S, RESTART_S

    with connect(settings) as bridge:
        for reply in bridge.replies(bridge.new_id(), address, given, patience=RESTART_S if wait else ANSWER_S):
            click.echo(" ".join([reply.address, *(_shown(value) for value in reply.arguments[1:])]))
            if reply.address == "/musicgen/queued" and not wait:
                break


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) and not value.isprintable() else str(value)


@cli.command()
@json_flag
@setting_flags("presets")
def presets(settings: Settings, as_json: bool) -> None:
    """List the presets, the user's own over the shipped ones."""
    from musicgen_bridge.presets import Presets, shipped

    found = Presets(shipped(), settings.presets)
    for problem in found.problems:
        click.secho(problem, fg="yellow", err=True)
    columns = ("slot", "name", "role", "genre", "summary")
    if as_json:
        listed = [{name: getattr(one, name) for name in columns} | {"render": one.render} for one in found.all()]
        click.echo(json.dumps({"presets": listed}))
    else:
        _table(columns, [[getattr(one, name) for name in columns] for one in found.all()])


@cli.command()
@json_flag
@setting_flags("model", "device", "host", "port", "project", "roots", "demucs", "presets", "state")
def doctor(settings: Settings, as_json: bool) -> int:
    """Look at this machine and tell what to do.

    That is: device, packages, port, folders, models, presets, MIDI, audio and audio files.
    """
    from dataclasses import asdict

    from musicgen_bridge.cli.doctor import examine

    colours = {"ok": "green", "warning": "yellow", "problem": "red"}
    found = []
    for finding in examine(settings):
        found.append(finding)
        if not as_json:
            click.secho(f"{finding.state:<8}", fg=colours[finding.state], nl=False)
            click.echo(f" {finding.area:<9} {finding.text}")
            if finding.advice:
                click.echo(f"{'':<19}{finding.advice}")
    if as_json:
        click.echo(json.dumps({"findings": [asdict(finding) for finding in found]}))
    return FAILED if any(finding.state == "problem" for finding in found) else OK


@cli.command()
@setting_flags("presets")
def learn(settings: Settings) -> None:
    """Write the map of a MIDI controller: press its pads and turn its knobs as asked."""
    from musicgen_bridge.control.learn import run

    click.echo(run(settings.presets / "controllers", click.echo))


_PROGRAM = click.Choice(["live", "max", "ardour", "reaper"])


@cli.command()
@click.argument("program", type=_PROGRAM)
@click.option("--dest", type=click.Path(path_type=Path), metavar="FOLDER", help="copy them here instead")
@setting_flags("state")
def install(settings: Settings, program: str, dest: Path | None) -> None:
    """Copy the device or the scripts to where PROGRAM looks: live, max, ardour or reaper.

    An older copy is replaced; a file of yours, or one that you changed, is not.
    """
    from musicgen_bridge.cli.install import PROGRAMS, install

    click.echo(f"copied to {install(program, settings.state, dest)}")
    click.echo(f"next: {PROGRAMS[program].then}")


@cli.command()
@click.argument("program", type=_PROGRAM)
@setting_flags("state")
def uninstall(settings: Settings, program: str) -> None:
    """Take back what install copied for PROGRAM; files that were changed since stay."""
    from musicgen_bridge.cli.install import uninstall

    folder, kept = uninstall(program, settings.state)
    click.echo(f"removed from {folder}")
    for path in kept:
        click.echo(f"kept, since it was changed: {path}")


@cli.command()
@click.option(
    "--project",
    type=click.Path(path_type=Path),
    default="demo-project",
    metavar="FOLDER",
    help="where it leaves its stems; created if need be, demo-project when left out",
)
def demo(project: Path) -> int:
    """Play the part of a DAW in a demo project.

    A daemon of its own is started on the embedded model, does three renders over UDP, and is ended again.
    """
    from musicgen_bridge.cli.demo import run

    return run(project)


def _table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    from musicgen_bridge.cli.console import table

    table(headers, rows)


if __name__ == "__main__":
    main()
