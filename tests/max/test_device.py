"""The Max for Live device as its file holds it, in a strict stub of Max and Live, over UDP to the real daemon."""

import json
import shutil
import time
from pathlib import Path

import pytest
import soundfile

BAR_FRAMES = 79_684  # floor(3.5 * 60 * 48000 / 126.5 + 0.5)
SHORT = {"Prompt": "tight drum break", "Bars": 1, "Seed": 3}
LONG = {"Prompt": "slow pad", "Bars": 64}


def ready(running):
    running.shows("lamp display", "ready")
    return running


def turn(running, controls):
    for name, value in controls.items():
        running.touch(name, value)


def placed(running):
    return running.wait(event="placed")["given"]


@pytest.mark.parametrize("buttons", ["bang", "numbers"])
def test_a_stem_lands_in_the_first_empty_slot(daemon, device, buttons):
    running = ready(device(daemon, buttons=buttons, slots=[1, 0, 0]))
    turn(running, SHORT)
    running.touch("Generate")
    (path,) = placed(running)
    assert running.find(event="placed")[0]["where"] == "slot 1"
    assert Path(path).parent == daemon.song / "MusicGen"
    info = soundfile.info(path)
    assert (info.frames, info.samplerate) == (BAR_FRAMES, 48_000)
    running.shows("progress", 100)
    running.shows("text display", "placed in slot 2")
    assert running.shows("file display", path)
    assert running.shows("buffer", path)
    asked = {
        "prompt": "tight drum break",
        "bpm": 126.5,
        "signature": "7/8",
        "sample_rate": 48_000,
        "project": str(daemon.song),
        "bars": 1,
        "seed": 3,
    }
    assert running.sent("/musicgen/render")[0] == asked
    assert len(running.find(event="placed")) == 1


def test_it_says_hello_with_the_port_where_it_listens_and_lives_on_the_heartbeat(daemon, device):
    running = ready(device(daemon))
    hello = running.sent("/musicgen/hello")[0]
    assert hello["proto"] == 1
    assert hello["reply_port"] in [one["number"] for one in running.find(event="port", taken="")]
    assert running.find(event="shown", what="lamp display")[0]["value"] == ["gone"]
    running.wait(event="shown", what="colour", value=[0.25, 0.75, 0.35, 1])


def test_the_session_is_followed(daemon, device):
    running = ready(device(daemon, tempo=97.53))
    running.wait(event="sent", address="/musicgen/session")
    running.tell("change", path="live_set", property="tempo", value=133.25)
    running.tell("change", path="live_set", property="signature_numerator", value=5)
    running.tell("change", path="live_set", property="is_playing", value=1)
    with daemon.client() as bridge:
        while True:
            now = dict(zip(*[iter(bridge.request("/musicgen/session")[0].arguments[1:])] * 2, strict=True))
            if (now["bpm"], now["signature"], now["playing"]) == (133.25, "5/8", 1):
                break
    assert (now["sample_rate"], now["project"]) == (48_000, str(daemon.song))


def test_the_loop_gives_the_length_where_no_bars_are_asked(daemon, device):
    running = ready(device(daemon, song={"loop": 1, "loop_start": 8, "loop_length": 5}))
    turn(running, {**SHORT, "Bars": 0, "Place": "arrangement"})
    running.touch("Generate")
    path, beat = placed(running)
    assert beat == 8
    assert soundfile.info(path).frames == int(5 * 60 * 48_000 / 126.5 + 0.5)


def test_variations_lie_one_behind_the_other_in_the_arrangement(daemon, device):
    running = ready(device(daemon, song={"loop_start": 4}))
    turn(running, {**SHORT, "Variations": 2, "Place": "arrangement"})
    running.touch("Generate")
    running.shows("text display", "placed at beat 7.5")
    given = [one["given"] for one in running.find(event="placed")]
    assert [beat for _, beat in given] == [4, 7.5]
    assert len({path for path, _ in given}) == 2


def test_parts_fill_slots_and_a_preset_is_a_trigger(daemon, device):
    running = ready(device(daemon, slots=[0, 1, 0]))
    turn(running, {**SHORT, "Prompt": "", "Parts": "drums: tight break; bass: sub", "Guidance": 3.5})
    running.touch("Preset", "Boom-bap drums")
    running.touch("Generate")
    running.shows("text display", "placed in slot 3")
    assert [one["where"] for one in running.find(event="placed")] == ["slot 0", "slot 2"]
    (asked,) = running.sent("/musicgen/trigger")
    assert (asked["slot"], asked["parts"], asked["guidance"]) == (
        "Boom-bap drums",
        "drums: tight break; bass: sub",
        3.5,
    )
    assert "prompt" not in asked


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"missing": ["ClipSlot.create_audio_clip"]}, "this version of Live can't place clips"),
        ({"slots": [1, 1]}, "no empty slot"),
        ({"track": {"has_audio_input": 0}}, "no audio track"),
        ({"track": {"is_frozen": 1}}, "frozen"),
        ({"refuses": True, "racks": 2}, "Live refused"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_where_live_takes_no_clip_the_file_can_be_heard_and_found(daemon, device, options, why):
    running = ready(device(daemon, **options))
    turn(running, SHORT)
    running.touch("Generate")
    assert "drag the file" in running.says(why)
    (path,) = running.find(event="shown", what="file display")[-1]["value"]
    assert soundfile.info(path).frames == BAR_FRAMES
    running.touch("Play")
    running.shows("play", 1)
    running.touch("Show file")
    (address,) = running.wait(event="shown", what="max launchbrowser")["value"]
    assert address == (daemon.song / "MusicGen").as_uri()


def test_a_live_without_placing_in_the_arrangement(daemon, device):
    running = ready(device(daemon, missing=["Track.create_audio_clip"]))
    turn(running, {**SHORT, "Place": "arrangement"})
    running.touch("Generate")
    assert "drag the file" in running.says("can't place clips in the arrangement")


def test_an_unsaved_set_is_to_be_saved_first(daemon, device):
    running = ready(device(daemon, song={"file_path": ""}))
    running.says("save the set first")
    turn(running, SHORT)
    running.touch("Generate")
    running.says("no project folder")
    running.touch("Record")
    running.says("save the set first")
    assert not running.find(event="sent", address="/musicgen/render")
    running.tell("change", path="live_set", property="file_path", value=str(daemon.song / "saved.als"))
    running.wait(event="sent", address="/musicgen/session")
    running.touch("Generate")
    placed(running)


def test_a_folder_that_is_not_allowed_is_said_and_keeps_the_tempo_coming(daemon, device, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    running = ready(device(daemon, tempo=81.25, song={"file_path": str(tmp_path / "elsewhere" / "a.als")}))
    running.says("outside")
    with daemon.client() as bridge:
        assert 81.25 in bridge.request("/musicgen/session")[0].arguments


CLIP = {"is_audio_clip": 1, "looping": 1, "sample_length": 4 * 44_100, "sample_rate": 44_100}
MARKERS = (
    '{"warp_markers": [{"sample_time": 0.5, "beat_time": 0}, {"sample_time": 1.5, "beat_time": 2},'
    ' {"sample_time": 3.5, "beat_time": 4}, {"sample_time": 3.75, "beat_time": 4.25}]}'
)


@pytest.mark.parametrize(
    ("clip", "missing", "section"),
    [
        ({"warping": 0, "loop_start": 0.5, "loop_end": 2.25}, [], (0.5, 2.25)),
        ({"warping": 1, "loop_start": 1, "loop_end": 3, "warp_markers": MARKERS}, [], (1.0, 2.5)),
        ({"warping": 1, "loop_start": -4, "loop_end": 99, "warp_markers": MARKERS}, [], (0.0, 4.0)),
        ({"warping": 1, "loop_start": 2, "loop_end": 4}, ["Clip.warp_markers"], (1.0, 2.0)),
        ({"warping": 0, "loop_start": 0, "loop_end": 2}, ["Clip.sample_length"], (0.0, 2.0)),
    ],
    ids=["seconds", "warped", "beyond the file", "no markers", "no length"],
)
def test_the_selected_clip_s_loop_is_the_melody(daemon, device, tune, clip, missing, section):
    recorded = daemon.song / "1-Audio 0001.wav"
    shutil.copy(tune, recorded)
    clip = {**CLIP, "file_path": str(recorded), **clip}
    running = ready(device(daemon, tempo=120.0, clip=clip, missing=missing))
    turn(running, {**SHORT, "Melody": "clip", "Melody part": "all"})
    running.touch("Generate")
    placed(running)
    asked = running.sent("/musicgen/render")[0]
    assert asked["melody"] == str(recorded)
    assert (asked["melody_start"], asked["melody_end"]) == pytest.approx(section)
    assert asked["melody_part"] == "all"


def test_without_a_clip_there_is_no_melody_to_follow(daemon, device, tune):
    clip = {**CLIP, "file_path": str(tune), "warping": 0, "loop_start": 0, "loop_end": 1}
    running = ready(device(daemon, clip=clip))
    turn(running, {**SHORT, "Melody": "clip"})
    running.tell("deleteClip")
    running.touch("Generate")
    running.says("select an audio clip")
    running.touch("Melody", "recording")
    running.touch("Generate")
    running.says("record a melody first")
    assert not running.find(event="sent", address="/musicgen/render")


def test_what_was_recorded_from_the_track_is_the_melody_from_its_first_bar_line(daemon, device, tune):
    running = ready(device(daemon, tempo=120.0, played=tune, song={"is_playing": 1, "current_song_time": 2.5}))
    turn(running, {**SHORT, "Melody": "recording"})
    running.touch("Record", 1)
    running.tell("change", path="live_set", property="current_song_time", value=8.5)
    running.touch("Record", 0)
    running.says("recorded")
    running.touch("Generate")
    placed(running)
    asked = running.sent("/musicgen/render")[0]
    assert Path(asked["melody"]).parent == daemon.song
    assert soundfile.info(asked["melody"]).frames == soundfile.info(str(tune)).frames
    assert (asked["melody_start"], asked["melody_end"]) == pytest.approx((0.5, 2.25))  # bars of 3.5 beats: 3.5 to 7


def test_the_best_of_several_and_the_mix_of_parts(daemon, device):
    running = ready(device(daemon, slots=[0, 0, 0]))
    turn(running, {**SHORT, "Parts": "drums: tight break; bass: sub", "Best of": 2, "Mix": 1})
    running.touch("Generate")
    running.shows("text display", "placed in slot 3")
    asked = running.sent("/musicgen/render")[0]
    assert (asked["best_of"], asked["mix"]) == (2, 1)
    takes = [sidecar(one["given"][0]) for one in running.find(event="placed")]
    assert [take["part"]["name"] for take in takes] == ["drums", "bass", "mix"]
    turn(running, {"Parts": "drums: tight break"})
    running.touch("Generate")
    running.says("no empty slot")
    assert "mix" not in running.sent("/musicgen/render")[-1]


def sidecar(path):
    return json.loads(Path(path).with_suffix(".json").read_text("utf-8"))


def cuts(running):
    """Return what was sent to be cut anew, without what was sent again."""
    sent = running.sent("/musicgen/recut")
    return [one for at, one in enumerate(sent) if one not in sent[:at]]


def sum_of(cuts):
    """Return by how many beats and milliseconds they move a take together."""
    return tuple(sum(cut.get(key, 0) for cut in cuts) for key in ("shift_beats", "shift_ms"))


def test_a_take_is_moved_as_often_as_it_was_asked_for(daemon, device):
    running = ready(device(daemon, slots=[0, 0, 0, 0, 0]))
    running.touch("Beat earlier")
    running.says("there is no take yet")
    turn(running, SHORT)
    running.touch("Generate")
    placed(running)
    for name in ("10 ms earlier", "10 ms earlier", "Beat earlier"):
        running.touch(name)
    running.wait(event="placed")
    while (moved := sum_of(cuts(running))) != (1, 20) or len(running.find(event="placed")) <= len(cuts(running)):
        assert not running.find(event="error"), moved
        time.sleep(0.1)
    paths = [one["given"][0] for one in running.find(event="placed")]
    assert [cut["take"] for cut in cuts(running)] == paths[:-1]
    (new,) = running.find(event="placed")[-1]["given"]
    assert sidecar(new)["request"]["mode"] == "recut"
    assert soundfile.info(new).frames == BAR_FRAMES


def test_the_take_is_the_clip_that_was_clicked_last_on_the_device_s_track(daemon, device):
    running = ready(device(daemon, slots=[0, 0, 0]))
    turn(running, {**SHORT, "Variations": 2})
    running.touch("Generate")
    running.shows("text display", "placed in slot 2")
    first, second = (one["given"][0] for one in running.find(event="placed"))
    clip = {"is_audio_clip": 1, "warping": 0, "loop_start": 0, "loop_end": 1, "sample_length": 1, "sample_rate": 1}
    running.tell("select", clip={**clip, "file_path": first}, elsewhere=True)
    running.tell("select", clip={**clip, "file_path": str(daemon.song / "mine.wav")})
    running.tell("select", clip={"is_audio_clip": 0})
    running.touch("10 ms later")
    assert running.wait(event="sent", address="/musicgen/recut")["arguments"][2] == second
    running.shows("text display", "placed in slot 3")
    running.tell("select", clip={**clip, "file_path": first})
    running.shows("file display", first)
    running.shows("buffer", first)
    running.touch("10 ms later")
    running.says("no empty slot")
    assert cuts(running)[1] == {"take": first, "shift_ms": -10}


def test_what_can_t_be_moved_is_said(daemon, device, tune):
    running = ready(device(daemon))
    (daemon.song / "MusicGen").mkdir(exist_ok=True)
    stem = str(daemon.song / "MusicGen" / "mine.wav")
    shutil.copy(tune, stem)
    running.tell("select", clip={"is_audio_clip": 1, "warping": 0, "loop_start": 0, "loop_end": 1, "file_path": stem})
    running.shows("file display", stem)
    running.touch("Beat later")
    running.says("mine.json does not exist")
    running.shows("progress", 0)


def test_a_section_of_the_selected_clip_is_made_anew(daemon, device):
    running = ready(device(daemon, slots=[0, 0]))
    running.touch("Fill loop")
    running.says("select an audio clip")
    turn(running, {**SHORT, "Bars": 2})
    running.touch("Generate")
    (path,) = placed(running)
    length = soundfile.info(path).duration
    clip = {"is_audio_clip": 1, "warping": 0, "sample_length": length * 48_000, "sample_rate": 48_000}
    clip |= {"file_path": path, "loop_end": length}
    running.tell("select", clip={**clip, "loop_start": 0.2})
    running.touch("Fill loop")
    running.says("half a second or more into the clip")
    running.tell("select", clip={**clip, "loop_start": length / 2})
    turn(running, {"Prompt": "a busy fill", "Best of": 2, "Parts": "a: x; b: y"})
    running.touch("Fill loop")
    (new,) = placed(running)
    asked = running.sent("/musicgen/render")[-1]
    assert (asked["fill"], asked["prompt"]) == (path, "a busy fill")
    assert (asked["fill_start"], asked["fill_end"]) == pytest.approx((length / 2, length))
    assert not asked.keys() & {"bars", "parts", "best_of"}
    assert sidecar(new)["request"]["mode"] == "fill"
    assert soundfile.info(new).duration == length


def test_cancel_ends_the_take_and_the_next_one_runs(daemon, device):
    running = ready(device(daemon))
    turn(running, LONG)
    running.touch("Generate")
    running.says("generating")
    running.shows("lamp display", "busy")
    running.touch("Cancel")
    running.says("cancelled")
    turn(running, SHORT)
    running.touch("Generate")
    assert soundfile.info(placed(running)[0]).frames == BAR_FRAMES
    assert len(running.find(event="placed")) == 1


def test_what_a_person_should_know_is_said_and_stays_in_the_console(daemon, device):
    running = ready(device(daemon))
    turn(running, SHORT)
    with daemon.client() as bridge:
        bridge.request("/musicgen/set", {"stream": 1})
        try:
            running.touch("Generate")
            said = running.says("rendered all the same")
            placed(running)
        finally:
            bridge.request("/musicgen/set", {"reset": 1})
    assert running.find(event="posted", text=f"musicgen-bridge: {said}\n")


def test_a_refusal_is_said_and_ends_the_take(daemon, device):
    running = ready(device(daemon))
    turn(running, {**SHORT, "Parts": "drums: a; drums: b"})
    running.touch("Generate")
    running.says("same name twice")
    running.shows("progress", 0)
    turn(running, {"Parts": ""})
    running.touch("Generate")
    placed(running)


def test_a_take_outlives_the_daemon_that_was_killed_and_started_again(new_daemon, device):
    daemon = new_daemon().start()
    running = ready(device(daemon))
    turn(running, {**SHORT, "Bars": 4})
    running.touch("Generate")
    running.says("generating")
    daemon.kill()
    running.shows("lamp display", "gone")
    running.touch("Generate")
    running.says("the daemon is not there")
    running.touch("Seed", 4)  # from here on only what the new daemon says counts
    daemon.start()
    (path,) = placed(running)
    assert soundfile.info(path).frames == int(4 * 3.5 * 60 * 48_000 / 126.5 + 0.5)
    assert len(running.find(event="placed")) == 1
    running.shows("lamp display", "ready")


def test_without_a_daemon_the_lamp_stays_off_until_it_comes(new_daemon, device):
    daemon = new_daemon()
    daemon.song.mkdir()
    running = device(daemon)
    running.shows("lamp display", "gone")
    turn(running, SHORT)
    running.touch("Generate")
    running.says("musicgen-bridge start")
    daemon.start()
    running.shows("lamp display", "ready")
    running.touch("Generate")
    placed(running)
    daemon.end()
    running.shows("lamp display", "gone")


def test_a_port_that_another_program_has_is_left_to_it(daemon, device):
    first = ready(device(daemon, draws=[0.1, 0.5]))
    (taken,) = {one["number"] for one in first.find(event="port", taken="")}
    second = ready(device(daemon, draws=[0.2, 0.5]))
    assert second.find(event="port", number=taken, taken="EADDRINUSE")
    turn(second, SHORT)
    second.touch("Generate")
    placed(second)
    assert not first.find(event="placed")
