"""Journals that are none, full disks, and versions that are newer."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from live_restore.errors import JournalError, LiveRestoreError
from live_restore.journal import schema
from live_restore.journal.facts import RunRecord
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.journal.view import JournalView
from tests.support.journal import OLD, A, B
from tests.support.keys import key_at


@pytest.mark.parametrize("kind", [Journal, JournalView])
def test_a_file_that_is_no_journal(tmp_path: Path, kind: type[JournalView]) -> None:
    file = tmp_path / "journal.sqlite"
    file.write_bytes(b"this is no database" * 100)
    for _ in range(2):  # the second time shows that the lock was let go
        with pytest.raises(LiveRestoreError, match="journal cannot be opened"):
            kind(file, tmp_path, recipe="one")


def test_an_absent_file_is_no_journal_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(LiveRestoreError, match="journal cannot be opened"):
        JournalView(tmp_path / "absent.sqlite", tmp_path)


@pytest.mark.parametrize("made", ["the file alone", "its way of writing", "all but its facts"])
def test_a_journal_that_is_just_being_made_can_be_looked_at(tmp_path: Path, made: str) -> None:
    """A daemon begins by making it: whoever looks meanwhile finds nothing yet, and no damage."""
    file = tmp_path / "journal.sqlite"
    file.touch()
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.row_factory = sqlite3.Row
        if made != "the file alone":
            db.execute("PRAGMA journal_mode=WAL")
        if made == "all but its facts":
            schema.bring_up_to_date(db, 0)
        with JournalView(file, tmp_path) as onlooker:
            assert onlooker.entries() == []
            assert onlooker.facts.last_run() == RunRecord()
            assert set(onlooker.counts().values()) == {0}


def test_a_folder_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LiveRestoreError, match="folder cannot be used"):
        Journal(tmp_path / "file" / "journal.sqlite", tmp_path)


def test_a_full_disk_is_said_and_survived(journal: Journal) -> None:
    journal.record(A, OLD, State.WAITING)
    db = journal._file._db
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages}")

    def fill() -> None:
        for number in range(1000):
            journal.record(key_at("x" * 200 + f"{number}.tif"), OLD, State.WAITING)

    with pytest.raises(LiveRestoreError, match=r"cannot be written .*full.*free some space"):
        fill()
    db.execute("PRAGMA max_page_count = 1000000")
    assert journal.lease(30) is not None
    journal.record(B, OLD, State.WAITING)


def test_a_batch_is_recorded_whole_or_not_at_all(journal: Journal) -> None:
    def half_way() -> None:
        with journal.batch():
            journal.record(A, OLD, State.WAITING)
            journal.record(B, OLD, State.WAITING)
            raise KeyError("half-way")

    with pytest.raises(KeyError):
        half_way()
    assert journal.entries() == []
    with journal.batch():
        journal.record(B, OLD, State.WAITING)
        journal.record(A, OLD, State.WAITING)
    assert [e.key for e in journal.entries()] == [B, A]


@pytest.mark.parametrize("kind", [Journal, JournalView])
def test_a_journal_of_a_newer_version_is_refused_by_name(
    file: Path, tmp_path: Path, kind: type[JournalView]
) -> None:
    Journal(file, tmp_path, recipe="one").close()
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE fact SET value = '4' WHERE name = 'schema'")
        db.commit()
    for _ in range(2):  # the second time shows that the lock was let go
        with pytest.raises(LiveRestoreError, match=r"newer live-restore \(schema 4.*knows 3"):
            kind(file, tmp_path, recipe="one")


def test_a_state_of_a_newer_version_is_an_error_in_one_line(journal: Journal) -> None:
    journal.record(A, OLD, State.WAITING)
    journal._file._db.execute("UPDATE entry SET state = 'paused'")
    for ask in (journal.entries, journal.counts, lambda: journal.entry(A)):
        with pytest.raises(LiveRestoreError, match=r"state that this version does not \(paused\)"):
            ask()


@pytest.mark.parametrize(
    ("code", "remedy", "passes"),
    [
        (sqlite3.SQLITE_FULL, "free some space", True),
        (sqlite3.SQLITE_READONLY, "permission", True),
        (sqlite3.SQLITE_IOERR, "check that disk", True),
        (sqlite3.SQLITE_BUSY, "has it open", True),
        (sqlite3.SQLITE_CORRUPT, "move the file away", False),
        (sqlite3.SQLITE_NOTADB, "move the file away", False),
    ],
)
def test_each_refusal_says_its_own_remedy(
    journal: Journal, code: int, remedy: str, passes: bool
) -> None:
    error = sqlite3.OperationalError("no")
    error.sqlite_errorcode = code
    for work in (journal._file.transaction, journal._file.reading):
        with pytest.raises(LiveRestoreError, match=remedy) as caught, work():
            raise error
        assert isinstance(caught.value, JournalError) == passes
        assert ("free some space" in str(caught.value)) == (code == sqlite3.SQLITE_FULL)


def test_all_or_nothing(journal: Journal) -> None:
    def half_way() -> None:
        with journal._file.transaction() as db:
            db.execute("INSERT INTO fact VALUES ('half', 'way')")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        half_way()
    with journal._file.reading() as db:
        assert db.execute("SELECT * FROM fact WHERE name = 'half'").fetchall() == []


def test_it_is_durable(journal: Journal) -> None:
    with journal._file.reading() as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert db.execute("PRAGMA synchronous").fetchone()[0] == 2
