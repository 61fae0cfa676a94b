"""What requests do that make jobs or are about them, over real sockets, UDP and TCP alike."""

import time

import pytest

from musicgen_bridge.errors import BY_CODE
from musicgen_bridge.request import Progress

RENDER = ("/musicgen/render", "r1", "prompt", "dub chord", "bars", 2)
HALF = Progress(fraction=0.5, eta_s=3.0, stage="generating")


# render


def test_a_render_is_queued_runs_and_is_done(rig, client):
    assert client.ask(*RENDER, "variations", 2).arguments == ("r1", 1, 0)
    job = rig.on_loop(rig.jobs.take)
    rig.on_loop(rig.jobs.report, job, HALF)
    assert client.hear("/musicgen/progress").arguments == ("r1", 1, 0.5, 3.0, "generating")
    rig.on_loop(rig.jobs.worker_died, job)
    stems = rig.finish(2)
    for index, stem in enumerate(stems):
        assert client.hear("/musicgen/done").arguments == ("r1", 1, index, 2, stem.path, 79_684, 48_000, 126.5)
    assert client.hears_nothing_more()


def test_a_render_takes_the_session(rig, client):
    client.ask("/musicgen/session", 1, "bpm", 97.3, "signature", "5/4", "sample_rate", 96_000, "key", "Bb")
    client.ask(*RENDER)
    request = rig.jobs.listed()[0].request
    assert (request.bpm, request.signature, request.sample_rate) == (97.3, (5, 4), 96_000)
    assert (request.key, request.project) == ("Bb major", str(rig.song))


def test_recordings_are_checked_before_the_job_is_accepted(rig, client):
    recording = rig.folder / "hum.wav"
    recording.write_bytes(b"RIFF")
    assert client.fails("/musicgen/render", 1, "melody", str(rig.folder / "nothing.wav")).startswith("E_PATH")
    assert client.fails("/musicgen/render", 1, "melody", str(rig.song)).startswith("E_PATH")
    assert client.fails("/musicgen/render", 1, "continue", f"{rig.song}/../../x.wav").startswith("E_PATH")
    client.ask("/musicgen/render", 1, "melody", str(recording))
    request = rig.jobs.listed()[0].request
    assert (request.melody, request.mode) == (str(recording), "melody")


def test_an_unknown_model_is_refused_with_a_suggestion(client):
    failure = client.fails(*RENDER, "model", "melodie")
    assert failure.startswith('E_MODEL no model "melodie" (did you mean "melody"?)')


def test_the_same_request_again_is_the_same_job(rig, client):
    first = client.ask(*RENDER)
    assert client.ask(*RENDER) == first
    assert client.ask("/musicgen/render", "r1", "bars", 2.0, "prompt", "dub chord") == first
    seed = rig.jobs.listed()[0].request.seed
    job = rig.on_loop(rig.jobs.take)
    assert client.ask(*RENDER).address == "/musicgen/queued"
    rig.on_loop(rig.jobs.report, job, HALF)
    assert client.hear() == client.ask(*RENDER)
    rig.on_loop(rig.jobs.worker_died, job)
    rig.finish(2)
    done = [client.hear(), client.hear()]
    client.send(*RENDER)
    assert [client.hear(), client.hear()] == done
    assert [job.request.seed for job in rig.jobs.listed()] == [seed]


def test_the_same_request_stays_known_when_its_folder_has_gone(rig, client):
    folder = rig.folder / "gone"
    folder.mkdir()
    first = client.ask(*RENDER, "project", str(folder))
    folder.rmdir()
    assert client.ask(*RENDER, "project", str(folder)) == first


def test_the_same_id_with_other_content_is_refused(client):
    client.ask(*RENDER)
    assert client.fails(*RENDER, "seed", 1).startswith("E_RID")
    assert client.fails("/musicgen/trigger", "r1", "slot", 1).startswith("E_RID")


def test_ids_are_each_clients_own(rig, client, connect):
    other = connect()
    assert client.ask(*RENDER).arguments[1] == 1
    assert other.ask("/musicgen/render", "r1", "prompt", "something else").arguments[1] == 2
    stems = rig.finish()
    assert client.hear("/musicgen/done").arguments[4] == stems[0].path
    assert other.hears_nothing_more()


def test_a_client_is_known_by_its_name_wherever_it_sends_from(client, connect):
    again = connect()
    for each in (client, again):
        each.ask("/musicgen/hello", "h", "client", "live")
    assert client.ask(*RENDER) == again.ask(*RENDER)


def test_a_full_queue_says_when_to_try_again(make_rig, connect):
    small = make_rig(limit=1)
    client = connect(port=small.port)
    client.ask(*RENDER)
    message = client.ask("/musicgen/render", "r2", "prompt", "x")
    assert message.arguments[2] == "E_BUSY"
    assert message.arguments[4] > 0


def test_a_journal_that_cannot_be_written_is_told(rig, client):
    rig.jobs.journal.close()
    assert client.fails(*RENDER).startswith("E_DISK")
    assert client.ask("/musicgen/ping", 1).address == "/musicgen/pong"


@pytest.mark.parametrize("code", BY_CODE)
def test_every_failure_of_a_job_reaches_its_client(rig, udp, code):
    udp.ask(*RENDER)
    job = rig.on_loop(rig.jobs.take)
    rig.on_loop(rig.jobs.fail, job, BY_CODE[code]("long ago and far away " * 100, retry_ms=250))
    message = udp.hear("/musicgen/fail")
    assert message.arguments[:3] == ("r1", "/musicgen/render", code)
    assert message.arguments[3].startswith("long ago")
    assert message.arguments[3].endswith("…")
    assert message.arguments[4] == 250


def test_progress_comes_at_most_ten_times_a_second(rig, udp):
    udp.ask(*RENDER)
    job = rig.on_loop(rig.jobs.take)

    def burst():
        began = time.monotonic()
        for step in range(50):
            rig.jobs.report(job, Progress(fraction=step / 50, eta_s=-1.0, stage="decoding"))
        return time.monotonic() - began

    took = rig.on_loop(burst)
    rig.on_loop(rig.jobs.worker_died, job)
    rig.finish()
    heard = []
    while (message := udp.hear()).address == "/musicgen/progress":
        heard.append(message.arguments[2])
    assert 1 <= len(heard) <= 1 + took / 0.1
    assert heard[0] == 0.0


# trigger


@pytest.mark.parametrize("slot", [1, 1.0, "1", "tight-break", "Tight-Break"])
def test_a_slot_is_started_by_number_or_name(rig, client, slot):
    assert client.ask("/musicgen/trigger", "t", "slot", slot).address == "/musicgen/queued"
    request = rig.jobs.listed()[0].request
    assert (request.prompt, request.bars, request.seed) == ("tight break", 2.0, 5)


def test_what_a_trigger_says_goes_over_its_preset_and_the_defaults(rig, client):
    client.ask("/musicgen/set", 1, "beats", 3, "temperature", 0.5, "seed", 1)
    client.ask("/musicgen/trigger", 2, "slot", 1, "seconds", 1.5)
    request = rig.jobs.listed()[0].request
    assert (request.bars, request.beats, request.seconds) == (None, None, 1.5)
    assert (request.seed, request.temperature) == (5, 0.5)


def test_an_unknown_slot_is_refused(client):
    assert 'did you mean "wide-pad"?' in client.fails("/musicgen/trigger", 1, "slot", "wide-pat")
    assert "no preset has slot 77" in client.fails("/musicgen/trigger", 1, "slot", 77)
    assert "/musicgen/trigger needs slot" in client.fails("/musicgen/trigger", 1, "bars", 2)
    assert "slot must be" in client.fails("/musicgen/trigger", 1, "slot", True)


# cancel and query


def test_a_cancelled_job_ends_and_both_are_told(client):
    client.ask(*RENDER)
    client.send("/musicgen/cancel", "c", "target", "r1")
    failure, done = client.hear("/musicgen/fail"), client.hear("/musicgen/done")
    assert failure.arguments[:3] == ("r1", "/musicgen/render", "E_CANCELLED")
    assert done.arguments == ("c", 1)
    assert client.ask("/musicgen/cancel", "c", "target", "r1") == done
    assert client.ask(*RENDER) == failure


def test_a_running_job_is_handed_to_its_worker_to_cancel(rig, client):
    cancelled = []
    rig.jobs.on_cancel = cancelled.append
    client.ask("/musicgen/render", 4.0, "prompt", "x")
    job = rig.on_loop(rig.jobs.take)
    assert client.ask("/musicgen/cancel", 5, "target", 4).arguments == (5, 1)
    assert cancelled == [job]


@pytest.mark.parametrize("address", ["/musicgen/cancel", "/musicgen/query"])
def test_only_a_jobs_own_client_can_name_it(client, connect, address):
    connect().ask(*RENDER)
    client.ask("/musicgen/render", 1, "prompt", "x")
    assert client.fails(address, "c", "target", "r1").startswith("E_ARGS no job")
    assert client.fails(address, "c", "target", "1").startswith("E_ARGS no job")
    assert "needs target" in client.fails(address, "c")


def test_anybody_can_end_a_job_by_its_number(client, connect):
    other = connect()
    other.ask("/musicgen/render", 1, "prompt", "a client that is gone")
    assert client.ask("/musicgen/cancel", "c", "job", 1).arguments == ("c", 1)
    assert other.hear("/musicgen/fail").arguments[2] == "E_CANCELLED"
    assert "no job 1 waits or runs" in client.fails("/musicgen/cancel", "d", "job", 1)
    assert "needs target" in client.fails("/musicgen/cancel", "e", "job", 1, "target", 1)


def test_query_repeats_the_latest_reply_under_its_own_id(rig, client):
    queued = client.ask("/musicgen/render", 3.0, "prompt", "x")
    assert client.ask("/musicgen/query", "q", "target", 3) == queued
    rig.finish(3)
    done = [client.hear() for _ in range(3)]
    client.send("/musicgen/query", "q", "target", 3)
    assert [client.hear() for _ in range(3)] == done
    assert [type(message.arguments[0]) for message in done] == [float] * 3


def test_after_a_query_the_rest_goes_where_it_was_asked_from(rig, client, connect):
    moved = connect()
    for each in (client, moved):
        each.ask("/musicgen/hello", "h", "client", "live")
    client.ask(*RENDER)
    moved.ask("/musicgen/query", "q", "target", "r1")
    rig.finish()
    assert moved.hear().address == "/musicgen/done"
    assert client.hears_nothing_more()
