"""Ableton Link between two processes, in a network of their own with only `lo` in it."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from tests.conftest import PATIENCE_S

FOLLOWER = """
import asyncio, json
from musicgen_bridge.follow.link import follow
asyncio.run(follow(lambda values: print(json.dumps(values), flush=True)))
"""
PEER = """
import link, sys, time
peer = link.Link(133.25)
peer.startStopSyncEnabled = peer.enabled = True
while not peer.numPeers():
    time.sleep(0.1)
time.sleep(1)
for bpm in (133.25, 97.3):
    state = peer.captureSessionState()
    state.setTempo(bpm, peer.clock().micros())
    state.setIsPlaying(True, peer.clock().micros())
    peer.commitSessionState(state)
    time.sleep(2)
peer.enabled = False
time.sleep(60)
"""
NAMESPACE = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c"]


@pytest.fixture
def alone():
    """Two processes, the follower's output and a peer, in a network namespace."""
    pytest.importorskip("link", reason="the extra is missing: pip install 'musicgen-bridge[link]'")
    if sys.platform != "linux" or subprocess.run([*NAMESPACE, "ip link set lo up"], check=False).returncode:
        pytest.skip("needs a network namespace, or every Link program on this network would hear the test")
    script = 'ip link set lo up; "$0" -c "$2" >&2 & peer=$!; "$0" -c "$1"; kill $peer'
    command = [*NAMESPACE, script, sys.executable, FOLLOWER, PEER]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    watchdog = threading.Timer(PATIENCE_S, process.kill)
    watchdog.start()
    yield process
    watchdog.cancel()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_the_tempo_and_the_transport_of_another_peer_are_followed(alone):
    told = map(json.loads, alone.stdout)
    assert next(values for values in told if values["bpm"] == 133.25 and values["playing"])
    assert next(values for values in told if values["bpm"] == 97.3)["beat"] > 0
