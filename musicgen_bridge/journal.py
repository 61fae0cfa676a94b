"""The SQLite journal: what was accepted, what became of it, and the numbered events; it survives a kill.

Write-ahead logging with `synchronous=NORMAL`: a commit outlives the process at once (kill -9 loses nothing) and costs
no disk flush; after a power cut the last moments may be missing, the file stays sound (https://sqlite.org/wal.html).
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from musicgen_bridge.errors import DiskError

_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    owner TEXT NOT NULL, rid TEXT NOT NULL, digest TEXT NOT NULL, reply_to TEXT NOT NULL, request TEXT NOT NULL,
    state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    stems TEXT NOT NULL DEFAULT '[]', error TEXT, ended REAL
);
CREATE INDEX IF NOT EXISTS jobs_by_id ON jobs (owner, rid);
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL
);
"""
_LAYOUT = 1
"""Kept in `PRAGMA user_version`; raised when the tables change."""
KEPT_JOBS = 2_000
KEPT_EVENTS = 10_000


def lock_folder(home: Path) -> sqlite3.Connection:
    """Keep a daemon's folder to this process until what is returned is closed; no second daemon may take up its jobs.

    SQLite locks an empty file with the system's own lock, which ends with the process, however that ends.

    Raises:
        DiskError: another daemon has the folder, or it can't be locked.
    """
    try:
        lock = sqlite3.connect(home / "lock.sqlite3", isolation_level=None, timeout=0)
        lock.execute("PRAGMA journal_mode=MEMORY")
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            text = f"another daemon works in {home}; end it, or start this one with another --port or --state"
        else:
            text = f"the folder {home} can't be locked ({error}); choose another --state"
        raise DiskError(text) from error
    return lock


class JobRow(NamedTuple):
    """One job as it is written down; `rid`, `request`, `stems` and `error` are JSON values."""

    number: int
    owner: str
    rid: Any
    digest: str
    reply_to: str
    request: dict[str, Any]
    state: str
    attempts: int
    stems: list[dict[str, Any]]
    error: list[Any] | None
    ended: float | None


class Journal:
    """One open journal file. Each method commits before it returns."""

    def __init__(self, path: Path) -> None:
        """Open or create the journal.

        Raises:
            DiskError: the file can't be opened, is no journal, or was written by a newer version.
        """
        self.path = path
        with self._disk():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            (layout,) = self._db.execute("PRAGMA user_version").fetchone()
            if layout > _LAYOUT:
                raise DiskError(f"{path} was written by a newer version; update musicgen-bridge or move the file away")
            self._db.executescript(_TABLES)
            self._db.execute(f"PRAGMA user_version={_LAYOUT}")

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise DiskError(f"the journal {self.path} can't be used ({error}); free space or move it away") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._disk():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the file; nothing may be called afterwards."""
        self._db.close()

    def add(self, owner: str, rid: str | int, digest: str, reply_to: str, request: dict[str, Any]) -> int:
        """Write down an accepted job and return its number."""
        with self._transaction() as db:
            row = db.execute(
                "INSERT INTO jobs (owner, rid, digest, reply_to, request, state) VALUES (?, ?, ?, ?, ?, 'queued')",
                (owner, json.dumps(rid), digest, reply_to, json.dumps(request)),
            )
            assert row.lastrowid is not None
            return row.lastrowid

    def start(self, number: int, attempts: int) -> None:
        """Write down that a worker has the job in hand, for the `attempts`-th time."""
        with self._transaction() as db:
            db.execute("UPDATE jobs SET state='running', attempts=? WHERE number=?", (attempts, number))

    def requeue(self, number: int, attempts: int) -> None:
        """Write down that the job waits again."""
        with self._transaction() as db:
            db.execute("UPDATE jobs SET state='queued', attempts=? WHERE number=?", (attempts, number))

    def move(self, number: int, reply_to: str) -> None:
        """Write down where the job's answers go from now on."""
        with self._transaction() as db:
            db.execute("UPDATE jobs SET reply_to=? WHERE number=?", (reply_to, number))

    def end(self, number: int, state: str, stems: list[dict[str, Any]], error: list[Any] | None) -> None:
        """Write down how the job ended, and forget the oldest ended ones beyond `KEPT_JOBS`."""
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET state=?, stems=?, error=?, ended=? WHERE number=?",
                (state, json.dumps(stems), json.dumps(error), time.time(), number),
            )
            db.execute("DELETE FROM jobs WHERE ended IS NOT NULL AND number <= ?", (number - KEPT_JOBS,))

    def find(self, owner: str, rid: str | int) -> JobRow | None:
        """Return the latest job under this id, or None."""
        with self._disk():
            row = self._db.execute(
                "SELECT * FROM jobs WHERE owner=? AND rid=? ORDER BY number DESC LIMIT 1", (owner, json.dumps(rid))
            ).fetchone()
        return _job_row(row) if row else None

    def unfinished(self) -> list[JobRow]:
        """Return the jobs that were queued or running, in the order they came."""
        with self._disk():
            rows = self._db.execute("SELECT * FROM jobs WHERE ended IS NULL ORDER BY number").fetchall()
        return [_job_row(row) for row in rows]

    def latest(self, count: int) -> list[JobRow]:
        """Return the newest jobs, newest first."""
        with self._disk():
            rows = self._db.execute("SELECT * FROM jobs ORDER BY number DESC LIMIT ?", (count,)).fetchall()
        return [_job_row(row) for row in rows]

    def add_event(self, job: int, kind: str, body: dict[str, Any]) -> int:
        """Write down an event, return its number, and forget the oldest beyond `KEPT_EVENTS`."""
        with self._transaction() as db:
            row = db.execute("INSERT INTO events (job, kind, body) VALUES (?, ?, ?)", (job, kind, json.dumps(body)))
            assert row.lastrowid is not None
            db.execute("DELETE FROM events WHERE number <= ?", (row.lastrowid - KEPT_EVENTS,))
            return row.lastrowid

    def events_since(self, number: int, count: int) -> list[tuple[int, JobRow, str, dict[str, Any]]]:
        """Return the first `count` events after `number`, oldest first, each with its job."""
        with self._disk():
            rows = self._db.execute(
                "SELECT events.number, events.kind, events.body, jobs.* FROM events JOIN jobs ON jobs.number=events.job"
                " WHERE events.number > ? ORDER BY events.number LIMIT ?",
                (number, count),
            ).fetchall()
        return [(row[0], _job_row(row[3:]), row[1], json.loads(row[2])) for row in rows]


def _job_row(row: tuple[Any, ...]) -> JobRow:
    number, owner, rid, digest, reply_to, request, state, attempts, stems, error, ended = row
    return JobRow(
        number,
        owner,
        json.loads(rid),
        digest,
        reply_to,
        json.loads(request),
        state,
        attempts,
        json.loads(stems),
        json.loads(error) if error else None,
        ended,
    )
