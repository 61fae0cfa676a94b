"""The commands on the daemon: it is started, asked, told, and ended."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from musicgen_bridge.cli.console import table
from musicgen_bridge.cli.flags import SETTINGS, json_flag, setting_flags, typed
from musicgen_bridge.settings import Settings

if TYPE_CHECKING:
    from musicgen_bridge.client import Bridge


def connect(settings: Settings) -> Bridge:
    """Return a client of the daemon that the settings name; raises ConnectionError if none answers."""
    from musicgen_bridge.client import Bridge

    return Bridge.connect(settings.host, settings.port)


@click.command()
@setting_flags(*SETTINGS)
def start(settings: Settings) -> int:
    """Run the daemon in the foreground; one line says when it is ready."""
    from musicgen_bridge.daemon import run

    return run(settings)


@click.command()
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


@click.command()
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
        table(("", ""), list(values.items()))


@click.command()
@click.argument("model", required=False)
@setting_flags("host", "port")
def unload(settings: Settings, model: str | None) -> None:
    """Have the daemon's MODEL, or all of them, leave memory once no job is in hand; what is used is loaded again."""
    with connect(settings) as bridge:
        bridge.request("/musicgen/unload", {"model": model} if model else {})


@click.command(context_settings={"ignore_unknown_options": True})
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
