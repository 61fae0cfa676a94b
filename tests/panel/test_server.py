"""The page's server over plain HTTP: who may ask, what is served, and the wire to a real desk."""

from __future__ import annotations

import io
import json
import os
import time

import numpy as np
import pytest
import soundfile

from musicgen_bridge.panel import app
from tests.conftest import PATIENCE_S, free_port
from tests.control.conftest import Client
from tests.panel.conftest import TOKEN, make_take

ROUTES = [
    ("GET", "/"),
    ("GET", "/static/main.js"),
    ("GET", "/events"),
    ("GET", "/takes"),
    ("GET", "/take?path=/x"),
    ("GET", "/sound?path=/x"),
    ("GET", "/file?path=/x"),
    ("POST", "/send"),
    ("POST", "/recordings"),
    ("HEAD", "/"),
    ("PUT", "/takes"),
    ("DELETE", "/takes"),
    ("OPTIONS", "/send"),
    ("GET", "/nowhere"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_foreign_host_or_origin_is_refused_whatever_is_asked(served, method, path):
    for headers in (
        {"host": "evil.example"},
        {"host": f"evil.example:{served.port}"},
        {"host": f"127.0.0.1:{served.port + 1}"},
        {"host": None},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": f"http://127.0.0.1:{served.port + 1}"},
        {"origin": f"https://127.0.0.1:{served.port}"},
        {"origin": None, "sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"},
        {"origin": None, "sec_fetch_site": "same-site", "sec_fetch_mode": "cors"},
    ):
        status, answer, body = served.ask(method, path, **headers)
        assert status in (400, 403), headers
        assert "access-control-allow-origin" not in answer
        if method != "HEAD" and status == 403:
            assert json.loads(body)["code"] == "E_AUTH"


def test_a_link_from_another_site_leads_to_the_page_and_nowhere_else(served):
    link = {"origin": None, "sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    assert served.ask("GET", "/", **link)[0] == 200
    assert served.ask("GET", "/takes", **link)[0] == 403
    assert served.ask("POST", "/send", **link)[0] == 403


@pytest.mark.parametrize("path", ["/send", "/recordings"])
@pytest.mark.parametrize("headers", [{"x_panel_token": None}, {"x_panel_token": "x"}, {"origin": None}], ids=str)
def test_what_changes_something_needs_the_page_s_token_and_origin(served, path, headers):
    status, _, body = served.ask("POST", path, b"[]", **headers)
    assert (status, json.loads(body)["code"]) == (403, "E_AUTH")


def test_the_page_s_token_does_not_end_the_daemon(served):
    stream = served.stream()
    message = json.dumps(["/musicgen/quit", 1, "token", TOKEN]).encode()
    served.ask("POST", "/send", message, x_peer=stream.peer)
    assert stream.next()[3] == "E_AUTH"
    assert served.rig.stopped == []
    stream.close()


def test_localhost_is_this_machine_too(served):
    name = f"localhost:{served.port}"
    assert served.ask("GET", "/takes", host=name, origin=f"http://{name}")[0] == 200


def test_the_page_has_its_token_and_a_strict_policy(served):
    status, headers, body = served.ask("GET", "/")
    assert status == 200
    assert f'<meta name="token" content="{TOKEN}">' in body.decode()
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    assert b"<script>" not in body
    assert b" style=" not in body
    for name in ("cross-origin-resource-policy", "x-content-type-options", "permissions-policy"):
        assert name in headers
    assert "access-control-allow-origin" not in headers


def test_a_module_is_served_as_a_script(served):
    status, headers, _ = served.ask("GET", "/static/main.js")
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/javascript")


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd"])
def test_nothing_but_the_page_s_own_files_is_static(served, path):
    assert served.ask("GET", path)[0] == 404


def test_a_page_speaks_the_protocol(served):
    stream = served.stream()

    def send(*message):
        assert served.ask("POST", "/send", json.dumps(message).encode(), x_peer=stream.peer)[0] == 204

    send("/musicgen/hello", "h", "client", "panel")
    assert stream.next()[:2] == ["/musicgen/hello.reply", "h"]
    send("/musicgen/render", "r", "prompt", "break", "bars", 2, "loop", True, "bpm", 126.5)
    address, *fields = stream.next()
    assert (address, fields[0], fields[2]) == ("/musicgen/queued", "r", 0)
    assert served.rig.on_loop(lambda: next(iter(served.rig.jobs.listed()))).owner == "panel"
    (stem,) = served.rig.finish()
    assert stream.next() == ["/musicgen/done", "r", fields[1], 0, 1, stem.path, stem.frames, 48_000, 126.5]
    send("/musicgen/render", "r2", "bras", 2)
    assert stream.next()[:4] == ["/musicgen/fail", "r2", "/musicgen/render", "E_ARGS"]
    stream.close()


def test_a_page_hears_of_another_client_s_jobs_once_it_has_subscribed(served):
    stream, other = served.stream(), Client(served.rig.port)
    served.ask("POST", "/send", b'["/musicgen/subscribe", 1]', x_peer=stream.peer)
    assert stream.next()[0] == "/musicgen/subscribe.reply"
    other.ask("/musicgen/render", "theirs", "prompt", "pad")
    message = stream.next()
    while message[0] == "/musicgen/heartbeat":
        message = stream.next()
    assert message[:2] == ["/musicgen/queued", "theirs"]
    stream.close()
    other.close()


def test_a_page_that_has_gone_is_forgotten(served):
    gone: list[str] = []
    served.rig.server.on_closed = gone.append
    stream = served.stream()
    stream.close()
    until = time.monotonic() + PATIENCE_S
    status = 204
    while status == 204 and time.monotonic() < until:
        status, _, body = served.ask("POST", "/send", b'["/musicgen/ping", 1]', x_peer=stream.peer)
    assert json.loads(body)["code"] == "E_AUTH"
    assert stream.peer not in served.rig.server.local
    assert gone == [stream.peer]


def test_the_end_of_the_daemon_ends_the_stream_behind_its_goodbye(served):
    stream = served.stream()
    served.ask("POST", "/send", b'["/musicgen/subscribe", 1]', x_peer=stream.peer)
    served.rig.on_loop(served.rig.desk.close)
    served.rig.on_loop(served.panel._wire.close)
    said = list(iter(stream.next, None))
    assert said[-1][0] == "/musicgen/bye"


NO_MESSAGES = {
    "nothing": b"",
    "no list": b"{}",
    "empty": b"[]",
    "no address": b"[1]",
    "a text": b'"x"',
    "too deep": b"[" * 9999,
    "a list inside": b'["/musicgen/ping", [1]]',
    "null": b'["/musicgen/ping", null]',
    "not a number": b'["/musicgen/ping", NaN]',
    "infinite": b'["/musicgen/ping", 1e999]',
    "of 67 bits": b'["/musicgen/ping", 99999999999999999999]',
    "half a letter": b'["/musicgen/ping", "\\ud800"]',
    "no text": b"\xff\xfe",
    "too long": b'["' + b"x" * 70_000 + b'"]',
}


@pytest.mark.parametrize("body", NO_MESSAGES.values(), ids=list(NO_MESSAGES))
def test_what_is_no_message_is_refused_with_what_to_send(served, body):
    stream = served.stream()
    status, _, said = served.ask("POST", "/send", body, x_peer=stream.peer)
    assert (status, json.loads(said)["code"]) == (400, "E_ARGS")
    stream.close()


# Takes, sound and uploads


def test_the_project_s_takes_are_listed_the_newest_first(served):
    older = make_take(served.song.parent, served.song, 220)
    newer = make_take(served.song.parent, served.song, 330, bars=2.0, signature=(7, 8), bpm=126.5, model="starter")
    os.utime(older.with_suffix(".json"), (1, 1))
    (served.song / "MusicGen" / "broken.json").write_text("{}")
    make_take(served.song.parent, served.song, 440).unlink()  # a sidecar without its stem
    status, _, body = served.ask("GET", "/takes")
    takes = json.loads(body)
    assert (status, [take["path"] for take in takes]) == (200, [str(newer), str(older)])
    assert takes[0] | {"quarters": 7.0, "bar": 3.5, "signature": "7/8", "seed": 7, "sample_rate": 48_000} == takes[0]
    assert takes[0]["frames"] == soundfile.info(newer).frames
    assert takes[0]["request"] | {"prompt": "sine of 330 Hz", "bars": 2.0, "bpm": 126.5} == takes[0]["request"]
    assert json.loads(served.file("take", newer)[2]) == takes[0]


def test_a_stem_is_served_as_it_is_and_an_aiff_in_a_form_that_browsers_decode(served):
    wav = make_take(served.song.parent, served.song)
    aiff = make_take(served.song.parent, served.song, 330, format="aiff")
    for route in ("sound", "file"):
        status, headers, body = served.file(route, wav)
        assert (status, headers["content-type"], body) == (200, "audio/wav", wav.read_bytes())
    status, headers, body = served.file("file", aiff)
    assert (headers["content-type"], body) == ("audio/aiff", aiff.read_bytes())
    assert headers["content-disposition"].startswith("attachment")
    status, headers, body = served.file("sound", aiff)
    assert headers["content-type"] == "audio/wav"
    np.testing.assert_array_equal(soundfile.read(io.BytesIO(body))[0], soundfile.read(aiff)[0])


@pytest.mark.parametrize("route", ["sound", "file", "take"])
def test_only_sound_below_the_roots_is_served(served, route, tmp_path_factory):
    outside = make_take(elsewhere := tmp_path_factory.mktemp("elsewhere"), elsewhere)
    link = served.song / "link.wav"
    link.symlink_to(outside)
    secret = served.song / "secret.txt"
    secret.write_text("x")
    for path in (outside, link, secret, served.song, "song/x.wav", f"{served.song}/../{outside.name}", "", "\0"):
        status, _, body = served.file(route, path)
        assert status in (400, 404), path
        assert json.loads(body)["code"] in ("E_PATH", "E_ARGS")
    assert served.file(route, secret)[0] == 404


def test_an_upload_is_kept_as_it_came_and_nothing_is_replaced(served):
    made = io.BytesIO()
    soundfile.write(made, 0.1 * np.ones((4800, 1)), 48_000, format="FLAC")
    paths = []
    for _ in range(2):
        status, _, body = served.ask("POST", "/recordings", made.getvalue(), x_name="My%20Humming%20%C3%A4.wav")
        assert status == 201
        paths.append(json.loads(body)["path"])
    folder = served.song / "MusicGen" / "recordings"
    assert paths == [str(folder / "my-humming-ä.flac"), str(folder / "my-humming-ä-2.flac")]
    assert (folder / "my-humming-ä.flac").read_bytes() == made.getvalue()


def test_an_upload_that_cannot_be_used_leaves_nothing(served, monkeypatch):
    silence = io.BytesIO()
    soundfile.write(silence, np.zeros((0, 1)), 48_000, format="WAV")
    monkeypatch.setattr(app, "MAX_UPLOAD", 1000)
    for body, code in ((b"no sound", "E_AUDIO"), (silence.getvalue(), "E_AUDIO"), (b"x" * 1001, "E_ARGS")):
        status, _, said = served.ask("POST", "/recordings", body, x_name="../../x.wav")
        assert (status, json.loads(said)["code"]) == (400, code)
    assert list(served.song.iterdir()) == []


def test_without_a_project_the_page_says_what_to_do(served):
    Client(served.rig.port).ask("/musicgen/session", 1, "project", "")
    assert json.loads(served.ask("GET", "/takes")[2]) == []
    status, _, said = served.ask("POST", "/recordings", b"x")
    assert (status, json.loads(said)["code"]) == (404, "E_PATH")


def test_it_listens_on_loopback_alone(served):
    import psutil

    (where,) = {
        one.laddr.ip
        for one in psutil.Process().net_connections("tcp")
        if one.laddr.port == served.port and not one.raddr
    }
    assert where == "127.0.0.1"


def test_a_taken_port_is_told_with_what_to_do(new_daemon):
    import socket
    import subprocess

    from tests.conftest import COMMAND

    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        daemon = new_daemon()
        flags = ["--port", str(daemon.port), "--state", str(daemon.state), "--panel", "--panel-port", str(port)]
        ended = subprocess.run([*COMMAND, "start", *flags], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "--panel-port" in ended.stderr
