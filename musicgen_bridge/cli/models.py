"""The commands on models: list, pull, verify, remove and convert."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from musicgen_bridge.cli.console import note, table
from musicgen_bridge.cli.flags import json_flag, setting_flags
from musicgen_bridge.settings import Settings


@click.group()
def models() -> None:
    """List, fetch, check and convert models."""


@models.command("list")
@json_flag
@setting_flags("demucs")
def list_(settings: Settings, as_json: bool) -> None:
    """List the models, where they are or how to fetch them, and their licences."""
    from musicgen_bridge.models import described, listing, readable

    found = listing(settings)
    if as_json:
        click.echo(json.dumps({"models": [asdict(one) for one in found]}))
        return
    table(
        ("model", "size", "licence", "where"),
        [
            (one.model, readable(one.bytes) if one.bytes else "", described(one.licence), one.folder or one.missing)
            for one in found
        ],
    )


@models.command()
@click.argument("name")
@click.option("--revision", metavar="REVISION", help="branch, tag or commit; the one pinned before when left out")
@json_flag
@setting_flags()
def pull(settings: Settings, name: str, revision: str | None, as_json: bool) -> None:
    """Fetch NAME from the Hugging Face hub: an alias, "demucs", or a name such as facebook/musicgen-small.

    Its revision and checksums are pinned. What was fetched before is kept: after a break, pull again.
    """
    from musicgen_bridge.models import hub_name, pull

    folder = pull(hub_name(name, settings), revision, note)
    click.echo(json.dumps({"folder": str(folder)}) if as_json else folder)


@models.command()
@click.argument("name")
@json_flag
@setting_flags()
def verify(settings: Settings, name: str, as_json: bool) -> int:
    """Hold the files of NAME against the checksums that were pinned when it was pulled."""
    from musicgen_bridge.models import hub_name, verify

    states = verify(hub_name(name, settings))
    if as_json:
        click.echo(json.dumps({"files": states}))
    else:
        for file, state in states.items():
            click.secho(f"{state:<8} {file}", fg=None if state == "ok" else "red")
    return int(set(states.values()) != {"ok"})


@models.command()
@click.argument("name")
@setting_flags()
def remove(settings: Settings, name: str) -> None:
    """Delete NAME from the hub's cache; it can be pulled again."""
    from musicgen_bridge.models import hub_name, readable, remove

    click.echo(f"freed {readable(remove(hub_name(name, settings)))}")


@models.command()
@click.argument("source", metavar="MODEL")
@click.argument("folder", type=click.Path(path_type=Path))
@setting_flags()
def convert(settings: Settings, source: str, folder: Path) -> None:
    """Write MODEL, an alias or a folder, to the new FOLDER in Hugging Face's layout.

    That turns Audiocraft's layout into safetensors, and merges a LoRA adapter with its model.
    """
    from musicgen_bridge.engine.convert import convert
    from musicgen_bridge.hub import downloaded
    from musicgen_bridge.settings import model_folder

    given = Path(source).expanduser()
    convert(given if given.is_dir() else model_folder(source, settings), folder, downloaded)
    click.echo(folder)
