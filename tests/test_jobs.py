"""The queue and its journal on a real file: duplicates, cancelling, one end each, and what survives a kill."""

import os
import signal
import subprocess
import sys
import time

import pytest

from musicgen_bridge.errors import ArgumentError, BusyError, CancelledError, DiskError, InternalError, RequestIdError
from musicgen_bridge.jobs import REMEMBERED_S, Done, Failed, Jobs, Noted, Queued
from musicgen_bridge.journal import Journal
from musicgen_bridge.request import Progress, RecordRequest, RenderRequest, Stem

HALF = Progress(fraction=0.5, eta_s=1.0, stage="generating")


def stems(count=1):
    return [
        Stem(index=i, total=count, path=f"/p/{i}.wav", frames=10, sample_rate=48_000, bpm=120.0, seed=i)
        for i in range(count)
    ]


@pytest.fixture
def make(tmp_path):
    made = []

    def open_jobs(**options):
        heard = []
        jobs = Jobs(Journal(tmp_path / "journal.sqlite3"), **options)
        jobs.on_event = lambda number, job, event: heard.append((job.number, event))
        made.append(jobs)
        return jobs, heard

    yield open_jobs
    for jobs in made:
        jobs.journal.close()


def submit(jobs, rid, digest="d", owner="live", seed=1):
    return jobs.submit(owner, rid, digest, lambda: RenderRequest(project="/p", bars=1.0, seed=seed), "udp:127.0.0.1:9")


def test_an_accepted_job_is_in_the_journal_before_anybody_hears_of_it(make, tmp_path):
    jobs, _ = make()
    found = []
    jobs.on_event = lambda number, job, event: found.append(Journal(tmp_path / "journal.sqlite3").find("live", "a"))
    submit(jobs, "a", seed=77)
    assert found[0].request["seed"] == 77
    assert found[0].state == "queued"


def test_a_duplicate_is_the_same_job_and_draws_no_second_seed(make):
    jobs, heard = make()
    first = submit(jobs, "a")
    again = jobs.submit("live", "a", "d", lambda: pytest.fail("made a second request"), "udp:127.0.0.1:10")
    assert again is first
    assert again.reply_to == "udp:127.0.0.1:10"
    assert [type(event) for _, event in heard] == [Queued]


def test_where_a_duplicate_came_from_is_where_the_answers_go_even_after_a_restart(make):
    jobs, _ = make()
    submit(jobs, "a")
    jobs.submit("live", "a", "d", lambda: pytest.fail("made a second request"), "udp:127.0.0.1:10")
    jobs.journal.close()
    again, _ = make()
    assert again.find("live", "a").reply_to == "udp:127.0.0.1:10"


def test_an_id_used_for_other_content_is_refused(make):
    jobs, _ = make()
    submit(jobs, "a")
    with pytest.raises(RequestIdError, match="choose a new one"):
        submit(jobs, "a", digest="other")


def test_ids_differ_by_owner_and_by_type(make):
    jobs, _ = make()
    numbers = {submit(jobs, rid, owner=owner).number for rid in (1, "1") for owner in ("live", "reaper")}
    assert len(numbers) == 4
    assert jobs.find("live", 1).number != jobs.find("live", "1").number


def test_an_id_is_free_again_long_after_its_job_ended(make):
    jobs, _ = make()
    job = submit(jobs, 1)
    jobs.take()
    jobs.finish(job, stems())
    with pytest.raises(RequestIdError):
        submit(jobs, 1, digest="other")
    jobs.journal._db.execute("UPDATE jobs SET ended = ended - ?", (REMEMBERED_S,))
    assert submit(jobs, 1, digest="other").number != job.number


def test_a_full_queue_says_when_to_try_again(make):
    jobs, _ = make(limit=2)
    submit(jobs, 1)
    submit(jobs, 2)
    jobs.take()
    with pytest.raises(BusyError) as caught:
        submit(jobs, 3)
    assert caught.value.retry_ms >= 500
    assert submit(jobs, 1).number == 1  # a duplicate still finds its job


def test_jobs_are_taken_in_their_order(make):
    jobs, _ = make()
    a, b, c = (submit(jobs, rid) for rid in "abc")
    assert [jobs.position(job) for job in (a, b, c)] == [0, 1, 2]
    assert jobs.take() is a
    assert [jobs.position(job) for job in (a, b, c)] == [0, 1, 2]
    jobs.finish(a, stems())
    assert jobs.take() is b
    assert jobs.position(c) == 1


def test_a_job_ends_exactly_once(make):
    jobs, heard = make()
    job = submit(jobs, 1)
    jobs.take()
    jobs.report(job, HALF)
    jobs.finish(job, stems(2))
    jobs.finish(job, stems(2))
    jobs.fail(job, InternalError("late"))
    jobs.report(job, HALF)
    assert [type(event) for _, event in heard] == [Queued, Progress, Done, Done]
    assert jobs.find("live", 1).state == "done"
    assert jobs.find("live", 1).events == [Done(stem) for stem in stems(2)]


def test_a_waiting_job_is_cancelled_at_once(make):
    jobs, heard = make()
    submit(jobs, 1)
    waiting = submit(jobs, 2)
    jobs.take()
    jobs.cancel("live", 2)
    assert waiting.state == "cancelled"
    assert heard[-1] == (waiting.number, Failed("E_CANCELLED", "cancelled while it waited"))
    assert jobs.take() is None


def test_a_running_job_ends_when_its_worker_lets_go(make):
    jobs, _ = make()
    asked = []
    jobs.on_cancel = asked.append
    job = submit(jobs, 1)
    jobs.take()
    jobs.cancel("live", 1)
    jobs.cancel("live", 1)
    assert (asked, job.state) == ([job], "running")
    jobs.fail(job, CancelledError("cancelled"))
    assert job.state == "cancelled"
    with pytest.raises(ArgumentError, match="no job has the id"):
        jobs.cancel("live", "nobody")


def test_a_job_whose_worker_died_runs_once_more_and_keeps_its_place(make):
    jobs, heard = make()
    first, second = submit(jobs, 1), submit(jobs, 2)
    assert jobs.take() is first
    jobs.worker_died(first)
    assert (first.state, jobs.take()) == ("queued", first)
    jobs.worker_died(first)
    assert first.state == "failed"
    assert heard[-1][1].code == "E_INTERNAL"
    assert jobs.take() is second


def test_a_job_that_had_not_begun_had_no_part_in_its_workers_death(make):
    jobs, _ = make()
    first, second = submit(jobs, 1), submit(jobs, 2)
    for _ in range(3):
        assert jobs.take() is first
        jobs.worker_died(first, begun=False)
    assert (first.state, first.attempts) == ("queued", 0)
    assert jobs.journal.unfinished()[0].attempts == 0
    assert [jobs.take(), jobs.take()] == [first, second]


def test_nobody_is_overtaken_by_one_who_would_fit(make):
    jobs, _ = make()
    first, second = submit(jobs, 1, seed=1), submit(jobs, 2, seed=2)
    assert jobs.take(fits=lambda job: job is second) is None
    assert (first.state, first.attempts, second.state) == ("queued", 0, "queued")
    assert jobs.take(fits=lambda job: job is first) is first


def test_a_cancelled_job_whose_worker_died_does_not_run_again(make):
    jobs, _ = make()
    job = submit(jobs, 1)
    jobs.take()
    jobs.cancel("live", 1)
    jobs.worker_died(job)
    assert job.state == "cancelled"


def test_what_was_open_waits_again_after_a_restart(make):
    jobs, _ = make()
    running, waiting, done = (submit(jobs, rid) for rid in "abc")
    jobs.take()
    jobs.fail(done, CancelledError("x"))
    jobs.journal.close()
    again, heard = make()
    assert [again.take().number for _ in range(2)] == [running.number, waiting.number]
    assert again.take() is None
    assert again.running[0].attempts == 1  # the daemon's end was not the job's fault
    assert again.running[0].request == running.request
    assert again.find("live", "c").error.code == "E_CANCELLED"
    assert heard == []


def test_events_are_numbered_and_kept(make):
    jobs, _ = make()
    job = submit(jobs, 1)
    jobs.take()
    jobs.report(job, HALF)
    jobs.finish(job, stems(2))
    jobs.journal.close()
    again, _ = make()
    kept = again.events_since(0)
    assert [event for _, _, event in kept] == [Queued(0), *(Done(stem) for stem in stems(2))]
    assert [n for n, _, _ in again.events_since(kept[0][0])] == [n for n, _, _ in kept[1:]]
    assert len(again.events_since(0, 2)) == 2
    assert again.listed()[0].state == "done"


def test_a_journal_of_a_newer_version_is_left_alone(make, tmp_path):
    jobs, _ = make()
    jobs.journal._db.execute("PRAGMA user_version=99")
    with pytest.raises(DiskError, match="newer version"):
        Journal(tmp_path / "journal.sqlite3")


def test_a_file_that_is_no_journal_is_not_touched(tmp_path):
    path = tmp_path / "journal.sqlite3"
    path.write_text("these are my lyrics\n" * 100)
    with pytest.raises(DiskError, match="can't be used"):
        Journal(path)
    assert path.read_text().startswith("these are my lyrics")


def test_a_journal_survives_kill_9(tmp_path):
    path = tmp_path / "journal.sqlite3"
    code = f"""
import sys, time
from pathlib import Path
from musicgen_bridge.jobs import Jobs
from musicgen_bridge.journal import Journal
from musicgen_bridge.request import RenderRequest
jobs = Jobs(Journal(Path({str(path)!r})), limit=1000)
for n in range(1000):
    jobs.submit("o", n, "d", lambda: RenderRequest(project="/p", bars=1.0), "")
    print(n, flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    told = [int(child.stdout.readline()) for _ in range(25)]
    if os.name == "posix":
        os.kill(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.wait()
    told += [int(line) for line in child.stdout.read().split()]
    rows = Journal(path).unfinished()
    assert {row.rid for row in rows} >= set(told)


def test_a_full_disk_refuses_new_jobs_but_ends_the_old_ones(make):
    jobs, heard = make()
    job = submit(jobs, 1)
    jobs.take()
    db = jobs.journal._db
    db.execute("PRAGMA max_page_count=1")  # SQLite's own "database or disk is full"
    db.execute(f"PRAGMA max_page_count={db.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(DiskError, match="free space"):
        for rid in range(2, 200):
            submit(jobs, rid)
    jobs.finish(job, stems())
    assert job.state == "done"
    assert isinstance(heard[-1][1], Done)


def test_old_jobs_and_events_are_forgotten(make, monkeypatch):
    monkeypatch.setattr("musicgen_bridge.journal.KEPT_JOBS", 3)
    monkeypatch.setattr("musicgen_bridge.journal.KEPT_EVENTS", 4)
    jobs, _ = make()
    for rid in range(8):
        job = submit(jobs, rid)
        jobs.take()
        jobs.finish(job, stems())
    assert len(jobs.listed()) == 3
    assert len(jobs.events_since(0)) <= 4
    assert time.time() - jobs.listed()[0].ended < 60


def record(jobs, rid):
    return jobs.submit("live", rid, "d", lambda: RecordRequest(project="/p", bars=1.0, input="Mic"), "udp:127.0.0.1:9")


def test_a_recording_runs_beside_the_renders_and_one_at_a_time(make):
    jobs, heard = make(limit=1)
    render = submit(jobs, 1)
    recording = record(jobs, 2)
    assert heard[-1] == (recording.number, Queued(0))
    with pytest.raises(BusyError, match="a recording is being made"):
        record(jobs, 3)
    assert record(jobs, 2) is recording
    assert (jobs.take(RecordRequest), jobs.take(), jobs.take(RecordRequest)) == (recording, render, None)
    jobs.finish(recording, stems())
    assert record(jobs, 3).state == "queued"


def test_a_recording_that_a_kill_interrupted_has_failed_once(make):
    jobs, _ = make()
    record(jobs, "r")
    jobs.take(RecordRequest)
    jobs.journal.close()
    again, _ = make()
    assert again.take(RecordRequest) is None
    job = again.find("live", "r")
    assert (job.state, job.error.code) == ("failed", "E_AUDIO")
    assert [event for _, _, event in again.events_since(0)] == [Queued(0), job.error]


def test_a_note_is_passed_on_and_kept_while_its_job_is_open(make):
    jobs, heard = make()
    job = submit(jobs, 1)
    jobs.take()
    jobs.note(job, "heard in 9 s")
    jobs.finish(job, stems())
    jobs.note(job, "too late")
    assert [event for _, event in heard] == [Queued(0), Noted("heard in 9 s"), Done(stems()[0])]
    assert [event for _, _, event in jobs.events_since(0)] == [event for _, event in heard]


def test_a_cancel_of_what_is_done_reaches_who_plays_it(make):
    jobs, _ = make()
    asked = []
    jobs.on_cancel = lambda job: asked.append(job.number)
    job = submit(jobs, 1)
    jobs.take()
    jobs.finish(job, stems())
    assert jobs.cancel("live", 1).state == "done"
    assert asked == [job.number]
