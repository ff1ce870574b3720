"""The journal between processes: one per folder, claims, and processes that are really killed."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from live_restore.errors import FolderBusyError
from live_restore.journal.database import lock_is_held, root_of
from live_restore.journal.journal import Journal
from live_restore.journal.location import journal_path
from live_restore.journal.states import State
from live_restore.journal.view import JournalView
from live_restore.stack import Fingerprint
from tests.support.journal import OLD, A, B, C, claimed, only
from tests.support.keys import key_at

_OTHER = """
import sys
from pathlib import Path
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.stack import Fingerprint, StackKey
journal = Journal(Path(sys.argv[1]), Path(sys.argv[2]), recipe="one")
for name in sys.argv[3:]:
    journal.record(StackKey(Path(name)), Fingerprint(10, 1), State.WAITING)
while journal.lease(30):
    pass
print("holding", flush=True)
sys.stdin.read()
"""


class Holder:
    """Another process that holds the folder and has claimed ``sources``."""

    def __init__(self, file: Path, root: Path, *sources: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _OTHER, str(file), str(root), *sources],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == b"holding"

    def __enter__(self) -> Holder:
        return self

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.process.communicate()


def test_one_process_per_folder(file: Path, tmp_path: Path) -> None:
    with Holder(file, tmp_path, "a.tif"):
        with pytest.raises(FolderBusyError, match="already watched") as caught:
            Journal(file, tmp_path, recipe="one")
        assert caught.value.exit_code == 2
        with JournalView(file, tmp_path) as onlooker:
            assert only(onlooker).state is State.RUNNING


def test_to_look_makes_no_file(file: Path, tmp_path: Path) -> None:
    """Nor may a journal be in a folder that only its owner writes to."""
    with Journal(file, tmp_path, recipe="one") as journal:
        journal.record(A, Fingerprint(1, 1), State.WAITING)
    before = sorted(each.name for each in file.parent.iterdir())
    with JournalView(file, tmp_path) as onlooker:
        assert only(onlooker).state is State.WAITING
        assert root_of(file)[0] == str(tmp_path)
        assert sorted(each.name for each in file.parent.iterdir()) == before
    with Journal(file, tmp_path, recipe="one") as journal, JournalView(file, tmp_path) as onlooker:
        journal.record(A, Fingerprint(1, 1), State.ARRIVING)
        assert only(onlooker).state is State.ARRIVING, "who writes is waited for"


def test_a_killed_process_leaves_the_folder_and_its_work(file: Path, tmp_path: Path) -> None:
    with Holder(file, tmp_path, "a.tif", "c.tif") as holder:
        holder.kill()
        assert holder.process.returncode not in (None, 0)
    with JournalView(file, tmp_path) as onlooker:
        assert onlooker.counts()[State.RUNNING] == 2
    with Journal(file, tmp_path, recipe="one") as journal:
        assert journal.lease(30) is None
        assert journal.recover(max_attempts=3) == []
        assert journal.counts()[State.WAITING] == 2
        entry = journal.lease(30)
        assert entry is not None
        assert (entry.key, entry.attempts) == (A, 2)


def test_what_kills_again_and_again_is_set_aside_once(file: Path, tmp_path: Path) -> None:
    for attempt in range(3):
        with Holder(file, tmp_path, *(["a.tif"] if attempt == 0 else [])) as holder:
            holder.kill()
        with Journal(file, tmp_path, recipe="one") as journal:
            aside = journal.recover(max_attempts=3)
            assert [e.key for e in aside] == ([A] if attempt == 2 else [])
    with Journal(file, tmp_path, recipe="one") as journal:
        assert only(journal).state is State.FAILED
        assert "the program died 3 times" in only(journal).reason
        assert journal.recover(max_attempts=3) == []
        assert journal.lease(30) is None


def test_what_was_in_hand_when_the_program_died_is_claimed_alone(journal: Journal) -> None:
    claimed(journal, A)
    claimed(journal, B)
    journal.record(C, OLD, State.WAITING)
    journal.recover(max_attempts=3)
    assert journal.lease(30, alone=False) is None
    entry = journal.lease(30, alone=True)
    assert entry is not None
    journal.finish(entry, State.DONE)
    assert journal.lease(30, frozenset({B}), alone=False) is not None


@pytest.mark.parametrize("other", ["..", "run", "run/deep"])
def test_a_folder_above_or_inside_a_watched_one_is_busy(tmp_path: Path, other: str) -> None:
    root, state = tmp_path / "data", tmp_path / "state"
    (root / "run" / "deep").mkdir(parents=True)
    watched = (root / other).resolve()
    with Holder(journal_path(watched, state), watched) as holder:
        with Journal(journal_path(root, state), root, recipe="one") as journal:
            with pytest.raises(FolderBusyError, match=re.escape(str(watched))):
                journal.reserve_folder(root, state, recursive=True)
            if other != "..":
                journal.reserve_folder(root, state, recursive=False)
        holder.kill()
        with Journal(journal_path(root, state), root, recipe="one") as journal:
            journal.reserve_folder(root, state, recursive=True)


def test_neighbours_are_not_in_the_way(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (tmp_path / "data").mkdir()
    (tmp_path / "data 2").mkdir()
    with Holder(journal_path(tmp_path / "data 2", state), tmp_path / "data 2"):
        path = journal_path(tmp_path / "data", state)
        with Journal(path, tmp_path / "data", recipe="one") as journal:
            journal.reserve_folder(tmp_path / "data", state, recursive=True)
            assert lock_is_held(path)
        assert not lock_is_held(path)


def lease(file: Path) -> float:
    with sqlite3.connect(file) as db:
        (until,) = db.execute("SELECT lease_until FROM entry").fetchone()
    db.close()
    return float(until)


def test_a_heartbeat_extends_the_lease(journal: Journal, file: Path) -> None:
    entry = claimed(journal)
    first = lease(file)
    journal.renew(1000)
    assert lease(file) > first + 900
    journal.finish(entry, State.DONE)
    with pytest.raises(TypeError):
        lease(file)


def test_threads_never_claim_the_same(journal: Journal) -> None:
    for number in range(40):
        journal.record(key_at(f"{number}.tif"), OLD, State.WAITING)
    taken: list[Path] = []

    def work() -> None:
        while entry := journal.lease(30):
            taken.append(entry.key)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(taken) == {key_at(f"{n}.tif") for n in range(40)}


def test_what_another_recipe_left_is_recovered_and_reported_too(file: Path, tmp_path: Path) -> None:
    with Journal(file, tmp_path, recipe="one") as journal:
        claimed(journal)
    with Journal(file, tmp_path, recipe="two") as journal:
        (entry,) = journal.recover(max_attempts=1)
        assert entry.key == A
        # What it advises can be done: with this recipe it would do nothing.
        assert entry.reason.endswith(
            "watch --retry-failed with the models and settings of then tries it again"
        )
        assert journal.retry_failed() == 0
    with Journal(file, tmp_path, recipe="one") as journal:
        assert only(journal).state is State.FAILED
        assert journal.retry_failed() == 1
