"""What each request does and answers, over real sockets, UDP and TCP alike."""

import sys
import threading

import pytest

from musicgen_bridge.control.commands import LEASE_S, MAX_PROJECT_BYTES
from musicgen_bridge.request import Progress
from tests.conftest import PATIENCE_S

RENDER = ("/musicgen/render", "r1", "prompt", "dub chord", "bars", 2)
HALF = Progress(fraction=0.5, eta_s=3.0, stage="generating")


# hello, ping, status, sync


def test_hello_introduces_the_daemon(client):
    said = client.values("/musicgen/hello", "h", "proto", 1, "client", "live", "reply_port", 0)
    assert said == {"proto": 1, "version": said["version"], "instance": "one", "lease_s": LEASE_S, "max_bytes": 65_536}


def test_hello_of_another_protocol_is_refused(client):
    assert client.fails("/musicgen/hello", "h", "proto", 2).startswith("E_PROTO protocol 2")


def test_hello_needs_no_token_but_no_wrong_one_either(client):
    assert client.ask("/musicgen/hello", "h", "token", "a-long-secret").address == "/musicgen/hello.reply"
    assert client.fails("/musicgen/hello", "h", "token", "a-long-secre").startswith("E_AUTH")
    assert client.fails("/musicgen/hello", "h", "token", "").startswith("E_AUTH")


def test_replies_go_to_the_port_that_hello_names(udp, connect):
    ear, other = connect(), connect()
    udp.send("/musicgen/hello", 1, "client", "max", "reply_port", ear.socket.getsockname()[1])
    udp.send("/musicgen/ping", 2)
    udp.send("/musicgen/render", 3, "bars")
    heard = [ear.hear().address for _ in range(3)]
    assert heard == ["/musicgen/hello.reply", "/musicgen/pong", "/musicgen/fail"]
    assert other.ask("/musicgen/ping", 4).arguments[0] == 4
    udp.send("/musicgen/hello", 5)
    assert udp.hear().address == "/musicgen/hello.reply"


def test_a_hello_that_fails_answers_at_the_port_it_names(udp, connect):
    ear = connect()
    udp.send("/musicgen/hello", 1, "proto", 7, "reply_port", ear.socket.getsockname()[1])
    assert ear.hear("/musicgen/fail").arguments[2] == "E_PROTO"


def test_the_daemon_never_answers_itself(rig, udp):
    assert "E_ARGS reply_port" in udp.fails("/musicgen/hello", "h", "reply_port", rig.port)
    before = rig.server.bad_packets
    udp.send("/musicgen/fail", "h", "/musicgen/ping", "E_ARGS", "what another daemon says")
    assert udp.hears_nothing_more()
    assert rig.server.bad_packets == before + 1


def test_tcp_answers_on_its_connection_only(tcp):
    assert tcp.fails("/musicgen/hello", "h", "reply_port", 9001).startswith("E_ARGS reply_port is for UDP")


@pytest.mark.parametrize("name", ["udp:127.0.0.1:9", "tcp:127.0.0.1:9", "midi"])
def test_a_client_cannot_take_the_name_of_another_kind(client, name):
    assert client.fails("/musicgen/hello", "h", "client", name).startswith("E_ARGS client")


@pytest.mark.parametrize("request_id", ["a", "", "é" * 32, 0, -7, 2**31 - 1, 7.0, -16_777_216.0])
def test_an_id_comes_back_in_its_own_type(client, request_id):
    echoed, instance, state = client.ask("/musicgen/ping", request_id).arguments
    assert (type(echoed), echoed) == (type(request_id), request_id)
    assert (instance, state) == ("one", "ready")


def test_a_long_integer_as_an_id_comes_back_as_a_short_one(client):
    assert client.ask("/musicgen/ping", 5, types="h").arguments[0] == 5


@pytest.mark.parametrize(
    ("arguments", "types"),
    [([], ""), (["é" * 33], "s"), ([1.5], "f"), ([2.0**24 + 2], "f"), ([2**31], "h"), ([True], "T"), ([b"x"], "b")],
    ids=str,
)
def test_a_request_without_an_id_is_told_so(client, arguments, types):
    message = client.ask("/musicgen/ping", *arguments, types=types)
    assert message.address == "/musicgen/fail"
    assert message.arguments[:3] == ("", "/musicgen/ping", "E_ARGS")


def test_status_tells_the_daemons_state_and_the_sockets(rig, client):
    rig.state = lambda: {"state": "degraded", "model": "melody", "device": "cpu", "queued": 2, "running": 1}
    said = client.values("/musicgen/status", 1)
    assert (said["state"], said["device"], said["queued"], said["running"]) == ("degraded", "cpu", 2, 1)
    assert (said["bpm"], said["bad_packets"]) == (120.0, 0)
    assert said["receive_buffer"] > 0


def test_ping_is_answered_while_another_request_hangs_and_sync_waits_for_it(rig, udp, connect):
    release, other = threading.Event(), connect()
    rig.devices = lambda kind: [{"name": str(release.wait(20))}]
    udp.send("/musicgen/list", "slow", "what", "inputs")
    udp.send("/musicgen/sync", "after")
    assert other.ask("/musicgen/ping", 1).address == "/musicgen/pong"
    assert other.ask("/musicgen/status", 2).address == "/musicgen/status.reply"
    release.set()
    assert udp.hear().address == "/musicgen/list.reply"
    assert udp.hear().arguments == ("after",)


def test_sync_answers_after_everything_sent_before_it(client):
    for number in range(20):
        client.send("/musicgen/render", number, "prompt", "dub", "seed", number)
    client.send("/musicgen/sync", "s")
    heard = [client.hear() for _ in range(21)]
    assert [message.arguments[0] for message in heard] == [*range(20), "s"]


# arguments


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("bars",), 'key "bars" has no value'),
        (("bars", 4, "bars", 8), 'key "bars" stands twice'),
        (("bras", 4), 'unknown key "bras" of /musicgen/render (did you mean "bars"?)'),
        ((4, "bars"), "argument 2 must be a key"),
        (("bars", "four"), "bars must be a number"),
        (("bars", 0), "bars must be from"),
        (("bars", 4, "seconds", 4), "give one length, not bars and seconds"),
        (("variations", 1.5), "variations must be a whole number"),
        (("format", "wave"), '"wav"'),
        (("signature", "7"), "signature must be like"),
        (("prompt", "x" * 1001), "prompt is 1001 characters long"),
        (("mode", "melody"), "mode melody needs melody"),
        (("bits", 32, "format", "flac"), "flac takes 16 or 24 bits"),
    ],
    ids=str,
)
def test_wrong_arguments_are_named(rig, client, arguments, says):
    failure = client.fails("/musicgen/render", "r", *arguments)
    assert failure.startswith("E_ARGS")
    assert says in failure
    assert rig.jobs.listed() == []


@pytest.mark.parametrize("tag", ["c", "I", "N", "m", "b", "[]"])
def test_types_that_are_not_taken_are_told(client, tag):
    tags = f",ss{tag}".encode().ljust(8, b"\0")
    body = b"id\0\0bars\0\0\0\0" + b"\0" * (4 if tag in "cmb" else 0)
    client.send_bytes(b"/musicgen/render\0\0\0\0" + tags + body)
    message = client.hear("/musicgen/fail")
    assert message.arguments[:3] == ("id", "/musicgen/render", "E_ARGS")
    assert '"bars" has a value' in message.arguments[3]


def test_a_tempo_that_is_no_number_is_told(client):
    assert "not finite" in client.fails("/musicgen/session", 1, "bpm", float("nan"))
    assert "not finite" in client.fails("/musicgen/session", 1, "bpm", float("inf"), types="isd")


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("/musicgen/pong2", "no address /musicgen/pong2"),
        ("/musicgen/rendr", 'did you mean "/musicgen/render"?'),
        ("/musicgen/recrd", 'did you mean "/musicgen/record"?'),
        ("/musicgen/*", "holds a pattern"),
        ("/*/*", "holds a pattern"),
        ("/musicgen/{ping,status}", "holds a pattern"),
        ("/" + "*" * 67, "holds a pattern"),
    ],
)
def test_addresses_are_exact(client, address, says):
    failure = client.fails(address, 1)
    assert failure.startswith("E_PROTO")
    assert says in failure
    assert client.hears_nothing_more()


# session and set


def test_the_session_is_told_and_asked_for(rig, client):
    given = {"bpm": 126.5, "signature": "7/8", "sample_rate": 44_100.0, "key": "f# m", "playing": True}
    said = client.values("/musicgen/session", 1, *(each for pair in given.items() for each in pair))
    assert said == {
        **{"bpm": 126.5, "signature": "7/8", "sample_rate": 44_100, "project": str(rig.song), "key": "F# minor"},
        **{"playing": 1, "beat": 0.0, "name": ""},
    }
    assert client.values("/musicgen/session", 2) == said
    assert rig.desk.session.signature == (7, 8)


def test_a_tempo_typed_as_a_short_float_is_the_tempo_meant(rig, client):
    client.ask("/musicgen/session", 1, "bpm", 120.1)
    assert rig.desk.session.bpm == 120.1
    client.ask("/musicgen/session", 1, "bpm", 120.1, types="isd")
    assert rig.desk.session.bpm == 120.1


def test_a_wrong_session_changes_nothing(rig, client):
    before = rig.desk.session
    assert client.fails("/musicgen/session", 1, "bpm", 140, "signature", "4").startswith("E_ARGS")
    assert client.fails("/musicgen/session", 1, "bpm", 140, "project", "/nowhere").startswith("E_PATH")
    assert client.fails("/musicgen/session", 1, "bpm", 140, "project", "song").startswith("E_PATH")
    assert rig.desk.session == before


def test_a_long_name_is_cut_only_on_the_wire(rig, client):
    folder = deep(rig.folder, MAX_PROJECT_BYTES)
    said = client.values("/musicgen/session", 1, "name", "🥁" * 200, "project", str(folder))
    assert said["project"] == str(folder)
    assert said["name"].endswith("…")
    assert said["name"].removesuffix("…") in "🥁" * 200
    assert rig.desk.session.name == "🥁" * 200


def deep(folder, size):
    """Make a folder below `folder` whose path is `size` bytes long."""
    if sys.platform == "win32":
        pytest.skip("Windows' paths are shorter")
    while len(str(folder)) < size - 101:
        folder = folder / ("d" * 100)
    folder = folder / ("d" * (size - len(str(folder)) - 1))
    folder.mkdir(parents=True)
    return folder


def test_a_project_whose_stems_would_not_fit_into_a_datagram_is_refused(rig, client):
    folder = deep(rig.folder, MAX_PROJECT_BYTES + 1)
    assert "E_PATH the project's path is longer" in client.fails("/musicgen/session", 1, "project", str(folder))
    assert "E_PATH the project's path is longer" in client.fails(*RENDER, "project", str(folder))


def test_without_a_project_folder_a_render_says_how_to_set_one(rig, client):
    client.ask("/musicgen/session", 1, "project", "")
    assert "send /musicgen/session with project" in client.fails(*RENDER)
    assert client.ask("/musicgen/render", 2, "prompt", "x", "project", str(rig.song)).address == "/musicgen/queued"


def test_defaults_stand_under_what_a_render_says(rig, client):
    said = client.values("/musicgen/set", 1, "bars", 8, "temperature", 1.5, "loop", 0, "loudness", "off")
    assert said == {"model": "starter", "bars": 8.0, "temperature": 1.5, "loop": 0, "loudness": "off"}
    client.ask("/musicgen/render", 2, "prompt", "dub", "temperature", 1)
    request = rig.jobs.listed()[0].request
    assert (request.bars, request.temperature, request.loop, request.loudness) == (8.0, 1.0, False, None)


def test_a_length_replaces_another_and_reset_forgets(client):
    client.ask("/musicgen/set", 1, "bars", 8, "seed", 4)
    assert client.values("/musicgen/set", 2, "seconds", 3.5) == {"model": "starter", "seconds": 3.5, "seed": 4}
    assert client.values("/musicgen/set", 3, "reset", 1, "top_k", 50) == {"model": "starter", "top_k": 50}
    assert "give one length" in client.fails("/musicgen/set", 4, "bars", 1, "beats", 1)


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("signature", "4-4", "E_ARGS"),
        ("key", "H major", "E_ARGS"),
        ("parts", "drums; drums", "E_ARGS"),
        ("tempo_map", "0 90; 4", "E_ARGS"),
        ("separate", "violin", "E_ARGS"),
        ("model", "startr", "E_MODEL"),
        ("project", "/nowhere", "E_PATH"),
        ("melody", "/nowhere.wav", "E_PATH"),
    ],
)
def test_a_wrong_default_is_refused_at_once(client, key, value, code):
    assert client.fails("/musicgen/set", 1, "bars", 3, key, value).startswith(code)
    assert client.values("/musicgen/set", 2) == {"model": "starter"}


def test_the_longest_defaults_still_fit_into_a_datagram(client):
    letters = {"prompt": 1000, "name": 64, "parts": 3000}
    for key, size in letters.items():
        client.ask("/musicgen/set", 1, key, "ü" * size if key != "parts" else "drums: " + "ü" * size)
    said = client.values("/musicgen/set", 2)
    assert list(said) == ["model", *letters]
    assert said["name"] == "ü" * 64
    assert said["prompt"].endswith("…")


# list and events


def listed(client, what):
    client.send("/musicgen/list", "l", "what", what)
    items = [client.hear("/musicgen/list.reply")]
    while len(items) < items[0].arguments[2]:
        items.append(client.hear("/musicgen/list.reply"))
    assert [item.arguments[1] for item in items] == list(range(len(items)))
    return [dict(zip(item.arguments[3::2], item.arguments[4::2], strict=True)) for item in items]


def test_presets_models_and_ports_are_listed(client):
    assert [(item["name"], item["slot"]) for item in listed(client, "presets")] == [("tight-break", 1), ("wide-pad", 9)]
    assert listed(client, "models")[0] == {"name": "starter", "summary": "ships with the package"}
    device = {"api": "Core Audio", "channels": 1, "rate": 48_000, "default": 1}
    assert listed(client, "inputs") == [
        {"name": "Mic 1", **device},
        {"name": "Mic 2", **device, "channels": 2, "default": 0},
    ]


def test_an_empty_list_is_one_message_with_total_0(client):
    for what in ("jobs", "midi"):
        assert client.ask("/musicgen/list", "l", "what", what).arguments == ("l", 0, 0)
    assert 'did you mean "presets"?' in client.fails("/musicgen/list", "l", "what", "preset")
    assert "needs what" in client.fails("/musicgen/list", "l")


def test_the_jobs_of_every_client_are_listed_newest_first(rig, client, connect):
    client.ask("/musicgen/hello", "h", "client", "live")
    client.ask("/musicgen/render", 7.0, "prompt", "x")
    connect().ask(*RENDER)
    rig.finish()
    client.hear("/musicgen/done")
    newest, oldest = listed(client, "jobs")
    assert (oldest["job"], oldest["target"], oldest["client"]) == (1, 7.0, "live")
    assert (oldest["state"], oldest["fraction"]) == ("done", 1.0)
    assert (newest["target"], newest["state"], newest["prompt"]) == ("r1", "queued", "dub chord")


def test_events_are_repeated_from_a_number_on(rig, client):
    assert client.ask("/musicgen/events", "e", "since", 0).arguments == ("e", 0, 0, 0, "")
    client.ask("/musicgen/render", 7.0, "prompt", "x")
    client.ask(*RENDER)
    (stem,) = rig.finish()
    client.send("/musicgen/cancel", "c", "target", "r1")
    client.send("/musicgen/events", "e", "since", 1)
    heard = [client.hear() for _ in range(6)]
    assert [message.arguments[:5] for message in heard[3:]] == [
        ("e", 0, 3, 2, "queued"),
        ("e", 1, 3, 3, "done"),
        ("e", 2, 3, 4, "fail"),
    ]
    assert heard[3].arguments[5:] == ("r1", 2, 1)
    assert heard[4].arguments[5:] == (7.0, 1, 0, 1, stem.path, 79_684, 48_000, 126.5)
    assert client.ask("/musicgen/events", "e", "since", 4).arguments == ("e", 0, 0, 4, "")


# subscribe and heartbeat


def test_a_subscriber_hears_of_every_clients_jobs(rig, client, connect):
    subscriber = connect()
    assert subscriber.values("/musicgen/subscribe", 1, "lease_s", 30) == {"lease_s": 30}
    queued = client.ask(*RENDER)
    job = rig.on_loop(rig.jobs.take)
    rig.on_loop(rig.jobs.report, job, HALF)
    rig.on_loop(rig.jobs.finish, job, [])
    assert subscriber.hear() == queued
    assert subscriber.hear() == client.hear()
    assert subscriber.values("/musicgen/subscribe", 2, "lease_s", 0) == {"lease_s": 0}
    client.ask("/musicgen/render", "r2", "prompt", "x")
    assert subscriber.hears_nothing_more()
    assert "lease_s must be from 0 to 30" in subscriber.fails("/musicgen/subscribe", 3, "lease_s", 31)


def test_a_subscriber_hears_of_its_own_jobs_once(client):
    client.ask("/musicgen/subscribe", 1)
    client.ask(*RENDER)
    assert client.hears_nothing_more()


@pytest.mark.parametrize("address", ["/musicgen/hello", "/musicgen/subscribe"])
def test_a_lease_brings_the_heartbeat(client, connect, address):
    client.ask(address, 1)
    beats = [client.hear("/musicgen/heartbeat").arguments for _ in range(2)]
    assert beats == [("one", beats[0][1], "ready"), ("one", beats[0][1] + 1, "ready")]
    assert connect().hears_nothing_more()


def test_a_heartbeat_that_cannot_be_told_does_not_stop_the_next(rig, udp):
    udp.ask("/musicgen/hello", 1)
    failed = threading.Event()

    def state():
        if not failed.is_set():
            failed.set()
            raise OSError("the worker's pipe is closed")
        return {"state": "ready"}

    rig.state = state
    assert failed.wait(PATIENCE_S)
    assert udp.hear("/musicgen/heartbeat").arguments[2] == "ready"


# the end


@pytest.mark.parametrize(("address", "drain"), [("/musicgen/drain", True), ("/musicgen/quit", False)])
def test_only_the_token_ends_the_daemon(rig, client, connect, address, drain):
    leased, stranger = connect(), connect()
    leased.ask("/musicgen/hello", 1)
    assert client.fails(address, 1).startswith("E_AUTH")
    assert client.fails(address, 1, "token", "guess").startswith("E_AUTH")
    assert rig.stopped == []
    assert client.ask(address, 2, "token", "a-long-secret").arguments == (2,)
    assert stranger.hears_nothing_more()
    assert rig.stopped == [drain]
    rig.close()
    assert client.hear().address == "/musicgen/bye"
    assert leased.hear().arguments == ("one",)


def test_a_mistake_of_ours_is_told_and_logged_and_the_daemon_lives(rig, client, caplog):
    def broken(*_):
        raise RuntimeError("no sound card")

    good, rig.devices, rig.state = rig.state, broken, broken
    assert client.fails("/musicgen/list", 1, "what", "inputs").startswith("E_INTERNAL")
    assert client.fails("/musicgen/ping", 2).startswith("E_INTERNAL")
    assert "no sound card" in caplog.text
    rig.state = good
    assert client.ask("/musicgen/ping", 3).address == "/musicgen/pong"


def test_a_restarted_daemon_answers_where_the_request_came_from(make_rig, connect):
    first = make_rig()
    client = connect(port=first.port)
    client.ask("/musicgen/render", 3.0, "prompt", "x")
    first.close()
    second = make_rig(port=first.port, instance="two")
    (stem,) = second.finish()
    message = client.hear("/musicgen/done")
    assert message.arguments[4] == stem.path
    assert type(message.arguments[0]) is float
    assert client.ask("/musicgen/ping", 1).arguments[1] == "two"
