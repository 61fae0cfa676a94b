"""JACK's transport on its dummy driver, with another process as the timebase master; and servers that come and go."""

import asyncio
import subprocess
import sys

import pytest

from musicgen_bridge.follow import jack
from musicgen_bridge.follow.jack import session_values
from tests.conftest import PATIENCE_S
from tests.jackd import jack_server

MASTER = """
import jack, sys, time
client = jack.Client("daw", no_start_server=True)
bpm, beats, unit = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

@client.set_timebase_callback
def timebase(state, blocksize, pos, new_pos):
    pos.beats_per_minute, pos.beats_per_bar, pos.beat_type, pos.ticks_per_beat = bpm, beats, unit, 960.0
    pos.bar, pos.beat, pos.tick, pos.valid = 3, 2, 480, jack._lib.JackPositionBBT

client.activate()
client.transport_start()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def master():
    """Return a starter of a timebase master in a process of its own."""
    running = []

    def start(*words):
        command = [sys.executable, "-c", MASTER, *map(str, words)]
        running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert running[-1].stdout.readline() == "ready\n"

    yield start
    for process in running:
        process.kill()
        process.wait()


async def until(wanted, change=lambda: None):
    """Follow until something wanted is told and return it; `change` is called once the following has begun."""
    told = asyncio.Queue()
    task = asyncio.create_task(jack.follow(told.put_nowait))
    try:
        await asyncio.to_thread(change)
        async with asyncio.timeout(PATIENCE_S):
            while not wanted(values := await told.get()):
                pass
            return values
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_tempo_meter_and_position_of_the_master(master):
    with jack_server():
        master(97.5, 7, 8)
        told = asyncio.run(until(lambda values: values.get("bpm") and values["playing"]))
    beat = told.pop("beat")
    assert told == {"playing": True, "bpm": 97.5, "signature": "7/8"}
    assert 0 <= beat - (2 * 7 + 1.5) / 2 < 0.2  # and what has passed of JACK's cycle


def test_without_a_master_there_is_a_transport_but_no_tempo():
    with jack_server():
        assert asyncio.run(until(lambda values: True)) == {"playing": False}


def test_a_server_that_comes_later_or_again_is_found(master, monkeypatch):
    monkeypatch.setattr(jack, "AGAIN_S", 0.1)
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "nobody")

    async def follow():
        told = asyncio.Queue()
        task = asyncio.create_task(jack.follow(told.put_nowait))
        found = []
        try:
            for bpm in (120.0, 133.25):
                with jack_server():
                    await asyncio.to_thread(master, bpm, 4, 4)
                    async with asyncio.timeout(PATIENCE_S):
                        while (await told.get()).get("bpm") != bpm:
                            pass
                    found.append(bpm)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return found

    assert asyncio.run(follow()) == [120.0, 133.25]


def test_beats_of_a_6_8_bar_are_quarters_of_the_session():
    position = {"beats_per_minute": 90.0, "beats_per_bar": 6.0, "beat_type": 8.0, "bar": 2, "beat": 4, "tick": 0}
    told = session_values(position | {"ticks_per_beat": 1920.0})
    assert told == {"bpm": 90.0, "signature": "6/8", "beat": 4.5}


def test_a_position_is_told_as_of_now():
    position = {"beats_per_minute": 90.0, "beats_per_bar": 4.0, "beat_type": 4.0, "bar": 1, "beat": 1, "tick": 0}
    told = session_values(position | {"ticks_per_beat": 1920.0, "frame_rate": 48_000}, 480)
    assert told["beat"] == pytest.approx(0.01 * 90 / 60)
