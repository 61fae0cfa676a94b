"""Recordings, notes and the transport at the desk; a test plays the recorder."""

import time

import pytest

from musicgen_bridge.errors import AudioError
from musicgen_bridge.request import Progress, RecordRequest, Stem

RECORD = ("/musicgen/record", "r1", "bars", 2, "as", "riff")


def test_a_recording_is_queued_shows_its_level_and_is_done(rig, client):
    client.send("/musicgen/session", "s", "bpm", 97.5, "signature", "7/8")
    client.hear("/musicgen/session.reply")
    assert client.ask(*RECORD).arguments == ("r1", 1, 0)
    job = rig.on_loop(rig.jobs.take, RecordRequest)
    assert (job.request.input, job.request.bpm, str(job.request.signature)) == ("default", 97.5, "7/8")
    assert (job.request.bars, job.request.name, job.request.project) == (2.0, "riff", str(rig.song))
    now = Progress(fraction=0.5, eta_s=1.0, stage="recording", level=-6.0)
    rig.on_loop(rig.jobs.report, job, now)
    assert client.hear("/musicgen/progress").arguments == ("r1", 1, 0.5, 1.0, "recording", -6.0)
    rig.on_loop(rig.jobs.note, job, "Mic clips")
    assert client.hear("/musicgen/note").arguments == ("r1", 1, "Mic clips")
    stem = Stem(index=0, total=1, path="/song/riff.wav", frames=9, sample_rate=48_000, bpm=97.5, seed=0)
    rig.on_loop(rig.jobs.finish, job, [stem])
    done = client.hear("/musicgen/done")
    assert done.arguments == ("r1", 1, 0, 1, "/song/riff.wav", 9, 48_000, 97.5)
    assert client.ask(*RECORD) == done
    assert client.hears_nothing_more()


def test_a_recording_fails_under_its_own_address_and_is_listed(rig, client):
    client.ask(*RECORD)
    job = rig.on_loop(rig.jobs.take, RecordRequest)
    assert client.fails("/musicgen/record", "r2", "bars", 1).startswith("E_BUSY a recording is being made")
    rig.on_loop(rig.jobs.fail, job, AudioError("no Mic"))
    assert client.hear("/musicgen/fail").arguments == ("r1", "/musicgen/record", "E_AUDIO", "no Mic")
    item = client.ask("/musicgen/list", "l", "what", "jobs").arguments[3:]
    assert dict(zip(item[::2], item[1::2], strict=True)) | {"prompt": "", "target": "r1", "state": "failed"} == dict(
        zip(item[::2], item[1::2], strict=True)
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("bars", 1, "seconds", 1), "give one length"),
        (("seconds", 601), "seconds must be from"),
        (("prompt", "x"), 'unknown key "prompt" of /musicgen/record'),
        (("project", "/nowhere"), "E_PATH"),
    ],
)
def test_a_wrong_recording_is_refused(client, arguments, says):
    assert says in client.fails("/musicgen/record", 1, *arguments)


def test_inputs_that_cannot_be_listed_say_why(rig, client):
    def missing(kind):
        raise AudioError(f"no PortAudio for an {kind}")

    rig.devices = missing
    assert client.fails("/musicgen/list", 1, "what", "outputs") == "E_AUDIO no PortAudio for an output"


def test_the_transport_runs_on_by_the_clock_until_it_is_told_anew(rig, client):
    told = []
    rig.desk.on_transport = told.append
    before = time.perf_counter()
    client.ask("/musicgen/session", 1, "playing", 1, "beat", 8.0, "bpm", 90.0, "signature", "3/4")
    client.ask("/musicgen/session", 2, "name", "song", "sample_rate", 44_100)
    client.ask("/musicgen/session", 3, "bpm", 120.0)
    client.ask("/musicgen/session", 4, "playing", 0)
    started, faster, halted = told
    assert (started.beat, started.bpm, started.signature, started.playing) == (8.0, 90.0, (3, 4), True)
    assert before <= started.at <= time.perf_counter()
    assert faster.beat == pytest.approx(started.beat_at(faster.at))
    assert halted.beat == pytest.approx(faster.beat_at(halted.at))
    assert halted.beat_at(halted.at + 100) == halted.beat
    assert rig.desk.transport == halted
