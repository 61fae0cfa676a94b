"""Reaper's web interface over real HTTP; in Reaper's place a server that answers BEATPOS as its source prints it.

Reaper does not run here. One line is an answer of a real Reaper, as others published it.
"""

import asyncio
import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen_bridge.errors import ArgumentError
from musicgen_bridge.follow import reaper_web
from musicgen_bridge.follow.reaper_web import read_position, tempo_between
from tests.conftest import PATIENCE_S, free_port
from tests.follow.test_osc_sources import first

REAL = "BEATPOS\t0\t78.852902000019583\t112.000000000000000\t28\t0.000000000010000\t4\t4\n"


def answer(bpm=97.5, signature="7/8", seconds=0.0, state=1):
    """Return what Reaper would print `seconds` into a project of one tempo and signature."""
    upper, lower = map(int, signature.split("/"))
    beats = seconds * bpm / 60 * lower / 4
    measure = int(beats // upper)
    return (
        f"BEATPOS\t{state}\t{seconds:.15f}\t{beats:.15f}\t{measure}\t{beats - measure * upper:.15f}\t{upper}\t{lower}\n"
    )


class Reaper:
    """The web interface: while it plays, each answer is `step` seconds further on."""

    def __init__(self, port=0):
        self.song, self.seconds, self.step, self.status, self.asked = {}, 0.0, 0.37, 200, []
        reaper = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                reaper.asked.append(self.path)
                reaper.seconds += reaper.step
                body = reaper.body().encode()
                self.send_response(reaper.status)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()

    def body(self):
        return answer(seconds=self.seconds, state=1 if self.step else 0, **self.song)

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def reaper(monkeypatch):
    monkeypatch.setattr(reaper_web, "ASK_S", 0.01)
    monkeypatch.setattr(reaper_web, "AGAIN_S", 0.2)
    with contextlib.closing(Reaper()) as reaper:
        yield reaper


def hear(reaper, wanted, meanwhile=lambda: None):
    return asyncio.run(first(lambda tell: reaper_web.follow(tell, reaper.port), wanted, meanwhile))


def test_tempo_meter_and_transport_of_a_reaper_that_plays(reaper):
    told = hear(reaper, lambda values: "bpm" in values)
    assert set(reaper.asked) == {"/_/BEATPOS"}
    assert told == {"bpm": 97.5, "signature": "7/8", "playing": True, "beat": pytest.approx(2 * 0.37 * 97.5 / 60)}


def test_one_that_stands_has_a_meter_but_no_tempo_until_its_cursor_moves(reaper):
    reaper.step, reaper.seconds = 0.0, 12.0

    def move():
        if len(reaper.asked) > 3:
            reaper.seconds = 12.25

    told = []
    hear(reaper, lambda values: told.append(values) or "bpm" in values, move)
    assert told[0] == {"signature": "7/8", "playing": False, "beat": pytest.approx(19.5)}
    assert told[-1]["bpm"] == 97.5


def test_a_tempo_is_repeated_while_it_stands_and_forgotten_when_it_jumps():
    told = []
    song = reaper_web.Song(told.append)
    for seconds in (1.0, 1.25, 1.25, 90.0):
        song.hear(read_position(answer(seconds=seconds)))
    assert ["bpm" in values for values in told] == [False, True, True, False]


def test_a_tempo_changed_while_it_stands_is_not_told_as_the_old_one():
    told = []
    song = reaper_web.Song(told.append)
    for bpm, seconds in ((97.5, 1.0), (97.5, 1.25), (140.0, 1.25), (140.0, 1.5)):
        song.hear(read_position(answer(bpm, seconds=seconds)))
    assert [values.get("bpm") for values in told] == [None, 97.5, None, 140.0]


def test_a_reaper_that_comes_later_or_again_is_found(reaper):
    port = free_port()
    later = []

    async def follow():
        told = asyncio.Queue()
        task = asyncio.create_task(reaper_web.follow(told.put_nowait, port))
        try:
            await asyncio.sleep(0.3)
            for bpm in (120.0, 141.0):
                later.append(Reaper(port))
                later[-1].song = {"bpm": bpm}
                async with asyncio.timeout(PATIENCE_S):
                    while (await told.get()).get("bpm") != bpm:
                        pass
                await asyncio.to_thread(later[-1].close)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(follow())
    assert [bool(one.asked) for one in later] == [True, True]


@pytest.mark.parametrize(("status", "body"), [(401, ""), (404, REAL), (200, "<html>hello</html>"), (200, REAL * 100)])
def test_what_is_no_reaper_is_told_once_and_asked_on(reaper, caplog, status, body):
    reaper.status, reaper.body = status, lambda: body

    def mend():
        if len(reaper.asked) > 2:
            reaper.status, reaper.body = 200, lambda: REAL

    told = hear(reaper, lambda values: True, mend)
    assert told == {"signature": "4/4", "playing": False, "beat": pytest.approx(112)}
    assert len(caplog.records) == 1
    assert str(reaper.port) in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", "TRANSPORT\t1\t12.5\t0\t1.3.00\t1.3.00\n", REAL.strip(), REAL + REAL, REAL.replace("\t", " "),
        REAL.replace("BEATPOS\t0", "BEATPOS\t3"), REAL.replace("78.852902000019583", "nan"),
        REAL.replace("78.852902000019583", "1e999"), REAL.replace("\t4\t4", "\t0\t4"), REAL.replace("\t4\t4", "\t4\t3"),
        REAL.replace("\t28\t", "\t28.5\t"), REAL.replace("4\n", "4\t1\n"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_refused(text):
    with pytest.raises(ArgumentError):
        read_position(text)


def test_the_answer_of_a_real_reaper_is_read():
    position = read_position(REAL)
    assert (position.playing, position.seconds, position.measure) == (False, 78.852902000019583, 28)
    assert (str(position.signature), position.beats) == ("4/4", 1e-11)


@pytest.mark.parametrize(("state", "playing"), [(0, False), (1, True), (2, False), (5, True), (6, False)])
def test_recording_is_playing_and_paused_is_not(state, playing):
    assert read_position(answer(state=state)).playing is playing


@given(
    bpm=st.floats(20, 400),
    signature=st.sampled_from(["4/4", "7/8", "5/4", "3/2", "6/8", "11/16"]),
    seconds=st.floats(0, 3600),
    moved=st.floats(0.01, 0.1),
)
def test_the_tempo_is_right_over_bar_lines_and_at_any_place(bpm, signature, seconds, moved):
    upper, lower = map(int, signature.split("/"))
    moved = min(moved, upper * 4 / lower * 60 / bpm)  # a bar at most
    before, after = (read_position(answer(bpm, signature, at)) for at in (seconds, seconds + moved))
    assert tempo_between(before, after) == pytest.approx(bpm, abs=1e-3)
    assert tempo_between(after, before) == pytest.approx(bpm, abs=1e-3)


def test_nothing_is_read_from_two_signatures_or_a_jump():
    at = read_position(answer(seconds=1.0))
    assert tempo_between(at, read_position(answer(signature="4/4", seconds=1.25))) is None
    assert tempo_between(at, read_position(answer(seconds=30.0))) is None
    assert tempo_between(at, at) is None
