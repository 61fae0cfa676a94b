"""All commands as one program: its exit codes, and how a failure is told to a person, a script or a spool."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import TextIOWrapper

import click

from musicgen_bridge import __version__
from musicgen_bridge.cli.daemon import send, start, status, stop, unload
from musicgen_bridge.cli.jobs import cancel, jobs
from musicgen_bridge.cli.machine import demo, devices, doctor, install, learn, presets, uninstall
from musicgen_bridge.cli.models import models
from musicgen_bridge.cli.spool import Spool
from musicgen_bridge.cli.takes import chroma, fit, record, recut, render
from musicgen_bridge.errors import ArgumentError, BridgeError
from musicgen_bridge.pipe import ENVIRONMENT

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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a pipe on Windows has a code page that lacks most letters
            stream.reconfigure(errors="backslashreplace")
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


@click.group(
    commands=[
        *(start, stop, status, unload, send),
        *(jobs, cancel),
        *(render, record, fit, recut, chroma),
        *(models, doctor, devices, presets, learn, install, uninstall, demo),
    ],
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="musicgen-bridge")
def cli() -> None:
    """MusicGen for the digital audio workstation: stems at the session's tempo, to the sample, in its folder."""
