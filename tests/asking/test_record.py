"""What /musicgen/record is asked for with: the complete request, and what is refused."""

import pytest

from musicgen_bridge.asking.record import RECORD_KEYS, make_recording
from musicgen_bridge.errors import ArgumentError, PathError
from musicgen_bridge.request import RecordRequest, Session

SESSION = Session(bpm=97.5, signature=(7, 8), sample_rate=44_100, project="/song")


def test_what_is_left_out_comes_from_the_session_and_the_settings():
    request = make_recording({}, SESSION, "Mic")
    assert request == RecordRequest(
        bars=4.0, bpm=97.5, signature=(7, 8), sample_rate=44_100, project="/song", input="Mic"
    )
    assert RecordRequest.from_json(request.to_json()) == request


def test_what_is_given_goes_before():
    given = {"seconds": 2.0, "input": "Line", "as": "riff", "bpm": 60.0, "signature": "3/4", "sample_rate": 48_000}
    request = make_recording({**given, "project": "/other"}, SESSION, "Mic")
    assert (request.bars, request.seconds, request.input, request.name) == (None, 2.0, "Line", "riff")
    assert (request.bpm, str(request.signature), request.project) == (60.0, "3/4", "/other")


@pytest.mark.parametrize(
    ("bars", "rate", "frames"), [(2.0, 48_000, 206_769), (1.0, 44_100, 94_985), (0.5, 8_000, 8_615)]
)
def test_the_length_is_exact(bars, rate, frames):
    request = make_recording({"bars": bars}, SESSION, "Mic")
    assert request.timing.frames(rate) == frames


def test_what_cannot_be_recorded_is_refused():
    with pytest.raises(ArgumentError, match="give one length"):
        make_recording({"bars": 1.0, "seconds": 1.0}, SESSION, "Mic")
    with pytest.raises(ArgumentError, match="2154 s is too long; at most 600 s"):
        make_recording({"bars": 1000.0}, SESSION, "Mic")
    with pytest.raises(ArgumentError, match="signature"):
        make_recording({"signature": "7-8"}, SESSION, "Mic")
    with pytest.raises(PathError, match="no project folder"):
        make_recording({}, Session(), "Mic")


def test_a_recording_has_no_key_of_the_model():
    assert set(RECORD_KEYS) == {"bars", "seconds", "input", "as", "bpm", "signature", "sample_rate", "project"}
