"""The plain Max patch in a strict stub of Max, over UDP to the real daemon: a folder is chosen instead of a set."""

import soundfile

from tests.max.conftest import DEVICES


def test_the_plain_patch_renders_into_the_chosen_folder(daemon, run, tune):
    melody = daemon.root / "tune.wav"
    melody.write_bytes(tune.read_bytes())
    chosen = {"fold": f"{daemon.song.as_posix()}/", "sound": melody.as_posix()}
    running = run(DEVICES / "musicgen-bridge.maxpat", port=daemon.port, buttons="numbers", chosen=chosen)
    running.shows("lamp display", "ready")
    running.touch("Prompt", "tight drum break")
    running.touch("Generate")
    running.says("choose a folder")
    running.touch("Folder")
    running.touch("Melody")
    for name, value in {"BPM": 97.5, "Signature": "7/8", "Bars": 1, "Variations": 2}.items():
        running.touch(name, value)
    running.touch("Generate")
    running.shows("text display", "done: 2 stems")
    paths = [one["value"][0] for one in running.find(event="shown", what="buffer")]
    assert [soundfile.info(path).frames for path in paths] == [int(3.5 * 60 * 48_000 / 97.5 + 0.5)] * 2
    running.touch("Beat earlier")
    running.shows("progress", 100)
    assert running.sent("/musicgen/recut")[-1] == {"take": paths[-1], "shift_beats": 1}
    running.touch("No melody")
    running.touch("Generate")
    running.shows("progress", 100)
    assert [asked.get("melody") for asked in running.sent("/musicgen/render")] == [melody.as_posix(), None]
