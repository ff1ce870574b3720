"""A run as the page knows it: the journal's entries with their reports, kept up to date."""

from __future__ import annotations

import shutil
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from live_restore._version import __version__
from live_restore.errors import LiveRestoreError, one_line
from live_restore.journal.database import lock_is_held
from live_restore.journal.entry import Entry
from live_restore.journal.facts import RunRecord
from live_restore.journal.states import State
from live_restore.journal.view import JournalView
from live_restore.overview.counted import Counted
from live_restore.overview.entries import (
    ShownEntry,
    entry_id,
    read_facts,
)
from live_restore.overview.night import pace_of_entries

_REPORTS_AT_ONCE = 50
"""Reports (1 ms each) read in one look: after a restart over thousands the newest come first."""
_WATCHED_EVERY_S = 5.0
_DISK_EVERY_S = 10.0
_DISK_SAMPLES = 2000
_PAGE_OF_ENTRIES = 1000


@dataclass(frozen=True)
class JournalLook:
    """The journal as it was read last, beside its entries.

    Parameters
    ----------
    signature
        Changes whenever somebody writes to it.
    last_run
        How the last watch went.
    notes
        What a person should know of acquisition folders beside their stacks.
    hanging
        What its living process has been waiting for very long ("": nothing).
    error
        Why it could not be read just now; what else is here is older.
    """

    signature: object = None
    last_run: RunRecord = field(default_factory=RunRecord)
    notes: Mapping[str, str] = field(default_factory=dict)
    hanging: str = ""
    error: LiveRestoreError | None = None

    @property
    def problem(self) -> str:
        """The error in words that name no path, "" for none."""
        return "" if self.error is None else one_line(self.error.reason)


@dataclass(frozen=True)
class Changes:
    """What changed after a version.

    Parameters
    ----------
    version
        Up to which this tells everything.
    more
        Whether there is more after that.
    removed
        Opaque names of entries that are gone.
    entries
        Those that are new or have changed.
    """

    version: int
    more: bool
    removed: list[str]
    entries: list[ShownEntry]


class Run:
    """Looks at a journal again and again; safe to use from several threads.

    Parameters
    ----------
    root
        The watched folder.
    journal
        The journal's file.

    Attributes
    ----------
    seen
        The journal as it was read last.
    version
        Grows with every change.
    """

    def __init__(self, root: Path, journal: Path) -> None:
        self.root = root
        self._journal = journal
        self._lock = threading.Lock()
        self._shown: dict[str, ShownEntry] = {}
        self._removed: deque[tuple[int, str]] = deque(maxlen=10_000)
        self._unread: dict[str, None] = {}
        self.seen = JournalLook()
        self._looked_at = (float("-inf"), float("-inf"))
        self._watched = False
        self._disk: deque[tuple[float, int]] = deque(maxlen=_DISK_SAMPLES)
        self.version = 0

    @classmethod
    def read(cls, root: Path, journal: Path) -> Run:
        """Return a run with all of its reports read.

        Raises
        ------
        LiveRestoreError
            The journal cannot be read.
        """
        run = cls(root, journal)
        run.look()
        run.finish_reading()
        if run.seen.error is not None:
            raise run.seen.error
        return run

    def look(self, *, afresh: bool = False) -> bool:
        """Bring everything up to date; return whether anything changed.

        ``afresh`` looks also at what else is looked at every few seconds only.

        A journal that cannot be read becomes ``seen.error``: the page says so, and looks again.
        """
        if afresh:
            self._looked_at = (float("-inf"), float("-inf"))
        signature, before = self._signature_now(), self.seen
        changed = self._look_around(written=signature != before.signature)
        if signature != before.signature or changed or before.error is not None:
            version = self.version
            try:
                with JournalView(self._journal, self.root) as view:
                    entries = view.entries()
                    notes = {a.acquisition.as_posix(): a.note for a in view.acquisitions()}
                    self.seen = JournalLook(
                        signature,
                        view.facts.last_run(),
                        {name: note for name, note in notes.items() if note},
                        view.hanging(),
                    )
                self._take(entries)
            except LiveRestoreError as error:
                self.seen = replace(before, error=error)
            changed |= self.version != version or self.seen.problem != before.problem
            changed |= self.seen.last_run != before.last_run
        changed |= self._read_reports()
        if changed and self.version == 0:
            self.version = 1
        return changed

    def _signature_now(self) -> object:
        """Return what changes whenever somebody writes to the journal."""
        found: list[tuple[int, int, int] | None] = []
        for path in (self._journal, Path(f"{self._journal}-wal")):
            try:
                status = path.stat()
            except OSError:
                found.append(None)
            else:
                found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        return tuple(found)

    def _look_around(self, *, written: bool) -> bool:
        """See whether the daemon lives, and how much space is left on the disk.

        ``written``: somebody writes to the journal, so a daemon has begun if there was none.
        """
        now = time.monotonic()
        watched_at, disk_at = self._looked_at
        changed = False
        if now - watched_at >= _WATCHED_EVERY_S or (written and not self._watched):
            watched_at = now
            watched = lock_is_held(self._journal)
            changed = watched != self._watched
            self._watched = watched
        if now - disk_at >= _DISK_EVERY_S:
            disk_at = now
            try:
                self._disk.append((time.time(), shutil.disk_usage(self.root).free))
            except OSError:
                self._disk.append((time.time(), 0))
            changed = True
        self._looked_at = watched_at, disk_at
        return changed

    def _take(self, entries: list[Entry]) -> None:
        now = time.time()
        with self._lock:
            version = self.version + 1
            seen = set()
            for entry in entries:
                name = entry_id(entry.key)
                seen.add(name)
                known = self._shown.get(name)
                reason = one_line(entry.reason_now(now, watched=self._watched))
                # A lease that is renewed is no news.
                entry = replace(entry, lease_until=None)
                if known is not None and (known.entry, known.reason) == (entry, reason):
                    continue
                never_complete = entry.never_complete(watched=self._watched)
                self._shown[name] = ShownEntry(name, version, entry, reason, None, never_complete)
                self._unread.pop(name, None)
                if entry.result:  # a file that is still arriving may have one, too
                    self._unread[name] = None
                self.version = version
            for name in self._shown.keys() - seen:
                del self._shown[name]
                self._unread.pop(name, None)
                self._removed.append((version, name))
                self.version = version

    def _read_reports(self) -> bool:
        names = list(reversed(self._unread))[:_REPORTS_AT_ONCE]
        for name in names:
            shown = self._shown[name]
            facts = read_facts(shown.entry)
            with self._lock:
                self.version += 1
                self._shown[name] = replace(shown, facts=facts, version=self.version)
                del self._unread[name]
        return bool(names)

    @property
    def last_watch(self) -> tuple[bool, RunRecord]:
        """Whether somebody watches, and how that began and ended."""
        return self._watched, self.seen.last_run

    def shown(self) -> list[ShownEntry]:
        """Return every entry, with what its report says."""
        with self._lock:
            return list(self._shown.values())

    def finish_reading(self) -> None:
        """Read all reports that wait to be read."""
        while self.busy:
            self.look()

    @property
    def busy(self) -> bool:
        """Whether reports wait to be read."""
        return bool(self._unread)

    def entry(self, name: str) -> ShownEntry | None:
        """Return the entry of that opaque name."""
        with self._lock:
            return self._shown.get(name)

    def entries_since(self, version: int) -> Changes:
        """Return what changed after a version, oldest change first, a bounded part at a time."""
        with self._lock:
            changed = [each for each in self._shown.values() if each.version > version]
            removed = [name for at, name in self._removed if at > version]
            newest = self.version
        changed.sort(key=lambda each: each.version)
        part = changed[:_PAGE_OF_ENTRIES]
        # Entries of one version stay together, or the rest of them would be missed.
        part += [each for each in changed[_PAGE_OF_ENTRIES:] if each.version == part[-1].version]
        more = len(part) < len(changed)
        return Changes(part[-1].version if more else newest, more, removed, part)

    def summary(self) -> dict[str, Any]:
        """Return what stands at the top of the page."""
        with self._lock:
            shown = list(self._shown.values())
            version = self.version
        last_run = self.seen.last_run
        counts = {state.value: 0 for state in State}
        for each in shown:
            counts[each.entry.state.value] += 1
        done = [e for e in shown if e.entry.state is State.DONE and e.entry.finished_at]
        last = max(done, key=lambda e: e.entry.finished_at or 0.0, default=None)
        facts = next((e.facts for e in (last, *done) if e is not None and e.facts), None)
        return {
            "name": one_line(self.root.name)[:200] or "run",
            "software": f"live-restore {__version__}",
            "version": version,
            "watched": self._watched,
            "paused": self._watched and last_run.paused,
            "newest_first": last_run.newest_first,
            "ended": last_run.how_it_ended(watched=self._watched),
            "problem": self.seen.problem,
            "counts": counts,
            "stacks": Counted.of(shown).to_json(),
            "doubtful": sum(each.entry.doubtful for each in shown),
            "doubtful_brightness": sum(each.entry.doubtful_brightness for each in shown),
            "backlog": counts["waiting"] + counts["running"],
            "last_result": None if last is None else last.id,
            "last_result_at": None if last is None else last.entry.finished_at,
            "last_delay_s": None if last is None or last.facts is None else last.facts.delay_s,
            "model": "" if facts is None else facts.model,
            "device": "" if facts is None else facts.device,
            "hardware": "" if facts is None else facts.hardware,
            "disk_free_bytes": self._disk[-1][1] if self._disk else None,
            "pace": pace_of_entries(shown).to_json(),
            "reading_reports": len(self._unread),
        }

    def disk(self) -> list[tuple[float, int]]:
        """Return (seconds since 1970, free bytes) as they were seen since the page started."""
        return list(self._disk)
