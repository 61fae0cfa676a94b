"""AbletonOSC and Reaper over real UDP; in their place a process part that sends the packets their manuals describe.

Neither program runs here: the packets are built by python-osc, which AbletonOSC itself uses, and after Reaper's
Default.ReaperOSC, bundled as Reaper does.
"""

import asyncio
import contextlib
import threading

import pytest
from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder
from pythonosc.osc_server import BlockingOSCUDPServer
from pythonosc.udp_client import SimpleUDPClient

from musicgen_bridge.follow import ableton_osc, reaper_osc
from tests.conftest import PATIENCE_S, free_port


async def first(source, wanted, meanwhile=lambda: None):
    """Return the first thing a source tells that is as wanted; `meanwhile` is called again and again until then."""
    told = asyncio.Queue()
    task = asyncio.create_task(source(told.put_nowait))
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                meanwhile()
                with contextlib.suppress(TimeoutError):
                    if wanted(values := dict(await asyncio.wait_for(told.get(), 0.1))):
                        return values
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def live():
    """A stand-in for AbletonOSC: answers /live/song/get/… to one fixed port; `song` is what Live says."""
    song = {
        "tempo": 97.3, "signature_numerator": 7, "signature_denominator": 8, "is_playing": True,
        "current_song_time": 12.5,
    }  # fmt: skip
    answered = free_port()
    dispatcher = Dispatcher()
    client = SimpleUDPClient("127.0.0.1", answered)

    def answer(address, *_):
        client.send_message(address, [song[address.rpartition("/")[2]]])

    dispatcher.map("/live/song/get/*", answer)
    server = BlockingOSCUDPServer(("127.0.0.1", 0), dispatcher)
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    yield song, server.server_address[1], answered
    server.shutdown()
    server.server_close()


def test_live_is_asked_for_tempo_meter_and_transport(live):
    _, asked, answered = live
    told = asyncio.run(first(lambda tell: ableton_osc.follow(tell, asked, answered), lambda values: len(values) == 4))
    assert told == {"bpm": 97.3, "signature": "7/8", "playing": True, "beat": 12.5}


def test_a_change_in_live_is_found(live):
    song, asked, answered = live

    def change():
        song["tempo"] = 141.0

    def source(tell):
        return ableton_osc.follow(tell, asked, answered)

    assert asyncio.run(first(source, lambda values: values["bpm"] == 141.0, change))["signature"] == "7/8"


def test_live_that_is_not_there_is_waited_for():
    nobody, answered = free_port(), free_port()

    async def wait():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ableton_osc.follow(lambda values: pytest.fail(str(values)), nobody, answered), 1.5)

    asyncio.run(wait())


def test_an_answer_that_is_none_is_passed_over():
    from musicgen_bridge.control.osc_codec import Message

    told = []
    song = ableton_osc.Song(told.append)
    for arguments in ((), ("fast",), (1.0, 2.0)):
        song.hear(Message("/live/song/get/tempo", arguments))
    song.hear(Message("/live/error", ("Observer not found",)))
    assert told == []
    song.hear(Message("/live/song/get/tempo", (120.0,)))
    assert told == [{"bpm": 120.0}]


def bundle(*messages):
    builder = OscBundleBuilder(IMMEDIATELY)
    for address, value in messages:
        message = OscMessageBuilder(address)
        message.add_arg(value)
        builder.add_content(message.build())
    return builder.build()


def test_reaper_s_bundles_are_followed_and_the_tempo_repeated_while_it_plays():
    port = free_port()
    client = SimpleUDPClient("127.0.0.1", port)
    sent = iter(
        [
            bundle(("/tempo", 0.37), ("/tempo/raw", 133.25), ("/tempo/str", "133.25"), ("/play", 1.0)),
            bundle(("/time", 3.5), ("/time/str", "0:03.500"), ("/beat/str", "2.4.00")),
        ]
    )
    told = []

    def source(tell):
        return reaper_osc.follow(lambda values: (told.append(dict(values)), tell(values)), port)

    def meanwhile():
        if len(told) % 2 == 0:  # nothing yet: the port may not be open; then the second
            client.send(bundle(("/tempo/raw", 133.25), ("/play", 1.0)) if not told else next(sent))

    asyncio.run(first(source, lambda values: len(told) >= 4, meanwhile))
    assert told[:2] == [{"bpm": 133.25}, {"bpm": 133.25, "playing": True}]
    assert told[2:4] == [{"bpm": 133.25, "playing": True}] * 2


def test_a_port_that_another_program_has_is_waited_for(caplog):
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]

        def free():
            if caplog.records:
                other.close()
            SimpleUDPClient("127.0.0.1", port).send_message("/tempo/raw", 99.0)

        told = asyncio.run(first(lambda tell: reaper_osc.follow(tell, port), lambda values: True, free))
    assert told == {"bpm": 99.0}
    assert str(port) in caplog.text
