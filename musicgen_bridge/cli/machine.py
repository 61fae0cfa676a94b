"""The commands on this machine: what it has and lacks, what is installed in which program, and the demonstration."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from musicgen_bridge.cli.console import table
from musicgen_bridge.cli.flags import json_flag, setting_flags
from musicgen_bridge.settings import Settings

_PROGRAM = click.Choice(["live", "max", "ardour", "reaper"])


@click.command()
@json_flag
@setting_flags("model", "device", "host", "port", "project", "roots", "demucs", "presets", "state")
def doctor(settings: Settings, as_json: bool) -> int:
    """Look at this machine and tell what to do.

    That is: device, packages, port, folders, models, presets, MIDI, audio and audio files.
    """
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
    return int(any(finding.state == "problem" for finding in found))


@click.command()
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
    table(("", "name", "system", "channels", "Hz", ""), rows)


@click.command()
@json_flag
@setting_flags("presets")
def presets(settings: Settings, as_json: bool) -> None:
    """List the presets, the user's own over the shipped ones."""
    from musicgen_bridge.asking.presets import Presets, shipped

    found = Presets(shipped(), settings.presets)
    for problem in found.problems:
        click.secho(problem, fg="yellow", err=True)
    columns = ("slot", "name", "role", "genre", "summary")
    if as_json:
        listed = [{name: getattr(one, name) for name in columns} | {"render": one.render} for one in found.all()]
        click.echo(json.dumps({"presets": listed}))
    else:
        table(columns, [[getattr(one, name) for name in columns] for one in found.all()])


@click.command()
@setting_flags("presets")
def learn(settings: Settings) -> None:
    """Write the map of a MIDI controller: press its pads and turn its knobs as asked."""
    from musicgen_bridge.control.learn import run

    click.echo(run(settings.presets / "controllers", click.echo))


@click.command()
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


@click.command()
@click.argument("program", type=_PROGRAM)
@setting_flags("state")
def uninstall(settings: Settings, program: str) -> None:
    """Take back what install copied for PROGRAM; files that were changed since stay."""
    from musicgen_bridge.cli.install import uninstall

    folder, kept = uninstall(program, settings.state)
    click.echo(f"removed from {folder}")
    for path in kept:
        click.echo(f"kept, since it was changed: {path}")


@click.command()
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
