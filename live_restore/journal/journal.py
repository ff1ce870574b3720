"""The journal: what has been seen, claimed, restored, refused, and why. It survives everything.

States of an entry::

    arriving ──> waiting ──> running ──> done
       │  ^         │ ^         │ ├────> failed      tried, and it cannot be restored
       v  │         │ └─────────┘ └────> refused     nothing in it to restore
    incomplete      v      (given back: retried after a wait, or its process died)
                 refused

A file that changes later starts again at *arriving*. An entry belongs to one *recipe* (models and
settings that decide a voxel): with another model every stack is work again.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from live_restore.errors import FolderBusyError, one_line
from live_restore.files.user_folders import state_folder
from live_restore.journal.database import JournalFile, lock_is_held, root_of
from live_restore.journal.entry import (
    NOWHERE,
    Entry,
    State,
    entry_of,
    key_of,
    source_of,
    state_of,
)
from live_restore.stack import Fingerprint, StackIndex

__all__ = ["Entry", "Journal", "State", "journal_path", "other_watcher"]


def journal_path(root: Path, folder: Path | None = None) -> Path:
    """Return where the journal of a watched folder lives: on a local disk, never inside it."""
    resolved = os.path.normcase(root.resolve())
    digest = hashlib.sha256(os.fsencode(resolved)).hexdigest()[:16]
    return (folder or state_folder()) / f"{digest}.sqlite"


def other_watcher(root: Path, folder: Path | None, *, recursive: bool) -> Path | str | None:
    """Return a folder above or inside ``root`` that a living process watches, or ``None``.

    Two that watch a folder and its sub-folder would both restore everything in the latter.
    ``recursive`` says whether ``root`` is watched with its sub-folders.
    """
    own = journal_path(root, folder)
    for parent in root.parents:
        path = journal_path(parent, folder)
        if lock_is_held(path) and root_of(path)[1]:
            return parent
    if not recursive:
        return None
    inside = one_line(root).rstrip(os.sep) + os.sep
    for path in own.parent.glob("*.sqlite"):
        if path != own and lock_is_held(path):
            watched, _ = root_of(path)
            if os.path.normcase(watched).startswith(os.path.normcase(inside)):
                return watched
    return None


class Journal:
    """The journal of one watched folder; safe to use from several threads.

    Opened for writing it holds a lock, so that one process works on a folder; the lock goes when
    the process goes, however it dies. Opened ``read_only`` it looks on.

    Raises
    ------
    FolderBusyError
        Another process holds the lock.
    LiveRestoreError
        The journal cannot be opened.
    """

    def __init__(
        self, path: Path, root: Path, *, recipe: str = "", read_only: bool = False
    ) -> None:
        self._file = JournalFile(path, root, recipe=recipe, read_only=read_only)
        self.path = path
        self.recipe = self._file.recipe
        self._owner = f"{os.getpid()}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def reserve_folder(self, root: Path, folder: Path | None, *, recursive: bool) -> None:
        """Make sure that nobody watches a folder above or inside ``root``.

        Raises
        ------
        FolderBusyError
            Somebody does.
        """
        self._file.remember("recursive", "yes" if recursive else "no")
        other = other_watcher(root, folder, recursive=recursive)
        if other is not None:
            raise FolderBusyError(
                f"is watched already as part of {one_line(other)}"
                if isinstance(other, Path)
                else f"holds {other}, which is already watched",
                root,
                "stop that live-restore first, or give one of them folders of its own",
            )

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Make what is recorded inside one transaction: all or nothing, and one wait for the disk.

        Other threads wait meanwhile, so nothing slow belongs inside.
        """
        with self._file.transaction():
            yield

    def close(self) -> None:
        """Close the database and let go of the folder."""
        self._file.close()

    # What sources say -------------------------------------------------------------------------

    def note(
        self,
        source: Path,
        fingerprint: Fingerprint,
        state: State,
        reason: str = "",
        stacks: int = 0,
    ) -> None:
        """Record what a source found out: any state but running and done.

        A file that is waiting unchanged keeps its turn; attempts begin anew when the file has
        changed. Nothing is recorded over a claim on the very same file.
        """
        if state in (State.RUNNING, State.DONE):
            raise ValueError(f"a source cannot say {state}")
        with self._file.transaction() as db:
            db.execute(
                """
                INSERT INTO entry (recipe, source, state, reason, size, mtime_ns, stacks, turn,
                                   seen_at)
                VALUES (:recipe, :source, :state, :reason, :size, :mtime_ns, :stacks,
                        CASE WHEN :state = 'waiting'
                             THEN (SELECT COALESCE(MAX(turn), 0) + 1 FROM entry) END,
                        :now)
                ON CONFLICT (recipe, source) DO UPDATE SET
                    attempts = CASE WHEN size = excluded.size AND mtime_ns = excluded.mtime_ns
                                    THEN attempts ELSE 0 END,
                    turn = CASE WHEN size = excluded.size AND mtime_ns = excluded.mtime_ns
                                     AND state = 'waiting' AND excluded.state = 'waiting'
                                THEN turn ELSE excluded.turn END,
                    state = excluded.state, reason = excluded.reason, size = excluded.size,
                    mtime_ns = excluded.mtime_ns, stacks = excluded.stacks,
                    result = x'', finished_at = NULL, owner = NULL, lease_until = NULL
                WHERE NOT (state = 'running' AND size = excluded.size
                           AND mtime_ns = excluded.mtime_ns)
                """,
                {
                    "recipe": self.recipe,
                    "source": key_of(source),
                    "state": state.value,
                    "reason": one_line(reason),
                    "size": fingerprint.size,
                    "mtime_ns": fingerprint.mtime_ns,
                    "stacks": stacks,
                    "now": time.time(),
                },
            )

    def forget(self, source: Path) -> None:
        """Drop a file that vanished before it was complete."""
        with self._file.transaction() as db:
            db.execute(
                "DELETE FROM entry WHERE recipe = ? AND source = ? "
                "AND state IN ('arriving', 'incomplete', 'waiting', 'refused')",
                (self.recipe, key_of(source)),
            )

    # What the worker says ---------------------------------------------------------------------

    def lease(
        self,
        lease_s: float,
        exclude: Container[Path] = frozenset(),
        *,
        alone: bool = True,
        newest_first: bool = False,
    ) -> Entry | None:
        """Take the entry that has waited longest, or ``None``; counts as an attempt.

        Parameters
        ----------
        lease_s
            The claim is told as hung when it has not been renewed for so long (s).
        exclude
            Sources to leave for later (they wait for a retry, or for room); asked for one after
            the other, while others wait for the journal.
        alone
            Whether the caller has nothing else in hand. Only then an entry is given that was in
            hand when the program died: if it is the one that kills, no other must pay for it.
        newest_first
            Take the one that was complete last instead.
        """
        order = "DESC" if newest_first else "ASC"
        with self._file.transaction() as db:
            rows = db.execute(
                f"SELECT * FROM entry WHERE recipe = ? AND state = 'waiting' ORDER BY turn {order}",  # noqa: S608 - one of the two words above
                (self.recipe,),
            )
            row = next((r for r in rows if source_of(r["source"]) not in exclude), None)
            if row is None or (row["attempts"] and not alone):
                return None
            db.execute(
                "UPDATE entry SET state = 'running', attempts = attempts + 1, owner = ?, "
                "lease_until = ? WHERE id = ?",
                (self._owner, time.time() + lease_s, row["id"]),
            )
            return entry_of(db.execute("SELECT * FROM entry WHERE id = ?", (row["id"],)).fetchone())

    def renew(self, lease_s: float) -> None:
        """Heartbeat: extend this process's claims."""
        with self._file.transaction() as db:
            db.execute(
                "UPDATE entry SET lease_until = ? WHERE state = 'running' AND owner = ?",
                (time.time() + lease_s, self._owner),
            )

    def finish(self, entry: Entry, state: State, *, reason: str = "", result: str = "") -> None:
        """End a claim as done (``reason``: doubtful, and why), failed or refused."""
        if state not in (State.DONE, State.FAILED, State.REFUSED):
            raise ValueError(f"a claim cannot end as {state}")
        self._end(entry, state, reason, result, time.time(), attempts=entry.attempts)

    def lose(self, entry: Entry, reason: str) -> None:
        """End a claim on a file that is not there as it was found.

        It has failed, but whatever is found under its name later is new, also after a restart.
        """
        self._end(
            entry, State.FAILED, reason, "", time.time(), attempts=0, fingerprint=NOWHERE
        )  # fmt: skip

    def give_back(self, entry: Entry, reason: str = "", *, counts: bool = False) -> None:
        """End a claim without a verdict: the entry waits again, in its old turn.

        ``counts`` keeps the attempt on the entry's account.
        """
        attempts = entry.attempts if counts else entry.attempts - 1
        self._end(entry, State.WAITING, reason, "", None, attempts=attempts)

    def _end(
        self,
        entry: Entry,
        state: State,
        reason: str,
        result: str,
        finished_at: float | None,
        *,
        attempts: int,
        fingerprint: Fingerprint | None = None,
    ) -> None:
        # The fingerprint guards against a verdict about a file that has been replaced meanwhile.
        with self._file.transaction() as db:
            db.execute(
                "UPDATE entry SET state = ?, reason = ?, result = ?, finished_at = ?, "
                "attempts = ?, size = ?, mtime_ns = ?, owner = NULL, lease_until = NULL "
                "WHERE recipe = ? AND source = ? AND size = ? AND mtime_ns = ? "
                "AND state = 'running'",
                (
                    state.value,
                    one_line(reason),
                    os.fsencode(result),
                    finished_at,
                    attempts,
                    *(fingerprint or entry.fingerprint),
                    self.recipe,
                    key_of(entry.source),
                    *entry.fingerprint,
                ),
            )

    def recover(self, max_attempts: int) -> list[Entry]:
        """Take up what a dead process left: call once, before the first claim.

        Holding the folder's lock proves that no claim in here has a living owner. Entries that
        were being worked on ``max_attempts`` times when their process died are set aside as
        failed; the rest wait again.

        Returns
        -------
        list of Entry
            The entries that were set aside.
        """
        with self._file.transaction() as db:
            aside = db.execute(
                "SELECT id FROM entry WHERE recipe = ? AND state = 'running' AND attempts >= ?",
                (self.recipe, max_attempts),
            ).fetchall()
            db.execute(
                "UPDATE entry SET state = 'failed', finished_at = ?, owner = NULL, "
                "lease_until = NULL, reason = 'the program died ' || attempts || "
                "' times while restoring it; set aside, watch --retry-failed tries it again' "
                "WHERE state = 'running' AND attempts >= ?",
                (time.time(), max_attempts),
            )
            db.execute(
                "UPDATE entry SET state = 'waiting', owner = NULL, lease_until = NULL "
                "WHERE state = 'running'"
            )
            rows = [
                db.execute("SELECT * FROM entry WHERE id = ?", (row["id"],)).fetchone()
                for row in aside
            ]
        return [entry_of(row) for row in rows]

    def redo_missing(self, root: Path) -> int:
        """Let every done entry whose result is gone wait again; return how many they are."""
        gone = [entry for entry in self.entries() if entry.lost_its_result(root)]
        with self._file.transaction() as db:
            for entry in gone:
                db.execute(
                    "UPDATE entry SET state = 'waiting', attempts = 0, reason = '', result = x'', "
                    "finished_at = NULL WHERE recipe = ? AND source = ? AND state = 'done'",
                    (self.recipe, key_of(entry.source)),
                )
        return len(gone)

    def retry_failed(self) -> int:
        """Let every failed entry wait again with a clean account; return how many."""
        with self._file.transaction() as db:
            return db.execute(
                "UPDATE entry SET state = 'waiting', attempts = 0, reason = '' "
                "WHERE recipe = ? AND state = 'failed'",
                (self.recipe,),
            ).rowcount

    # What people ask --------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """Return every entry of this recipe, in order of completion, the unfinished last."""
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT * FROM entry WHERE recipe = ? ORDER BY turn IS NULL, turn, id",
                (self.recipe,),
            ).fetchall()
        return [entry_of(row) for row in rows]

    def entry(self, source: Path) -> Entry | None:
        """Return what is known about one source."""
        with self._file.reading() as db:
            row = db.execute(
                "SELECT * FROM entry WHERE recipe = ? AND source = ?", (self.recipe, key_of(source))
            ).fetchone()
            return None if row is None else entry_of(row)

    def stacks_in(self, dataset: Path) -> dict[StackIndex, Entry]:
        """Return what is known about the stacks of a data set, by position, time and channel."""
        first = key_of(dataset / "p")  # how every label begins
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT * FROM entry WHERE recipe = ? AND source >= ? AND source < ?",
                (self.recipe, first, first[:-1] + b"q"),
            ).fetchall()
        entries = [entry_of(row) for row in rows]
        return {
            e.stack_index: e
            for e in entries
            if e.stack_index is not None and e.source.parent == dataset
        }

    def waits(self, exclude: frozenset[Path] = frozenset()) -> bool:
        """Return whether any source waits that is not in ``exclude``."""
        with self._file.reading() as db:
            # One more than are excluded: then at least one is not among them.
            rows = db.execute(
                "SELECT source FROM entry WHERE recipe = ? AND state = 'waiting' LIMIT ?",
                (self.recipe, len(exclude) + 1),
            ).fetchall()
        return any(source_of(row["source"]) not in exclude for row in rows)

    def counts(self) -> dict[State, int]:
        """Return the number of entries in each state."""
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT state, COUNT(*) AS n FROM entry WHERE recipe = ? GROUP BY state",
                (self.recipe,),
            ).fetchall()
        found = {state_of(row["state"]): int(row["n"]) for row in rows}
        return {state: found.get(state, 0) for state in State}

    def doubtful(self) -> int:
        """Return how many entries are done, but doubtful."""
        with self._file.reading() as db:
            (count,) = db.execute(
                "SELECT COUNT(*) FROM entry WHERE recipe = ? AND state = 'done' AND reason != ''",
                (self.recipe,),
            ).fetchone()
        return int(count)
