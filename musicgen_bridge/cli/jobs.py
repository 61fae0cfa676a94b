"""The commands on the daemon's queue: everybody's jobs are listed, and ended."""

from __future__ import annotations

import json
from typing import Any

import click

from musicgen_bridge.cli.console import table
from musicgen_bridge.cli.daemon import connect
from musicgen_bridge.cli.flags import json_flag, setting_flags
from musicgen_bridge.settings import Settings

OPEN = ("queued", "running")


def listed(settings: Settings) -> list[dict[str, Any]]:
    """Return the newest jobs of every client as the daemon lists them, oldest first.

    Raises:
        ConnectionError: no daemon answers.
    """
    from musicgen_bridge.client import pairs

    with connect(settings) as bridge:
        replies = bridge.request("/musicgen/list", {"what": "jobs"})
    return [pairs(reply, 3) for reply in reversed(replies) if len(reply.arguments) > 3]


@click.command()
@json_flag
@setting_flags("host", "port")
def jobs(settings: Settings, as_json: bool) -> None:
    """List the daemon's jobs, of every client: those that wait or run, and the newest that have ended."""
    found = listed(settings)
    if as_json:
        click.echo(json.dumps({"jobs": found}))
        return
    rows = []
    for one in found:
        running = f"{one['fraction']:.0%}" if one["state"] == "running" else ""
        rows.append([one["job"], one["state"], running, one["client"], one["prompt"]])
    table(("job", "state", "", "client", "prompt"), rows)


@click.command()
@click.argument("numbers", nargs=-1, type=int, metavar="[JOB]…")
@click.option("--all", "every", is_flag=True, help="every job that waits or runs")
@setting_flags("host", "port")
def cancel(settings: Settings, numbers: tuple[int, ...], every: bool) -> None:
    """End jobs by their numbers, whoever asked for them; `jobs` lists them."""
    if bool(numbers) == every:
        raise click.UsageError("name jobs by their numbers, as musicgen-bridge jobs lists them, or give --all")
    if every:
        numbers = tuple(one["job"] for one in listed(settings) if one["state"] in OPEN)
    with connect(settings) as bridge:
        for number in reversed(numbers):  # the last first: else one that waits begins meanwhile
            bridge.request("/musicgen/cancel", {"job": number})
