"""The command line as these tests run it, and what it prints and writes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import soundfile

from tests.conftest import COMMAND


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MUSICGEN_BRIDGE_")}
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, encoding="utf-8", timeout=280)


def stems_of(ran: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("\n") == 1
    return json.loads(ran.stdout)["stems"]


def samples(stem: dict[str, object]) -> np.ndarray:
    return soundfile.read(str(stem["path"]))[0]
