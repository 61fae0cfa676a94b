"""Ardour's render action, in Ardour's own Lua with a real session and the real program; its window is a stand-in."""

import json
import os
import shutil
import sys
from contextlib import closing
from pathlib import Path

import pytest
import soundfile

HERE = Path(__file__).parent
SCRIPT = HERE.parents[1] / "ardour_scripts" / "musicgen-bridge_render.lua"
pytestmark = [
    pytest.mark.ardour,
    pytest.mark.skipif(shutil.which("ardour7-lua") is None, reason="Ardour 7 is missing: apt-get install -y ardour"),
]


def locate(ardour, frames):
    """Put the playhead so many frames behind the third bar line."""
    from benchmarks.ardour import Bars

    frame = Bars(97.5, "7/8").frames(2) + frames
    ardour.do(f"Session:request_locate({frame}, false, 1, ARDOUR.TransportRequestSource.TRS_UI) sleep(1)")
    assert ardour.do("return Session:transport_sample()") == [str(frame)]


@pytest.fixture
def ardour(tmp_path, monkeypatch):
    """A session of 97.5 in 7/8 with a melody on the track Singer, its playhead just behind the third bar line."""
    from benchmarks.ardour import RATE, Ardour, Bars, place, sung

    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    for name in [name for name in os.environ if name.startswith("MUSICGEN_BRIDGE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MUSICGEN_BRIDGE_DEVICE", "cpu")
    bars, song = Bars(97.5, "7/8"), tmp_path / "song"
    soundfile.write(tmp_path / "sung.wav", sung(bars.frames(2), 14), RATE)
    with closing(Ardour(tmp_path)) as program:
        program.new_session(song, bars.bpm, bars.signature)
        program.save()
        place(song, "Singer", tmp_path / "sung.wav", bars.frames(1), bars.frames(8))
        program.open(song)
        program.do("ardour = function() end regions = {} tracks = {} cancel = false")
        program.do(f'dofile("{HERE / "window.lua"}") dofile("{SCRIPT}")')
        program.do(
            'for one in Session:route_by_name("Singer"):to_track():playlist():region_list():iter() do sung = one end'
        )
        locate(program, 1000)
        yield program


def call(ardour, prompt, bars, melody):
    """Call the action and answer its dialog; return what it showed and did."""
    flag = str(melody).lower()
    ardour.do(f"answer = {{ prompt = {json.dumps(prompt)}, bars = {bars}, melody = {flag} }}")
    ardour.do("factory()()")
    names = ("file", "mode", "beat", "track", "message", "closed", "melody")
    values = ardour.do(f"return {', '.join(f'said.{name}' for name in names)}")
    return {name: value for name, value in zip(names, values, strict=True) if value != "nil"}


def left(ardour):
    song = Path(ardour.environment["HOME"]) / "song"
    return list(song.glob(".musicgen-bridge*"))


def test_a_stem_of_the_selected_region_s_melody_comes_onto_the_selected_track(ardour):
    ardour.do('regions = { sung } tracks = { Session:route_by_name("Stem") }')
    said = call(ardour, 'it\'s a "pad"', 1, True)
    assert (said["track"], said["beat"], said["mode"]) == ("Stem", "7.0", "3")  # bar 3 is 7 quarters in
    info, request = (
        soundfile.info(said["file"]),
        json.loads(Path(said["file"]).with_suffix(".json").read_text())["request"],
    )
    assert (info.frames, info.samplerate) == (103_385, 48_000)
    assert (request["prompt"], request["mode"], request["bpm"], request["signature"]) == (
        'it\'s a "pad"', "melody", 97.5, "7/8"
    )  # fmt: skip
    assert request["melody"].endswith("interchange/song/audiofiles/sung.wav")
    assert (request["melody_start"], request["melody_end"]) == (0, pytest.approx(2 * 3.5 * 60 / 97.5, abs=1e-4))
    assert left(ardour) == []


def test_without_a_selection_it_comes_onto_a_new_track_without_a_melody(ardour):
    locate(ardour, -1000)
    said = call(ardour, "pad", 1, False)
    assert (said["mode"], said["beat"], said["melody"]) == ("2", "7.0", "false")
    assert "track" not in said
    assert json.loads(Path(said["file"]).with_suffix(".json").read_text())["request"]["mode"] == "text"


def test_a_refusal_is_shown_in_its_own_words(ardour):
    said = call(ardour, "x" * 1001, 1, False)
    assert said["message"] == "prompt is 1001 characters long; at most 1000 are taken"
    assert "file" not in said
    assert left(ardour) == []


def test_a_cancelled_render_brings_nothing_and_says_nothing(ardour):
    ardour.do("cancel = true")
    said = call(ardour, "pad", 4, False)
    assert said == {"closed": "true", "melody": "false"}
    assert left(ardour) == []
