"""Every message that goes out fits into a datagram, whatever stands in it, and what must stay whole does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen_bridge.asking.keys import RENDER_KEYS, SESSION_KEYS
from musicgen_bridge.control import replies
from musicgen_bridge.control.commands import MAX_ID_BYTES, MAX_PROJECT_BYTES
from musicgen_bridge.control.osc_codec import encode
from musicgen_bridge.control.replies import MAX_DATAGRAM, Id, build, failure, job_event
from musicgen_bridge.errors import ArgumentError, BusyError
from musicgen_bridge.jobs import Done, Failed, Job, Queued
from musicgen_bridge.request import Progress, RenderRequest, Stem

LONGEST_ID = Id("é" * (MAX_ID_BYTES // 2))
BIG = 2**31 - 1


def job(number=3):
    return Job(number, "live", "r", "digest", "udp:127.0.0.1:9", RenderRequest(project="/p", bars=1.0))


def size(message):
    return len(encode(message))


def test_the_longest_path_goes_out_whole_even_among_events():
    path = "/" + "p" * (MAX_PROJECT_BYTES - 1) + "/MusicGen/" + "n" * 255
    stem = Stem(index=31, total=32, path=path, frames=BIG, sample_rate=192_000, bpm=400.0, seed=1)
    done = job_event(LONGEST_ID, job(BIG), Done(stem))
    event = build(replies.EVENTS_REPLY, LONGEST_ID, 255, 256, BIG, "done", then=done.arguments)
    assert path in done.arguments
    assert path in event.arguments
    assert size(done) < size(event) < MAX_DATAGRAM


def test_a_path_that_cannot_fit_is_never_cut():
    stem = Stem(index=0, total=1, path="/p" * 1000, frames=1, sample_rate=48_000, bpm=120.0, seed=1)
    with pytest.raises(ValueError, match="stays longer"):
        job_event(LONGEST_ID, job(), Done(stem))


def test_a_session_keeps_its_folder_and_gives_up_its_name():
    values = dict.fromkeys(SESSION_KEYS, 1) | {"project": "/" + "p" * (MAX_PROJECT_BYTES - 1), "name": "🥁" * 200}
    message = build(replies.SESSION_REPLY, LONGEST_ID, pairs=values)
    said = dict(zip(message.arguments[1::2], message.arguments[2::2], strict=True))
    assert said["project"] == values["project"]
    assert said["name"].endswith("🥁…")
    assert size(message) < MAX_DATAGRAM


def test_every_default_at_its_longest_still_fits():
    values = {name: "ü" * key.longest if key.kind == "s" else 1 for name, key in RENDER_KEYS.items()}
    message = build(replies.SET_REPLY, LONGEST_ID, pairs=values)
    assert message.arguments[1::2] == tuple(RENDER_KEYS)
    assert size(message) < MAX_DATAGRAM


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=3000), st.text("xé🥁", max_size=200))
def test_any_failure_fits_and_keeps_the_beginning_of_its_text(text, address):
    message = failure(LONGEST_ID, "/" + address, BusyError(text, retry_ms=5))
    assert size(message) < MAX_DATAGRAM
    assert message.arguments[2] == "E_BUSY"
    assert message.arguments[-1] == 5
    said = str(message.arguments[3])
    assert said == text or (said.endswith("…") and text.startswith(said[:-1]))


def test_a_short_text_is_left_alone():
    assert failure(Id(7), "/musicgen/ping", ArgumentError("one sentence")).arguments[3:] == ("one sentence",)


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        (Queued(2), ("/musicgen/queued", 7.0, 3, 2)),
        (Progress(fraction=1, eta_s=0, stage="writing"), ("/musicgen/progress", 7.0, 3, 1.0, 0.0, "writing")),
        (Failed("E_OOM", "less, please"), ("/musicgen/fail", 7.0, "/musicgen/render", "E_OOM", "less, please")),
        (Failed("E_LOADING", "soon", 90), ("/musicgen/fail", 7.0, "/musicgen/render", "E_LOADING", "soon", 90)),
    ],
)
def test_an_events_message_has_the_tables_types(event, arguments):
    message = job_event(Id(7, floating=True), job(), event)
    assert (message.address, *message.arguments) == arguments
    assert [type(argument) for argument in message.arguments if not isinstance(argument, str)] == [
        type(argument) for argument in arguments if not isinstance(argument, str)
    ]


def test_a_reply_with_a_field_missing_or_of_another_type_is_a_mistake():
    with pytest.raises(ValueError):
        build(replies.PONG, Id(1), "instance")
    with pytest.raises(ValueError, match="position can't be 'first'"):
        build(replies.QUEUED, Id(1), 1, "first")
