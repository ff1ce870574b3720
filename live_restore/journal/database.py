"""The journal's file: lock and transactions. What the rows mean is ``journal.py``'s business."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from live_restore.errors import FolderBusyError, JournalError, LiveRestoreError, one_line
from live_restore.journal import schema

# What a person can do about it while the program runs; anything else means a broken journal.
_MAY_PASS = frozenset(
    (
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    )
)
DATABASE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What a damaged journal raises: what it holds, and what SQLite says of it, may be no text."""

# Long enough for another process that only asks whether the lock is free to let go of it.
_LOCK_PATIENCE_S = 0.5


class Database:
    """An open journal; safe to use from several threads.

    Raises
    ------
    FolderBusyError
        Another process holds the lock.
    LiveRestoreError
        The file cannot be opened, is no journal, or is one of a newer version.
    """

    def __init__(self, path: Path, root: Path, *, recipe: str, read_only: bool) -> None:
        self._path = path
        self._mutex = threading.RLock()
        self._lock = None if read_only else _take_lock(path, root)
        db: sqlite3.Connection | None = None
        try:
            db = self._db = _open(path, read_only=read_only)
            found = schema.version_of(db, path)
            if read_only:
                # One without tables is just being made: nothing is in it yet.
                if found < schema.VERSION:
                    db = self._db = _copy_in_memory(db)
                    schema.bring_up_to_date(db, found)
            else:
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("PRAGMA synchronous=FULL")
                if found < schema.VERSION:
                    schema.bring_up_to_date(db, found)
                facts = {"root": one_line(root), "recipe": recipe}
                db.executemany("INSERT OR REPLACE INTO fact VALUES (?, ?)", facts.items())
            self.recipe = recipe or schema.fact(db, "recipe")
        except (*DATABASE_ERRORS, LiveRestoreError) as error:
            if db is not None:
                db.close()
            self._release_lock()
            if isinstance(error, LiveRestoreError):
                raise
            raise _explain("opened", error, path) from None

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
            except DATABASE_ERRORS as error:
                raise _explain("read", error, self._path) from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; raises ``JournalError`` where the disk refuses.

        Inside another one of the same thread it is part of that.
        """
        with self._mutex:
            if self._db.in_transaction:
                yield self._db
                return
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:  # a full disk makes SQLite roll back by itself
                        self._db.execute("ROLLBACK")
                    raise
            except DATABASE_ERRORS as error:
                raise _explain("written", error, self._path) from error

    def remember(self, name: str, value: str) -> None:
        """Keep a fact about this journal."""
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))


def lock_is_held(path: Path) -> bool:
    """Return whether a living process has the journal in ``path`` open for writing."""
    from filelock import FileLock, Timeout

    lock_file = path.with_suffix(".lock")
    if not lock_file.exists():
        return False
    lock = FileLock(lock_file, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        return True
    except OSError:  # another person's: nothing is known, so nothing is claimed
        return False
    lock.release()
    return False


def root_of(path: Path) -> tuple[str, bool]:
    """Return the watched folder of the journal in ``path`` as one line, and if recursively.

    Of one that cannot be read the folder is "", and the worst is taken: recursively.
    """
    try:
        with closing(_open(path, read_only=True)) as db:
            return schema.fact(db, "root"), schema.fact(db, "recursive") != "no"
    except DATABASE_ERRORS:
        return "", True


def _explain(doing: str, error: Exception, path: Path) -> LiveRestoreError:
    """Say what SQLite refused, and what a person can do about just that."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    what = f"the journal cannot be {doing} ({error})"
    if code == sqlite3.SQLITE_FULL:
        remedy = "free some space on that disk; nothing is lost"
    elif code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        remedy = "give yourself permission to write that file and its folder"
    elif code == sqlite3.SQLITE_CANTOPEN:
        remedy = "check that its folder is there and that you have permission to use it"
    elif code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        remedy = "close the program that has it open"
    elif code == sqlite3.SQLITE_IOERR:
        remedy = "check that disk"
    else:
        remedy = "move the file away to begin anew; results that are there are recognised"
    return (JournalError if code in _MAY_PASS else LiveRestoreError)(what, path, remedy)


def _take_lock(path: Path, root: Path) -> Any:
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_suffix(".lock"), timeout=_LOCK_PATIENCE_S, thread_local=False)
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


def _open(path: Path, *, read_only: bool) -> sqlite3.Connection:
    if read_only:
        # Merely to look, SQLite would make files beside a journal in WAL mode that nobody has open,
        # anybody's that lies in the folder. Whoever writes has one of those, and is waited for.
        at_rest = not Path(f"{path}-wal").exists()
        db = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro{'&immutable=1' if at_rest else ''}",
            uri=True,
            check_same_thread=False,
            isolation_level=None,
        )
    else:
        db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    db.row_factory = sqlite3.Row
    return db


def _copy_in_memory(db: sqlite3.Connection) -> sqlite3.Connection:
    """Return a copy that may be changed: whoever only looks on migrates nobody's journal."""
    copy = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    copy.row_factory = sqlite3.Row
    try:
        db.backup(copy)
    except BaseException:
        copy.close()
        raise
    finally:
        db.close()
    return copy
