"""Programs that musicians have: liblo's tools and Pure Data, as they come, against a real port."""

import subprocess
import threading
from contextlib import contextmanager

import pytest

from tests.conftest import PATIENCE_S, free_port
from tests.programs import needed

LIBLO, PURE_DATA = "liblo-tools", "puredata-core"


class Program:
    """A running program whose output is read line by line until what must come has come."""

    def __init__(self, process, stream):
        self.process, self.stream, self.lines = process, stream, []

    def says(self, *words):
        """Return the next line that holds all the words."""
        for line in self.stream:
            self.lines.append(line)
            if all(word in line for word in words):
                return line
        raise AssertionError(f"{words} never came; only: {''.join(self.lines)}")


@contextmanager
def running(*command, stream="stdout"):
    """Run a program, end it afterwards, and in any case after `PATIENCE_S`."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    watchdog = threading.Timer(PATIENCE_S, process.kill)
    watchdog.start()
    try:
        yield Program(process, getattr(process, stream))
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


@pytest.fixture
def oscdump(connect):
    """A running oscdump with its port, known to listen."""
    port = free_port()
    with running(needed("oscdump", LIBLO), "-L", str(port)) as program:
        program.port = port
        probe = connect(port=port)
        knocking, heard = threading.Event(), threading.Thread(target=program.says, args=("/knock",))
        heard.start()
        while heard.is_alive():
            probe.send("/knock", 1)
            knocking.wait(0.05)
        yield program


@pytest.fixture
def oscsend():
    def send(*words):
        subprocess.run([needed("oscsend", LIBLO), *map(str, words)], check=True, timeout=PATIENCE_S)

    return send


def test_oscsend_says_hello_and_oscdump_hears_the_answer(rig, oscsend, oscdump):
    pairs = ("proto", 1, "client", "shell", "reply_port", oscdump.port)
    oscsend("localhost", rig.port, "/musicgen/hello", "ssisssi", "o1", *pairs)
    assert '"one"' in oscdump.says("/musicgen/hello.reply", '"o1"')
    oscdump.says("/musicgen/heartbeat", '"one"')


def test_oscsendfile_plays_a_session(rig, oscdump, tmp_path):
    script = tmp_path / "session.osc"
    script.write_text(
        f"""/musicgen/hello ssssi "a" "client" "shell" "reply_port" {oscdump.port}
/musicgen/session isfssss 2 "bpm" 126.5 "signature" "7/8" "project" "{rig.song.as_posix()}"
/musicgen/ping f 3.0
/musicgen/render ssssi "r" "prompt" "dub-techno" "bars" 4
"""
    )
    subprocess.run(
        [needed("oscsendfile", LIBLO), f"osc.udp://127.0.0.1:{rig.port}", script], check=True, timeout=PATIENCE_S
    )
    oscdump.says("/musicgen/hello.reply")
    assert oscdump.says("/musicgen/pong").split()[2:4] == ["fss", "3.000000"]
    assert "126.5" in oscdump.says("/musicgen/session.reply", '"7/8"')
    assert oscdump.says("/musicgen/queued").split()[2:] == ["sii", '"r"', "1", "0"]
    assert rig.jobs.listed()[0].request.prompt == "dub-techno"


def test_oscsend_over_tcp_is_taken(rig, oscsend, udp):
    oscsend(f"osc.tcp://127.0.0.1:{rig.port}", "/musicgen/session", "isfss", 1, "bpm", 97.3, "name", "tcp")
    while rig.desk.session.name != "tcp":
        udp.ask("/musicgen/sync", 1)
    assert rig.desk.session.bpm == 97.3


@pytest.mark.parametrize(
    ("types", "values"), [("ic", (1, "x")), ("im", (1, "90404000")), ("isI", (1, "bars")), ("isN", (1, "bars"))]
)
def test_types_of_oscsend_that_are_not_taken_harm_nobody(rig, oscsend, udp, types, values):
    oscsend("localhost", rig.port, "/musicgen/session", types, *values)
    oscsend("localhost", rig.port, "/*/*", "i", 1)
    assert udp.ask("/musicgen/ping", 2).address == "/musicgen/pong"
    assert udp.values("/musicgen/status", 3)["bad_packets"] == 0


PATCH = r"""#N canvas 0 0 600 400 10;
#X obj 10 10 loadbang;
#X obj 10 30 t b b b;
#X msg 10 50 connect 127.0.0.1 {port};
#X obj 10 70 netsend -u -b;
#X obj 10 100 oscformat musicgen hello;
#X msg 10 120 1 proto 1 client pd reply_port {ear};
#X obj 200 100 oscformat musicgen session;
#X msg 200 120 2 bpm 120.1 signature 7/8 project {song};
#X obj 200 200 netreceive -u -b {ear};
#X obj 200 220 oscparse;
#X obj 200 240 print REPLY;
#X obj 300 100 oscformat musicgen render;
#X msg 300 120 3 prompt dub\ techno\ chord bars 2 loop 1;
#X obj 10 140 del 200;
#X obj 10 160 t b b b;
#X connect 0 0 1 0;
#X connect 1 2 2 0;
#X connect 2 0 3 0;
#X connect 1 0 13 0;
#X connect 13 0 14 0;
#X connect 14 2 5 0;
#X connect 5 0 4 0;
#X connect 4 0 3 0;
#X connect 14 1 7 0;
#X connect 7 0 6 0;
#X connect 6 0 3 0;
#X connect 14 0 12 0;
#X connect 12 0 11 0;
#X connect 11 0 3 0;
#X connect 8 0 9 0;
#X connect 9 0 10 0;
"""


def test_pure_data_says_hello_tells_the_session_and_renders(rig, tmp_path):
    patch = tmp_path / "client.pd"
    patch.write_text(PATCH.format(port=rig.port, ear=free_port(), song=rig.song.as_posix()))
    command = (needed("pd", PURE_DATA), "-nogui", "-noaudio", "-nomidi", "-stderr", "-open", str(patch))
    with running(*command, stream="stderr") as pd:
        assert "hello.reply 1 proto 1 version" in pd.says("REPLY", "hello.reply")
        assert "session.reply 2 bpm 120.1 signature 7/8 sample_rate 48000" in pd.says("REPLY", "session.reply")
        assert pd.says("REPLY", "queued").split()[-3:] == ["3", "1", "0"]
        rig.finish()
        assert "3 1 0 1" in pd.says("REPLY", "done")
    request = rig.jobs.listed()[0].request
    assert (request.bpm, request.prompt, request.bars, request.loop) == (120.1, "dub techno chord", 2.0, True)
