"""The worker's process by itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from musicgen_bridge.settings import Settings

THREADS = re.compile(r"torch uses (\d+) threads")
PLAIN = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}


def torchs_own(environment: dict[str, str]) -> int:
    """Return how many threads torch would use."""
    code = "import torch; print(torch.get_num_threads())"
    return int(subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout)


@pytest.mark.parametrize("chosen", [None, 2])
def test_it_leaves_a_core_to_the_daemon_unless_the_threads_were_chosen(chosen: int | None) -> None:
    environment = PLAIN | ({"OMP_NUM_THREADS": str(chosen)} if chosen else {})
    settings = Settings(device="cpu", model="nowhere")  # which ends it, once the threads are set
    command = [sys.executable, "-m", "musicgen_bridge.worker"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as worker:
        assert worker.stdin and worker.stderr
        worker.stdin.write(json.dumps({"do": "start", "settings": settings.to_json()}) + "\n")
        worker.stdin.flush()
        log = worker.stderr.read()
    found = THREADS.search(log)
    assert found, log
    own = torchs_own(environment)
    assert int(found[1]) == (own if chosen else max(1, own - 1))


def test_the_model_does_not_wait_for_what_matching_alone_imports() -> None:
    code = "import sys, musicgen_bridge.worker.company; print([one for one in sys.modules if one.startswith('scipy.')])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "scipy.signal" not in ran.stdout
    assert "scipy.ndimage" not in ran.stdout
