"""Ardour: the hook in Ardour's own Lua and engine where Ardour is installed, its packets over UDP everywhere."""

import asyncio
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from pythonosc.osc_message_builder import OscMessageBuilder
from pythonosc.udp_client import SimpleUDPClient

from musicgen_bridge.follow import ardour
from musicgen_bridge.follow.session import Follow
from tests.conftest import free_port
from tests.follow.test_osc_sources import first

ROOT = Path(__file__).resolve().parents[2]


def packet(*arguments, address="/ardour/session"):
    """Return the hook's message; arguments are (type, value)."""
    builder = OscMessageBuilder(address)
    for kind, value in arguments:
        builder.add_arg(value, kind)
    return builder.build()


def session(bpm=97.499999913637, beats=7, unit=8, playing="T", beat=7.0, rate=48_000):
    return packet(("d", bpm), ("i", beats), ("i", unit), (playing, None), ("d", beat), ("i", rate))


def hear(*packets):
    """Return what is told of the last packet, after the others."""
    port, told = free_port(), []
    client = SimpleUDPClient("127.0.0.1", port)

    def source(tell):
        return ardour.follow(lambda values: (told.append(dict(values)), tell(values)), port)

    def send():
        for one in packets:
            client.send(one)

    asyncio.run(first(source, lambda values: values["bpm"] == told[-1]["bpm"], send))
    return told


def test_the_hook_s_message_is_read():
    assert hear(session())[0] == {
        "bpm": 97.5, "signature": "7/8", "playing": True, "beat": 7.0, "sample_rate": 48_000
    }  # fmt: skip
    assert hear(session(playing="F"))[0]["playing"] is False


@pytest.mark.parametrize(
    "other",
    [
        packet(("d", 97.5), address="/ardour/session"),
        packet(("i", 97), ("i", 7), ("i", 8), ("T", None), ("d", 0.0), ("i", 48_000)),
        packet(("d", 97.5), ("d", 7.0), ("i", 8), ("T", None), ("d", 0.0), ("i", 48_000)),
        packet(("d", 97.5), ("i", 7), ("i", 8), ("i", 1), ("d", 0.0), ("i", 48_000)),
        packet(("s", "97.5"), ("i", 7), ("i", 8), ("T", None), ("d", 0.0), ("i", 48_000)),
        packet(("f", 1.0), address="/transport_play"),
    ],
)
def test_a_message_that_is_not_the_hook_s_is_passed_over(other):
    assert {values["bpm"] for values in hear(other, session(bpm=141.0))} == {141.0}


@pytest.mark.parametrize(
    "nonsense",
    [{"bpm": 3159345.0}, {"bpm": float("nan")}, {"bpm": 0.0}, {"beats": 0}, {"unit": 3}, {"rate": 0}, {"beat": 1e300}],
)
def test_nonsense_is_refused_whole(nonsense):
    taken = []
    follow = Follow(["ardour"], lambda: float("-inf"), taken.append)
    for values in hear(session(**nonsense), session(bpm=141.0)):
        follow.tell("ardour", values)
    assert {values["bpm"] for values in taken} == {141.0}


needs_ardour = pytest.mark.skipif(
    shutil.which("ardour7-lua") is None or shutil.which("ardour7-export") is None,
    reason="Ardour 7 is missing: sudo apt-get install -y ardour",
)


@pytest.fixture
def real(tmp_path):
    """Ardour itself, without a window and on its own dummy backend, with a session of 97.5 in 7/8 and the hook."""
    from benchmarks.ardour import Ardour

    with closing(Ardour(tmp_path)) as program:
        program.new_session(tmp_path / "song", 97.5, "7/8")
        program.port = free_port()
        program.load_hook(program.port)
        yield program


def followed(program, wanted):
    with program.ticking():
        return asyncio.run(first(lambda tell: ardour.follow(tell, program.port), wanted))


@pytest.mark.ardour
@needs_ardour
def test_ardour_is_followed_as_it_stands_plays_and_changes_tempo(real):
    told = followed(real, lambda values: True)
    assert told == {"bpm": 97.5, "signature": "7/8", "playing": False, "beat": 0.0, "sample_rate": 48_000}
    real.roll()
    told = followed(real, lambda values: values["playing"] and values["beat"] > 1)
    assert (told["bpm"], told["signature"]) == (97.5, "7/8")
    real.stop()
    real.do("map = Temporal.TempoMap.write_copy() start = Temporal.timepos_t(0)")
    real.do("map:set_tempo(Temporal.Tempo(133.27, 133.27, 4), start) map:set_meter(Temporal.Meter(5, 4), start)")
    real.do("Temporal.TempoMap.update(map)")
    told = followed(real, lambda values: values["bpm"] != 97.5 and not values["playing"])
    assert (told["bpm"], told["signature"]) == (133.27, "5/4")


@pytest.mark.ardour
@needs_ardour
def test_from_ardour_and_back_every_figure_is_right():
    done = subprocess.run([sys.executable, ROOT / "benchmarks" / "ardour.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "onset of the stem in the bounce" in done.stdout
