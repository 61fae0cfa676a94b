"""The sockets under bad packets, slow clients and full ports, and the clock of the timetags."""

import asyncio
import errno
import socket
import struct
import threading
import time

import pytest
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder

from musicgen_bridge.control.intake import MAX_WAITING
from musicgen_bridge.control.osc import MAX_AHEAD_S, MAX_CONNECTIONS, MAX_UNREAD, Server, serve
from musicgen_bridge.control.osc_codec import MAX_PACKET
from tests.conftest import free_port

NEGATIVE_SIZE = b"#bundle\0\0\0\0\0\0\0\0\1\xff\xff\xff\xfc"


def message(address, *arguments):
    builder = OscMessageBuilder(address)
    for argument in arguments:
        builder.add_arg(argument)
    return builder.build()


def bundle(*parts, at=IMMEDIATELY):
    builder = OscBundleBuilder(at)
    for part in parts:
        builder.add_content(part)
    return builder.build()


def bad_packets(client):
    return client.values("/musicgen/status", "count")["bad_packets"]


# what python-osc, as a server, dies of


@pytest.mark.parametrize(
    "data",
    [NEGATIVE_SIZE, b"", b"/", b"#bundle", b"/musicgen/ping\0\0,i\0\0", b"/a\0\0,z\0\0\0\0\0\1", b"\xff" * 64],
    ids=["negative size", "empty", "slash", "half a bundle", "no value", "unknown type", "noise"],
)
def test_what_cannot_be_parsed_is_counted_and_not_answered(udp, data):
    udp.send_bytes(data)
    assert udp.hears_nothing_more()
    assert bad_packets(udp) == 1


def test_a_packet_of_60_kilobytes_is_taken(client):
    assert "prompt is 60000 characters long" in client.fails("/musicgen/render", 1, "prompt", "x" * 60_000)
    ids = [f"{number:064}" for number in range(64)]
    client.osc.send(bundle(*(message("/musicgen/session", each, "name", "n" * 200) for each in ids)))
    assert [client.hear("/musicgen/session.reply").arguments[0] for _ in ids] == ids


def test_a_burst_of_half_a_megabyte_waits_for_the_loop(rig, udp):
    if rig.server.receive_buffer < 2**20:
        pytest.skip("this system gives UDP less than a megabyte")
    udp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 2**20)
    release = threading.Event()
    rig.loop.call_soon_threadsafe(release.wait, 20)
    for number in range(500):
        udp.send("/musicgen/session", number, "name", "🥁" * 200)
    release.set()
    assert [udp.hear("/musicgen/session.reply").arguments[0] for _ in range(500)] == list(range(500))


# bundles and timetags


def test_a_bundle_is_run_in_order(client):
    nested = bundle(message("/musicgen/session", 2, "bpm", 90), message("/musicgen/sync", 3))
    client.osc.send(bundle(message("/musicgen/session", 1, "bpm", 80), nested))
    heard = [client.hear() for _ in range(3)]
    assert [each.arguments[0] for each in heard] == [1, 2, 3]
    assert [each.arguments[2] for each in heard[:2]] == [80.0, 90.0]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (message("/musicgen/session", 2, "bmp", 90), "E_ARGS"),
        (message("/musicgen/nothing", 2), "E_PROTO"),
        (bundle(message("/musicgen/ping", 2), at=time.time() + 3600), "E_TIME"),
    ],
    ids=["key", "address", "time"],
)
def test_a_bundle_with_one_wrong_message_is_not_run_at_all(rig, client, wrong, code):
    client.osc.send(bundle(message("/musicgen/session", 1, "bpm", 80), wrong, message("/musicgen/ping", 3)))
    failures = {client.hear("/musicgen/fail").arguments[0:3:2] for _ in range(3)}
    assert failures == {(1, "E_ARGS"), (2, code), (3, "E_ARGS")}
    assert client.hears_nothing_more()
    assert rig.desk.session.bpm == 120.0


def test_a_bundle_that_breaks_off_is_not_run_at_all(rig, udp):
    udp.send_bytes(bundle(message("/musicgen/session", 1, "bpm", 80)).dgram + NEGATIVE_SIZE[-4:])
    assert udp.hears_nothing_more()
    assert rig.desk.session.bpm == 120.0


@pytest.mark.parametrize("timetag", [0, 1, 2, "past"])
def test_immediate_and_past_mean_now(client, timetag):
    if timetag == "past":
        timetag = int((time.time() + 2_208_988_800 - 5) * 2**32)
    data = bundle(message("/musicgen/ping", 1)).dgram
    client.send_bytes(data[:8] + struct.pack(">Q", timetag) + data[16:])
    assert client.hear("/musicgen/pong").arguments[0] == 1


def test_what_lies_ahead_waits_for_its_time_and_holds_nothing_up(client):
    at = time.time() + 1.0
    client.osc.send(bundle(message("/musicgen/session", 1, "bpm", 80), message("/musicgen/session", 2), at=at))
    client.osc.send(bundle(message("/musicgen/session", 3), at=at))
    client.osc.send(bundle(message("/musicgen/session", 4), at=at - 0.5))
    assert client.ask("/musicgen/session", 5).arguments[2] == 120.0
    assert client.ask("/musicgen/sync", 6).arguments == (6,)
    heard = [client.hear("/musicgen/session.reply").arguments for _ in range(4)]
    assert time.time() >= at
    assert [arguments[0] for arguments in heard] == [4, 1, 2, 3]
    assert [arguments[2] for arguments in heard] == [120.0, 80.0, 80.0, 80.0]


def test_what_lies_too_far_ahead_is_refused(client):
    client.osc.send(bundle(message("/musicgen/ping", 1), at=time.time() + MAX_AHEAD_S + 5))
    assert client.hear("/musicgen/fail").arguments[:3] == (1, "/musicgen/ping", "E_TIME")


def test_a_wrong_message_is_refused_before_its_time(client):
    client.osc.send(bundle(message("/musicgen/render", 1, "bars", 0), at=time.time() + 30))
    assert client.hear("/musicgen/fail").arguments[:3] == (1, "/musicgen/render", "E_ARGS")


def test_no_more_than_so_many_wait_for_their_time(tcp):
    later = time.time() + 50
    for start in range(0, MAX_WAITING, 64):
        tcp.osc.send(bundle(*(message("/musicgen/ping", start + at) for at in range(64)), at=later))
    tcp.osc.send(bundle(message("/musicgen/ping", "one too many"), at=later))
    failure = tcp.hear("/musicgen/fail").arguments
    assert (failure[0], failure[2], failure[4]) == ("one too many", "E_BUSY", 1000)


def test_no_more_than_so_many_stand_in_line(rig, tcp, connect):
    release = threading.Event()
    rig.devices = lambda kind: [{"name": str(release.wait(20))}]
    tcp.send("/musicgen/list", "slow", "what", "inputs")
    for number in range(MAX_WAITING + 2):
        tcp.send("/musicgen/sync", number)
    failure = tcp.hear("/musicgen/fail").arguments
    assert (failure[2], failure[4]) == ("E_BUSY", 200)
    assert connect().ask("/musicgen/ping", 1).address == "/musicgen/pong"
    release.set()


# TCP


def test_frames_may_come_in_any_pieces(tcp):
    frames = b""
    for number in range(3):
        data = message("/musicgen/ping", number).dgram
        frames += len(data).to_bytes(4, "big") + data
    for at in range(len(frames)):
        tcp.socket.sendall(frames[at : at + 1])
    tcp.socket.sendall(frames)
    assert [tcp.hear("/musicgen/pong").arguments[0] for _ in range(6)] == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("size", [-1, 0, MAX_PACKET + 1, 2**31 - 1])
def test_a_frame_of_impossible_size_ends_its_connection_only(rig, tcp, udp, size):
    tcp.socket.sendall(struct.pack(">i", size) + b"x" * 100)
    assert ended(tcp.socket)
    assert bad_packets(udp) == 1
    assert rig.server.streams == {}


def ended(sock):
    """Whether the peer has closed the connection, as it must within the socket's patience."""
    try:
        while sock.recv(65_536):
            pass
    except ConnectionError:
        pass
    return True


def test_a_bad_packet_in_a_good_frame_does_not_end_the_connection(tcp):
    tcp.send_bytes(NEGATIVE_SIZE)
    assert tcp.ask("/musicgen/ping", 1).address == "/musicgen/pong"
    assert bad_packets(tcp) == 1


@pytest.mark.parametrize("begin", [b"POST / HTTP/1.1", b"GET / HTTP/1.1", b"PRI * HTTP/2.0", b"\x16\x03\x01\x02"])
def test_no_web_page_can_hide_a_packet_in_what_a_browser_sends(tcp, udp, begin):
    packet = message("/musicgen/session", 1, "name", "theirs").dgram
    body = len(packet).to_bytes(4, "big") + packet
    tcp.socket.sendall(begin + b"\r\nHost: 127.0.0.1:32050\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert ended(tcp.socket)
    assert udp.values("/musicgen/session", 2)["name"] == ""


def test_half_a_frame_holds_nobody_up(tcp, connect):
    tcp.socket.sendall(struct.pack(">i", 1000) + b"/musicgen")
    other = connect("tcp")
    assert other.ask("/musicgen/ping", 1).address == "/musicgen/pong"
    assert other.ask("/musicgen/session", 2, "bpm", 80).address == "/musicgen/session.reply"


def test_a_client_that_never_reads_is_cut_off(rig, connect):
    deaf, other = connect("tcp"), connect("tcp")
    data = message("/musicgen/status", "x" * 64).dgram
    frames = (len(data).to_bytes(4, "big") + data) * 100
    with pytest.raises(ConnectionError):
        for _ in range(50 * MAX_UNREAD // len(frames)):
            deaf.socket.sendall(frames)
    assert other.ask("/musicgen/ping", 1).address == "/musicgen/pong"
    assert list(rig.server.streams) == [other.address]


def test_one_connection_too_many_closes_the_one_silent_longest(rig, connect):
    first, *others = [connect("tcp") for _ in range(MAX_CONNECTIONS)]
    for each in (first, *others):
        each.ask("/musicgen/ping", 1)
    first.ask("/musicgen/ping", 2)
    newest = connect("tcp")
    assert newest.ask("/musicgen/ping", 3).address == "/musicgen/pong"
    assert ended(others[0].socket)
    assert first.ask("/musicgen/ping", 4).address == "/musicgen/pong"
    assert len(rig.server.streams) == MAX_CONNECTIONS


def test_a_client_that_has_gone_is_forgotten(rig, tcp, udp):
    tcp.ask("/musicgen/hello", 1, "client", "gone")
    tcp.ask("/musicgen/render", 2, "prompt", "x")
    tcp.close()
    while rig.server.streams:
        udp.ask("/musicgen/ping", 1)
    rig.finish()
    assert rig.on_loop(lambda: rig.desk._clients.leased(0.0)) == []
    assert udp.ask("/musicgen/ping", 1).address == "/musicgen/pong"


def test_replies_to_a_closed_port_harm_nobody(udp, connect):
    gone = connect()
    gone.ask("/musicgen/subscribe", 1)
    gone.close()
    for number in range(5):
        assert udp.ask("/musicgen/render", number, "prompt", "x").address == "/musicgen/queued"


# the port


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["UDP", "TCP"])
def test_a_busy_port_is_an_os_error_and_leaves_nothing_open(kind):
    port = free_port()
    with socket.socket(socket.AF_INET, kind) as holder:
        holder.bind(("127.0.0.1", port))
        if kind == socket.SOCK_STREAM:
            holder.listen()
        with pytest.raises(OSError):
            asyncio.run(serve(port=port))

    async def again():
        await (await serve(port=port)).close()

    asyncio.run(again())


def test_of_any_port_one_is_found_that_is_free_for_both(monkeypatch):
    taken = [OSError(errno.EADDRINUSE, "for UDP only"), OSError(errno.EADDRINUSE, "for UDP only")]
    opened = Server._open

    async def open_third(server, host, port):
        if taken:
            raise taken.pop()
        await opened(server, host, port)

    async def serve_any():
        server = await serve(port=0)
        await server.close()
        return server.port

    monkeypatch.setattr(Server, "_open", open_third)
    assert asyncio.run(serve_any()) > 0


def test_only_this_machine_is_listened_to_unless_told(rig):
    hosts = {sock.getsockname()[0] for sock in rig.server._listener.sockets}
    assert hosts == {"127.0.0.1"}
    assert rig.server._datagrams._transport.get_extra_info("sockname") == ("127.0.0.1", rig.port)


def test_ipv6_works_the_same(make_rig):
    try:
        rig = make_rig(host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    data = message("/musicgen/ping", 1).dgram
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp, socket.create_connection(("::1", rig.port)) as tcp:
        udp.settimeout(20)
        udp.sendto(data, ("::1", rig.port))
        assert udp.recv(1400).startswith(b"/musicgen/pong")
        tcp.settimeout(20)
        tcp.sendall(len(data).to_bytes(4, "big") + data)
        assert tcp.recv(1400)[4:].startswith(b"/musicgen/pong")


def test_the_receive_buffer_is_what_the_system_gave(rig):
    sock = rig.server._datagrams._transport.get_extra_info("socket")
    assert rig.server.receive_buffer == sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        assert rig.server.receive_buffer > plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
