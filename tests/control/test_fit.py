"""/musicgen/fit: a job like a render's, whose audio comes from a recording."""

import pytest


@pytest.fixture
def recording(rig):
    path = rig.song / "loop.wav"
    path.touch()
    return str(path)


def test_a_fit_is_a_job_in_the_session(rig, client, recording):
    client.ask("/musicgen/session", 1, "bpm", 97.5, "signature", "7/8")
    assert client.ask("/musicgen/fit", "f1", "file", recording, "separate", "drums").address == "/musicgen/queued"
    request = rig.jobs.listed()[0].request
    assert (request.mode, request.file, request.separate, request.has_length) == ("fit", recording, ("drums",), False)
    assert (request.bpm, str(request.signature), request.project) == (97.5, "7/8", str(rig.song))
    rig.finish()
    assert client.hear("/musicgen/done").arguments[0] == "f1"
    assert client.ask("/musicgen/fit", "f1", "file", recording, "separate", "drums").address == "/musicgen/done"
    assert client.fails("/musicgen/fit", "f1", "file", recording).startswith("E_RID")


def test_render_with_a_file_is_the_same(rig, client, recording):
    assert client.ask("/musicgen/render", 1, "file", recording, "bars", 2).address == "/musicgen/queued"
    assert rig.jobs.listed()[0].request.mode == "fit"


def test_only_those_defaults_count_that_concern_a_recording(rig, client, recording):
    client.ask("/musicgen/set", 1, "prompt", "dub", "variations", 3, "temperature", 2, "loudness", "off", "bars", 8)
    assert client.ask("/musicgen/fit", 2, "file", recording).address == "/musicgen/queued"
    request = rig.jobs.listed()[0].request
    assert (request.prompt, request.variations, request.temperature) == ("", 1, 1.0)
    assert (request.loudness, request.bars) == (None, 8.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "E_ARGS /musicgen/fit needs file"),
        (("file", "/nowhere.wav"), "E_PATH"),
        (("file", "loop.wav"), "E_PATH"),
        (("file", "?", "prompt", "dub"), 'E_ARGS unknown key "prompt" of /musicgen/fit'),
        (("file", "?", "separate", "horns"), "E_ARGS separate takes drums"),
        (("file", "?", "file_start", 3, "file_end", 2), "E_ARGS file_end must lie behind"),
    ],
)
def test_what_cannot_be_fitted_is_refused(client, recording, arguments, said):
    asked = [recording if one == "?" else one for one in arguments]
    assert client.fails("/musicgen/fit", 1, *asked).startswith(said)
