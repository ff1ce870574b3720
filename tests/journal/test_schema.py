"""A journal of an earlier version goes on: nothing is lost, nothing is done twice."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from live_restore.errors import JournalError
from live_restore.journal import schema
from live_restore.journal.entry import Entry
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.journal.view import JournalView
from live_restore.stack import Fingerprint, StackIndex, StackKey

SCHEMA_1 = Path(__file__).parent / "data" / "schema1.sqlite"
COLUMNS = "id, recipe, state, reason, size, mtime_ns, attempts, stacks, result, turn, seen_at"


def rows(path: Path, columns: str = COLUMNS) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        db.text_factory = os.fsdecode
        return db.execute(f"SELECT {columns} FROM entry ORDER BY id").fetchall()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of a journal that the version before wrote (``data/make_schema1.txt``)."""
    path = tmp_path / "j.sqlite"
    shutil.copyfile(SCHEMA_1, path)
    if os.name != "posix":  # a name that is no text cannot be in a journal of Windows
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("DELETE FROM entry WHERE CAST(source AS BLOB) = ?", (b"caf\xe9.tif",))
    return path


def by_name(entries: list[Entry]) -> dict[str, Entry]:
    return {entry.key.path.as_posix(): entry for entry in entries}


def test_every_row_of_every_recipe_is_kept(old: Path, tmp_path: Path) -> None:
    before, names = rows(old), [source for (source,) in rows(old, "source")]
    with Journal(old, tmp_path, recipe="new"):
        pass
    assert rows(old) == before
    columns = "acquisition, position, time, channel"
    found = []
    for acquisition, position, time, channel in rows(old, columns):
        index = StackIndex(position, time, channel)  # type: ignore[arg-type]
        name = os.fsdecode(acquisition)  # type: ignore[arg-type]
        found.append(name if position == -1 else f"{name}/{index.label}")
    assert found == [os.fsdecode(name) for name in names]  # type: ignore[arg-type]
    assert len({state for (state,) in rows(old, "state")}) == len(State) - 1, "all but failed"


def test_a_row_is_a_stack_or_a_file(old: Path, tmp_path: Path) -> None:
    with JournalView(old, tmp_path) as journal:
        entries = by_name(journal.entries())
        stacks = journal.stacks_in(Path("run ndtiff"))
    assert entries["two times.tif"].key == StackKey(Path("two times.tif"))
    assert entries["run_9/p001_t0013_c02"].key == StackKey(Path("run_9"), StackIndex(1, 13, 2))
    assert set(stacks) == {StackIndex(0, 0, 0), StackIndex(0, 1, 0)}
    assert all(entry.state is State.DONE for entry in stacks.values())
    assert entries["first.tif"].doubtful
    if os.name == "posix":
        assert os.fsdecode(b"caf\xe9.tif") in entries


def test_whoever_only_looks_on_changes_nothing(old: Path, tmp_path: Path) -> None:
    before = old.read_bytes()
    with JournalView(old, tmp_path) as journal:
        assert journal.counts()[State.DONE] > 0
    assert old.read_bytes() == before
    assert not old.with_suffix(".sqlite-wal").exists()


def test_work_goes_on_where_it_stopped(old: Path, tmp_path: Path) -> None:
    with JournalView(old, tmp_path) as journal:
        recipe = journal.recipe
        (was_running,) = [e for e in journal.entries() if e.state is State.RUNNING]
    with Journal(old, tmp_path, recipe=recipe) as journal:
        assert journal.recover(3) == []
        again = journal.lease(30)
        assert again is not None
        assert (again.key, again.attempts) == (was_running.key, 2)
        following = journal.lease(30)
        assert following is not None
        assert following.key == StackKey(Path("run_9"), StackIndex(0, 0, 0))
        assert journal.lease(30) is None


def test_a_change_of_schema_that_fails_leaves_the_old_one(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it or nothing: a full disk, or the power, may end it anywhere."""
    before = rows(old)
    with monkeypatch.context() as patch:

        def full(_: bytes) -> None:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

        patch.setattr(schema, "_key_1", full)
        with pytest.raises(JournalError, match="free some space"):
            Journal(old, tmp_path, recipe="new")
    assert rows(old) == before
    with closing(sqlite3.connect(old)) as db:
        assert db.execute("SELECT value FROM fact WHERE name = 'schema'").fetchone() == ("1",)
    with Journal(old, tmp_path, recipe="new") as journal:
        assert journal.entries() == []


def test_one_that_was_killed_while_it_was_made_goes_on(old: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(old)) as db:
        db.execute("DELETE FROM fact")
        db.commit()
    before = rows(old)
    with Journal(old, tmp_path, recipe="new") as journal:
        key = StackKey(Path("run"), StackIndex(0, 1, 2))
        journal.record(key, Fingerprint(1, 1), State.WAITING)
        assert [entry.key for entry in journal.entries()] == [key]
    assert rows(old)[: len(before)] == before


def test_what_lies_in_a_folder_is_known_of_every_schema(old: Path, tmp_path: Path) -> None:
    found = {}
    for schema_number in (1, 2):
        path = tmp_path / f"{schema_number}.sqlite"
        shutil.copyfile(old, path)
        if schema_number == 2:
            with Journal(path, tmp_path, recipe="new"):
                pass
            with closing(sqlite3.connect(path)) as db:
                db.execute("DROP INDEX entry_by_folder")
                db.execute("ALTER TABLE entry DROP COLUMN folder")
                db.execute("DROP TABLE acquisition")
                db.execute("UPDATE fact SET value = '2' WHERE name = 'schema'")
                db.commit()
        with Journal(path, tmp_path, recipe="new") as journal:
            assert journal.acquisitions() == []
            journal.record_acquisition(Path("run_9"), "mm-stack", "a note")
            assert journal.acquisition_format(Path("run_9")) == "mm-stack"
        found[schema_number] = rows(path, "acquisition, folder")
    assert found[1] == found[2]
    folders = dict(found[1])
    assert folders[b"two times.tif"] == b""
    assert folders[b"run_9"] == b"run_9"
