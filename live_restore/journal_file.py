"""The journal's file: schema, lock and transactions. What the rows mean is ``journal.py``'s."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from live_restore.errors import FolderBusyError, LiveRestoreError, one_line

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    id          INTEGER PRIMARY KEY,
    recipe      TEXT NOT NULL,
    source      BLOB NOT NULL,            -- os.fsencode: file names need not be valid text
    state       TEXT NOT NULL,
    reason      TEXT NOT NULL DEFAULT '',
    size        INTEGER NOT NULL,
    mtime_ns    INTEGER NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    stacks      INTEGER NOT NULL DEFAULT 0,
    result      BLOB NOT NULL DEFAULT x'', -- likewise
    turn        INTEGER,                  -- order of completion
    seen_at     REAL NOT NULL,
    finished_at REAL,
    owner       TEXT,
    lease_until REAL,
    UNIQUE (recipe, source)
);
CREATE INDEX IF NOT EXISTS entry_by_state ON entry (recipe, state, turn);
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_SCHEMA_VERSION = "1"


class JournalFile:
    """An open journal; safe to use from several threads.

    Raises
    ------
    FolderBusyError
        Another process holds the lock.
    LiveRestoreError
        The file cannot be opened, or is no journal.
    """

    def __init__(self, path: Path, root: Path, *, recipe: str, read_only: bool) -> None:
        self._path = path
        self._mutex = threading.RLock()
        self._lock = None if read_only else _take_lock(path, root)
        db: sqlite3.Connection | None = None
        try:
            db = self._db = _open(path, read_only)
            if not read_only:
                _prepare(db, root, recipe)
            stored = _fact(db, "recipe")
            self.recipe = recipe or stored
        except sqlite3.Error as error:
            if db is not None:
                db.close()
            self._release_lock()
            raise LiveRestoreError(
                f"the journal cannot be opened ({error})",
                path,
                "free some space there, or move the file away to begin anew",
            ) from None

    def close(self) -> None:
        """Close the database, then let go of the folder."""
        with self._mutex:
            self._db.close()
        self._release_lock()

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.release()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the database to look at; raises ``LiveRestoreError`` where it cannot be read."""
        with self._mutex:
            try:
                yield self._db
            except sqlite3.Error as error:
                raise LiveRestoreError(
                    f"the journal cannot be read ({error})", self._path, "check that disk"
                ) from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; raises ``LiveRestoreError`` where the disk refuses."""
        with self._mutex:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:  # a full disk makes SQLite roll back by itself
                        self._db.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise LiveRestoreError(
                    f"the journal cannot be written ({error})",
                    self._path,
                    "free some space on that disk and start again; nothing is lost",
                ) from error


def _take_lock(path: Path, root: Path) -> Any:
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_suffix(".lock"), timeout=0, thread_local=False)
        lock.acquire()
    except Timeout:
        raise FolderBusyError(
            "is already watched by another live-restore on this computer",
            root,
            "stop that one first, or look at it with live-restore status",
        ) from None
    except OSError as error:
        raise LiveRestoreError(
            f"the journal's folder cannot be used ({error.strerror})",
            path.parent,
            "make it writable, or set journal.folder",
        ) from None
    return lock


def _open(path: Path, read_only: bool) -> sqlite3.Connection:
    if read_only:
        db = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False
        )
    else:
        db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    db.row_factory = sqlite3.Row
    return db


def _prepare(db: sqlite3.Connection, root: Path, recipe: str) -> None:
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.executescript(_SCHEMA)
    facts = {"schema": _SCHEMA_VERSION, "root": one_line(root), "recipe": recipe}
    db.executemany("INSERT OR REPLACE INTO fact VALUES (?, ?)", facts.items())


def _fact(db: sqlite3.Connection, name: str) -> str:
    row = db.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
    return str(row["value"]) if row else ""
