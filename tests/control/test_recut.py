"""/musicgen/recut: a job like a render's, whose request is the take's own."""

import json

import pytest

from musicgen_bridge.control.commands import COMMANDS


@pytest.fixture
def take(rig):
    """A stem with its sidecar, named as the rig's worker names the first of a job."""
    folder = rig.song / "MusicGen"
    folder.mkdir()
    (folder / "take-0.wav").touch()
    request = {"prompt": "dub", "bars": 4.0, "bpm": 126.5, "signature": "7/8", "sample_rate": 44_100, "seed": 3}
    told = {
        "format": 1,
        "seed": 5,
        "request": request | {"model": "starter", "project": "/elsewhere", "key": "A minor"},
    }
    (folder / "take-0.json").write_text(json.dumps(told))
    return str(folder / "take-0.wav")


def test_what_is_left_out_is_the_take_s_and_neither_the_session_s_nor_a_default(rig, client, take):
    client.ask("/musicgen/session", 1, "bpm", 97.5, "signature", "4/4", "sample_rate", 48_000)
    client.ask("/musicgen/set", 2, "bars", 8, "loudness", "off")
    assert client.ask("/musicgen/recut", "r1", "take", take, "shift_beats", -1).address == "/musicgen/queued"
    request = rig.jobs.listed()[0].request
    assert (request.mode, request.take, request.shift_beats) == ("recut", take, -1.0)
    assert (request.bars, request.bpm, str(request.signature), request.sample_rate) == (4.0, 126.5, "7/8", 44_100)
    assert (request.loudness, request.seed, request.key, request.project) == (-14.0, 5, "A minor", str(rig.song))
    rig.finish()
    assert client.hear("/musicgen/done").arguments[0] == "r1"
    assert client.ask("/musicgen/recut", "r1", "take", take, "shift_beats", -1).address == "/musicgen/done"
    assert client.fails("/musicgen/recut", "r1", "take", take).startswith("E_RID")


def test_the_request_that_made_it_names_it_too(rig, udp, take):
    udp.ask("/musicgen/render", "one", "prompt", "dub", "variations", 2)
    assert udp.fails("/musicgen/recut", 1, "target", "one").startswith("E_ARGS the request 'one' has no stem 0")
    rig.finish(2)
    udp.hear("/musicgen/done"), udp.hear("/musicgen/done")
    assert udp.ask("/musicgen/recut", 2, "target", "one", "bars", 2).address == "/musicgen/queued"
    assert (rig.jobs.listed()[0].request.take, rig.jobs.listed()[0].request.bars) == (take, 2.0)
    assert udp.fails("/musicgen/recut", 3, "target", "one", "index", 2).startswith("E_ARGS the request 'one' has no")
    assert udp.fails("/musicgen/recut", 4, "target", "one", "take", take).startswith("E_ARGS take and target both")
    assert udp.fails("/musicgen/recut", 5, "target", "two").startswith("E_ARGS the request 'two' has no stem 0")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "E_ARGS recut needs a take"),
        (("take", "take-0.wav"), "E_PATH"),
        (("take", "/etc/hostname"), "E_PATH"),
        (("take", "?", "shift_beats", 65), "E_ARGS shift_beats must be from -64 to 64"),
        (("take", "?", "bars", 0), "E_ARGS bars must be from"),
        (("take", "?", "prompt", "dub"), 'E_ARGS unknown key "prompt" of /musicgen/recut'),
    ],
)
def test_what_cannot_be_cut_so_is_refused(rig, client, take, arguments, said):
    assert client.fails("/musicgen/recut", 1, *[take if one == "?" else one for one in arguments]).startswith(said)
    assert not rig.jobs.listed()


@pytest.mark.parametrize(
    ("length", "kept"),
    [
        ((), "0 120 4/4; 4 90; 8 100>80"),
        (("bars", 2), "0 120 4/4; 4 90"),
        (("beats", 4), "0 120 4/4"),
        (("seconds", 2.5), "0 120 4/4; 4 90"),
        (("bars", 2, "bpm", 110), ""),
    ],
)
def test_a_shorter_one_goes_along_the_take_s_tempo_map_as_far_as_it_reaches(rig, client, take, length, kept):
    sidecar = rig.song / "MusicGen" / "take-0.json"
    told = json.loads(sidecar.read_text())
    told["request"] |= {"bars": 3.0, "tempo_map": "0 120 4/4; 4 90; 8 100>80", "signature": "4/4"}
    sidecar.write_text(json.dumps(told))
    assert client.ask("/musicgen/recut", "r1", "take", take, *length).address == "/musicgen/queued"
    assert "; ".join(map(str, rig.jobs.listed()[0].request.tempo_map)) == kept


def test_a_mix_names_the_parts_that_can_be_cut_anew(rig, client, take):
    sidecar = rig.song / "MusicGen" / "take-0.json"
    told = json.loads(sidecar.read_text()) | {"report": {"mix": ["drums", "bass"]}}
    sidecar.write_text(json.dumps(told))
    assert client.fails("/musicgen/recut", 1, "take", take).endswith("it is the sum of drums, bass; cut those anew")


def test_its_keys_are_the_render_s(client, take):
    render = COMMANDS["/musicgen/render"].keys
    assert set(COMMANDS["/musicgen/recut"].keys) - set(render) == {"target", "index"}
    assert client.fails("/musicgen/render", 1, "shift_ms", 5, "prompt", "x").startswith(
        "E_ARGS shift_beats and shift_ms"
    )
    assert client.fails("/musicgen/render", 2, "take", take, "prompt", "x").startswith("E_ARGS take is a stem that is")
