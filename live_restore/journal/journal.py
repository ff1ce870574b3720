"""The journal: what has been seen, leased, restored, refused, and why. It survives everything.

An entry belongs to one *recipe* (models and settings that decide a voxel): with another model
every stack is work again. Its states are drawn in ``states.py``.

A lease ends here: with an outcome, given back, or in ``recover``, when the process that held it is
gone, which the folder's lock proves and no clock. One that has passed its time is reported as
overdue (``entry.py``), never taken away: a slow disk must not make two of one stack.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from live_restore.errors import FolderBusyError, StackUnreadableError, one_line
from live_restore.journal import queue, renames
from live_restore.journal.database import Database
from live_restore.journal.entry import (
    GROWING,
    NOWHERE,
    Entry,
    acquisition_bytes,
    entry_of,
    folder_bytes,
    key_columns,
)
from live_restore.journal.location import other_watcher
from live_restore.journal.stacks_of_files import forget_stacks, retry_in_files
from live_restore.journal.states import State
from live_restore.journal.view import WHOSE, JournalView
from live_restore.stack import Fingerprint, StackIndex, StackKey

_RECORD = """
INSERT INTO entry (recipe, acquisition, position, time, channel, folder, state, reason, size,
                   mtime_ns, stacks, turn, seen_at)
VALUES (:recipe, :acquisition, :position, :time, :channel, :folder, :state, :reason, :size,
        :mtime_ns, :stacks,
        CASE WHEN :state = 'waiting' THEN (SELECT COALESCE(MAX(turn), 0) + 1 FROM entry) END,
        :now)
ON CONFLICT (recipe, acquisition, position, time, channel) DO UPDATE SET
    attempts = CASE WHEN size = excluded.size AND mtime_ns = excluded.mtime_ns
                    THEN attempts ELSE 0 END,
    turn = CASE WHEN size = excluded.size AND mtime_ns = excluded.mtime_ns
                     AND state = 'waiting' AND excluded.state = 'waiting'
                THEN turn ELSE excluded.turn END,
    state = excluded.state, reason = excluded.reason, size = excluded.size,
    mtime_ns = excluded.mtime_ns, stacks = excluded.stacks,
    result = x'', finished_at = NULL, owner = NULL, lease_until = NULL
WHERE NOT (state = 'running' AND size = excluded.size AND mtime_ns = excluded.mtime_ns
           AND NOT (reason LIKE :growing AND excluded.state = 'waiting'
                    AND excluded.reason NOT LIKE :growing))
"""


class Journal(JournalView):
    """The journal of one watched folder, open for writing; safe to use from several threads.

    It holds a lock, so that one process works on a folder; the lock goes when the process goes,
    however it dies. Large because every transition of an entry is a method, and all share its lock.

    Raises
    ------
    FolderBusyError
        Another process holds the lock.
    LiveRestoreError
        The journal cannot be opened.

    Attributes
    ----------
    opened_ns
        When, just before others could see the lock (ns since 1970): what is asked for later is
        asked of this process.
    """

    def __init__(self, path: Path, root: Path, *, recipe: str = "") -> None:
        self.opened_ns = time.time_ns()
        database = Database(path, root, recipe=recipe, read_only=False)
        super().__init__(path, root, database=database)
        self._owner = f"{os.getpid()}"

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

    # What sources say -------------------------------------------------------------------------

    def record(
        self,
        key: StackKey,
        fingerprint: Fingerprint,
        state: State,
        reason: str = "",
        stacks: int = 0,
    ) -> None:
        """Record what a source found out: any state but running and done.

        What waits unchanged keeps its turn; attempts begin anew when the raw data have changed.
        Nothing is recorded over a lease on the very same raw data, unless that they are finished
        which were still being written when they were leased.

        Raises
        ------
        StackUnreadableError
            The journal cannot hold this row; others can be recorded all the same.
        JournalError
            The disk refuses.
        """
        if state in (State.RUNNING, State.DONE):
            raise ValueError(f"a source cannot record {state}")
        columns = key_columns(key)
        row = {
            "recipe": self.recipe,
            **columns,
            "folder": folder_bytes(columns["acquisition"], columns["position"]),
            "state": state.value,
            "reason": one_line(reason),
            "size": fingerprint.size,
            "mtime_ns": fingerprint.mtime_ns,
            "stacks": stacks,
            "growing": f"{GROWING}%",
            "now": time.time(),
        }
        with self._file.transaction() as db:
            if key.index is None and state in (State.INCOMPLETE, State.FAILED, State.REFUSED):
                forget_stacks(db, self.recipe, key)
            try:
                db.execute(_RECORD, row)
            except OverflowError as error:  # raised before SQLite has seen any of it
                raise StackUnreadableError(
                    f"has a size or a date that the journal cannot keep ({error})",
                    key.path,
                    "give it another date",
                ) from None

    def record_acquisition(self, acquisition: Path, format_name: str, note: str = "") -> None:
        """Record that a folder is an acquisition, of which format, and what to know of it.

        It stays one for every recipe and over restarts, whatever is put into it later.
        """
        with self._file.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO acquisition VALUES (?, ?, ?)",
                (acquisition_bytes(acquisition), format_name, one_line(note)),
            )

    def forget(self, key: StackKey) -> None:
        """Drop what vanished before it was complete."""
        with self._file.transaction() as db:
            db.execute(
                f"DELETE FROM entry WHERE {WHOSE} "  # noqa: S608 - a constant
                "AND state IN ('arriving', 'incomplete', 'waiting', 'refused')",
                {"recipe": self.recipe, **key_columns(key)},
            )
            if key.index is None:
                forget_stacks(db, self.recipe, key)

    def record_left(self, entry: Entry, left: Mapping[StackIndex, tuple[State, str]]) -> None:
        """Record which stacks of a file are not in its result, in rows of their own, and why.

        What was recorded before of its stacks, and is not in ``left``, is forgotten.
        """
        with self._file.transaction() as db:
            forget_stacks(db, self.recipe, entry.key)
            for index, (state, reason) in left.items():
                self.record(
                    StackKey(entry.key.acquisition, index), entry.fingerprint, state, reason, 1
                )

    def recognise(self, key: StackKey, made_of: Fingerprint, former: StackKey | None) -> None:
        """Record what the result of something that is done was made of, by its report.

        ``former``: under which name it was done before it was renamed; that is forgotten.
        """
        with self._file.transaction() as db:
            renames.date(db, self.recipe, key, made_of)
            if former is not None:
                renames.take_over(db, self.recipe, key, former)

    # What the worker says ---------------------------------------------------------------------

    def lease(
        self,
        lease_s: float,
        exclude: Container[StackKey] = frozenset(),
        *,
        resting: Callable[[StackKey], bool] | None = None,
        alone: bool = True,
        newest_first: bool = False,
    ) -> Entry | None:
        """Lease the entry that has waited longest, or return ``None``; counts as an attempt.

        Parameters
        ----------
        lease_s
            The lease is reported as hung when it has not been renewed for so long (s).
        exclude
            What to leave for later: it waits for a retry.
        resting
            Whether the place that results go to takes none just now; asked once for each folder in
            which something waits. ``None``: none rests.
        alone
            Whether the caller has nothing else in hand. Only then an entry is given that was in
            hand when the program died: if it is the one that kills, no other must pay for it.
        newest_first
            Take the one that was complete last instead.
        """
        with self._file.transaction() as db:
            row = queue.first(db, self.recipe, exclude, resting, newest_first=newest_first)
            if row is None or (row["attempts"] and not alone):
                return None
            db.execute(
                "UPDATE entry SET state = 'running', attempts = attempts + 1, owner = ?, "
                "lease_until = ? WHERE id = ?",
                (self._owner, time.time() + lease_s, row["id"]),
            )
            return entry_of(db.execute("SELECT * FROM entry WHERE id = ?", (row["id"],)).fetchone())

    def renew(self, lease_s: float, hanging: Iterable[str] = ()) -> None:
        """Heartbeat: extend this process's leases, and record what it has waited for very long."""
        with self._file.transaction() as db:
            self._file.remember("hanging", one_line("; ".join(hanging)))
            db.execute(
                "UPDATE entry SET lease_until = ? WHERE state = 'running' AND owner = ?",
                (time.time() + lease_s, self._owner),
            )

    def finish(self, entry: Entry, state: State, *, reason: str = "", result: str = "") -> None:
        """End a lease as done (``reason``: doubtful, and why), failed or refused.

        Or as arriving: a file that is still being written, and of which some stacks are restored.
        """
        if state is State.ARRIVING:
            self._end(entry, state, reason, result, None, attempts=0)
            return
        if state not in (State.DONE, State.FAILED, State.REFUSED):
            raise ValueError(f"a lease cannot end as {state}")
        self._end(entry, state, reason, result, time.time(), attempts=entry.attempts)

    def lose(self, entry: Entry, reason: str) -> None:
        """End a lease on raw data that are not there as they were found.

        It has failed, but whatever is found under its name later is new, also after a restart.
        """
        self._end(
            entry, State.FAILED, reason, "", time.time(), attempts=0, fingerprint=NOWHERE
        )  # fmt: skip

    def give_back(self, entry: Entry, reason: str = "", *, counts: bool = False) -> None:
        """End a lease without an outcome: the entry waits again, in its old turn.

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
        # The fingerprint guards against an outcome of a file that has been replaced meanwhile.
        with self._file.transaction() as db:
            db.execute(
                "UPDATE entry SET state = :state, reason = :reason, result = :result, "  # noqa: S608
                "finished_at = :finished_at, attempts = :attempts, size = :new_size, "
                "mtime_ns = :new_mtime_ns, owner = NULL, lease_until = NULL "
                f"WHERE {WHOSE} AND size = :size AND mtime_ns = :mtime_ns AND state = 'running'",
                {
                    "state": state.value,
                    "reason": one_line(reason),
                    "result": os.fsencode(result),
                    "finished_at": finished_at,
                    "attempts": attempts,
                    "new_size": (fingerprint or entry.fingerprint).size,
                    "new_mtime_ns": (fingerprint or entry.fingerprint).mtime_ns,
                    "recipe": self.recipe,
                    **key_columns(entry.key),
                    "size": entry.fingerprint.size,
                    "mtime_ns": entry.fingerprint.mtime_ns,
                },
            )

    def recover(self, max_attempts: int) -> list[Entry]:
        """Take up what a dead process left: call once, before the first lease.

        Holding the folder's lock proves that no lease in here has a living owner, be it of this
        recipe or of another. Entries that were being worked on ``max_attempts`` times when their
        process died are set aside as failed; the rest wait again.

        Returns
        -------
        list of Entry
            The entries that were set aside, of every recipe.
        """
        with self._file.transaction() as db:
            aside = db.execute(
                "SELECT id FROM entry WHERE state = 'running' AND attempts >= ?", (max_attempts,)
            ).fetchall()
            db.execute(
                "UPDATE entry SET state = 'failed', finished_at = ?, owner = NULL, "
                "lease_until = NULL, reason = 'the program died ' || attempts || "
                "' times while restoring it; set aside, watch --retry-failed ' || CASE recipe "
                "WHEN ? THEN '' ELSE 'with the models and settings of then ' END || "
                "'tries it again' WHERE state = 'running' AND attempts >= ?",
                (time.time(), self.recipe, max_attempts),
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

    def redo_missing(self, root: Path, *, error_bars: bool = False) -> int:
        """Let every done entry whose result is gone wait again; return how many they are.

        ``error_bars``: or whose error bars are, which such results have.
        """
        gone = [each for each in self.entries() if each.lost_its_result(root, error_bars)]
        with self._file.transaction() as db:
            for entry in gone:
                db.execute(
                    "UPDATE entry SET state = 'waiting', attempts = 0, reason = '', result = x'', "  # noqa: S608
                    f"finished_at = NULL WHERE {WHOSE} AND state = 'done'",
                    {"recipe": self.recipe, **key_columns(entry.key)},
                )
        return len(gone)

    def retry_failed(self) -> int:
        """Let every failed entry wait again with a clean account; return how many.

        Where single stacks of a file have failed, the file waits again: the others are restored.
        """
        with self._file.transaction() as db:
            files = retry_in_files(db, self.recipe)
            again = db.execute(
                "UPDATE entry SET state = 'waiting', attempts = 0, reason = '' "
                "WHERE recipe = ? AND state = 'failed'",
                (self.recipe,),
            ).rowcount
            return again + files
