"""The folder source: a scan is the truth, file events only shorten the wait.

Watchers lose events (8 to 25 % at bulk-copy rates), network shares send none, and nobody reports
what was there before: so every decision comes from looking at the folder, and an event does no
more than say where to look first.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from live_restore.errors import (
    LiveRestoreError,
    StackBusyError,
    StackChangedError,
    StackRefusedError,
    StackUnreadableError,
)
from live_restore.formats.base import Arriving, Complete, Format
from live_restore.formats.table import format_for
from live_restore.journal import Journal, State
from live_restore.outputs.naming import TEMPORARY_SUFFIX, output_folder_name
from live_restore.settings import Settings
from live_restore.sources.settling import Verdict, decide
from live_restore.stack import Fingerprint

log = structlog.get_logger()

# While something arrives it is looked at this often; a look at an unchanged file is one stat().
_ARRIVING_POLL_S = 0.1


@dataclass
class _Candidate:
    """A file that is not decided yet."""

    fingerprint: Fingerprint
    unchanged_since: float
    evidence: Arriving | Complete | None = None
    told: str = ""
    changes: int = 0


class FolderSource:
    """Finds files under ``root``, decides which are complete, and tells the journal.

    Parameters
    ----------
    root
        The watched folder (absolute).
    formats
        Formats to look for.
    journal
        Where verdicts go; what it already knows is not looked at again.
    settings
        Sections ``watch``, ``files`` and ``output`` are used.
    on_bad
        Called with FAILED or REFUSED when a file turns out to be damaged or no stack.
    """

    def __init__(
        self,
        root: Path,
        formats: Sequence[Format],
        journal: Journal,
        settings: Settings,
        on_bad: Callable[[State], None] = lambda _: None,
    ) -> None:
        self._root = root
        self._on_bad = on_bad
        self._formats = formats
        self._journal = journal
        self._settings = settings
        self._output_folder = output_folder_name(settings.output.template)
        self._candidates: dict[Path, _Candidate] = {}
        self._settled: dict[Path, Fingerprint] = {
            entry.source: entry.fingerprint
            for entry in journal.entries()
            if entry.state not in (State.ARRIVING, State.INCOMPLETE)
        }
        self._stalled: dict[Path, Fingerprint] = {
            entry.source: entry.fingerprint
            for entry in journal.entries()
            if entry.state is State.INCOMPLETE
        }
        self._hints: set[Path] = set()
        self._hint_lock = threading.Lock()
        self._wake = threading.Event()
        self._next_scan = 0.0
        self._unreadable_folders: set[Path] = set()

    def hint(self, path: Path) -> None:
        """Something may have happened to ``path``."""
        with self._hint_lock:
            self._hints.add(path)
        self._wake.set()

    def wait(self, timeout_s: float) -> None:
        """Sleep until a hint arrives."""
        self._wake.wait(timeout_s)

    def unsettled(self) -> int:
        """Return how many files are still arriving."""
        return len(self._candidates)

    def undecided(self) -> int:
        """Return how many files have only been quiet for too short a time to decide about.

        Files known to lack planes, or that keep changing, are not among them.
        """
        return sum(
            1
            for c in self._candidates.values()
            if c.changes < 2
            and (c.evidence is None or isinstance(c.evidence, Complete))
            and not (isinstance(c.evidence, Complete) and c.evidence.blank_planes)
        )

    def poll(self) -> float:
        """Look once and return when to look again (s from now)."""
        self._wake.clear()
        now = time.monotonic()
        if now >= self._next_scan:
            began = time.monotonic()
            self._scan(now)
            took = time.monotonic() - began
            # A scan of a huge or slow tree must not become all that this program does.
            self._next_scan = now + max(self._settings.watch.scan_interval_s, 20 * took)
        with self._hint_lock:
            hints, self._hints = self._hints, set()
        for path in [*hints, *(self._root / p for p in list(self._candidates))]:
            self._look(path, now)
        until_scan = max(0.0, self._next_scan - time.monotonic())
        return min(until_scan, _ARRIVING_POLL_S) if self._candidates else until_scan

    # Finding ----------------------------------------------------------------------------------

    def _scan(self, now: float) -> None:
        found = sorted(self._files(self._root), key=lambda item: (item[1].mtime_ns, item[0]))
        for path, fingerprint in found:
            self._observe(path.relative_to(self._root), fingerprint, now)
        present = {path.relative_to(self._root) for path, _ in found}
        for source in [s for s in self._candidates if s not in present]:
            self._gone(source)

    def _files(self, folder: Path) -> Iterator[tuple[Path, Fingerprint]]:
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            self._say_unreadable(folder, error)
            return
        self._unreadable_folders.discard(folder)
        for entry in entries:
            path = folder / entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    if self._settings.watch.recursive and self._is_input_folder(path):
                        yield from self._files(path)
                elif entry.is_file(follow_symlinks=False) and self._is_input_name(path):
                    status = entry.stat(follow_symlinks=False)
                    yield path, Fingerprint(status.st_size, status.st_mtime_ns)
            except FileNotFoundError:
                continue  # vanished since the folder was listed: not there any more

    def _say_unreadable(self, folder: Path, error: OSError) -> None:
        if folder == self._root or folder not in self._unreadable_folders:
            reason = error.strerror or str(error)
            if folder not in self._unreadable_folders:
                log.warning("folder cannot be listed; it is tried at every scan",
                            folder=str(folder), reason=reason)  # fmt: skip
            self._unreadable_folders.add(folder)

    def _is_input_folder(self, folder: Path) -> bool:
        return not folder.name.startswith(".") and folder.name != self._output_folder

    def _is_input_name(self, path: Path) -> bool:
        return (
            not path.name.startswith(".")
            and not path.name.endswith(TEMPORARY_SUFFIX)
            and format_for(path, self._formats) is not None
        )

    def _look(self, path: Path, now: float) -> None:
        """Look at one path that an event or an open question named."""
        try:
            source = path.relative_to(self._root)
        except ValueError:
            return
        try:
            status = path.lstat()
        except OSError:
            if source in self._candidates:
                self._gone(source)
            return
        folders = [self._root.joinpath(*source.parts[:i]) for i in range(1, len(source.parts))]
        if not all(self._is_input_folder(f) for f in folders):
            return
        if stat.S_ISDIR(status.st_mode):
            if self._settings.watch.recursive and self._is_input_folder(path):
                for inner, fingerprint in self._files(path):
                    self._observe(inner.relative_to(self._root), fingerprint, now)
        elif stat.S_ISREG(status.st_mode) and self._is_input_name(path):
            self._observe(source, Fingerprint(status.st_size, status.st_mtime_ns), now)

    # Deciding ---------------------------------------------------------------------------------

    def _observe(self, source: Path, fingerprint: Fingerprint, now: float) -> None:
        if self._settled.get(source) == fingerprint or self._stalled.get(source) == fingerprint:
            return
        candidate = self._candidates.get(source)
        if candidate is None:
            candidate = self._candidates[source] = _Candidate(fingerprint, now)
        elif candidate.fingerprint != fingerprint:
            candidate.fingerprint, candidate.unchanged_since = fingerprint, now
            candidate.evidence = None
            candidate.changes += 1
            self._tell(source, candidate, "being written")
        quiet_s = now - candidate.unchanged_since
        if quiet_s < self._settings.watch.settle_s:
            return
        if candidate.evidence is None and not self._inspect(source, candidate, quiet_s):
            return
        assert candidate.evidence is not None
        decision = decide(candidate.evidence, quiet_s, self._settings.watch, self._settings.files)
        if decision.verdict is Verdict.READY:
            assert isinstance(candidate.evidence, Complete)
            stacks = candidate.evidence.dataset.stack_count
            self._settle(source, candidate, State.WAITING, "", stacks)
        elif decision.verdict is Verdict.INCOMPLETE:
            self._journal.note(source, fingerprint, State.INCOMPLETE, decision.reason)
            self._stalled[source] = fingerprint
            del self._candidates[source]
            log.warning("incomplete", stack_key=str(source), reason=decision.reason)
        else:
            self._tell(source, candidate, decision.reason)

    def _inspect(self, source: Path, candidate: _Candidate, quiet_s: float) -> bool:
        """Find the evidence; return False if the file is settled or gone without any."""
        path = self._root / source
        chosen = format_for(path, self._formats)
        assert chosen is not None
        try:
            evidence = chosen.inspect(path)
        except StackChangedError:
            self._gone(source)
            return False
        except StackBusyError as error:
            self._tell(source, candidate, error.reason)
            return False
        except StackRefusedError as error:
            # A file that grows plane by plane looks like a single plane at first.
            if quiet_s < self._settings.watch.quiet_s:
                self._tell(source, candidate, f"so far: {error.what}")
            else:
                self._settle(source, candidate, State.REFUSED, error.reason)
            return False
        except StackUnreadableError as error:
            self._settle(source, candidate, State.FAILED, error.reason)
            return False
        if evidence is None:  # this program's own result
            self._settled[source] = candidate.fingerprint
            self._journal.forget(source)
            del self._candidates[source]
            return False
        if isinstance(evidence, Complete) and evidence.dataset.fingerprint != candidate.fingerprint:
            return False  # changed while it was looked into; the next look begins anew
        candidate.evidence = evidence
        return True

    def _settle(
        self, source: Path, candidate: _Candidate, state: State, reason: str, stacks: int = 0
    ) -> None:
        self._journal.note(source, candidate.fingerprint, state, reason, stacks)
        self._settled[source] = candidate.fingerprint
        del self._candidates[source]
        if state in (State.REFUSED, State.FAILED):
            self._on_bad(state)
            log.warning(state.value, stack_key=str(source), reason=reason)
        else:
            log.info("complete", stack_key=str(source), stacks=stacks)

    def _tell(self, source: Path, candidate: _Candidate, reason: str) -> None:
        """Keep the journal's reason for an arriving file up to date, without a write per look."""
        if candidate.told != reason:
            candidate.told = reason
            self._journal.note(source, candidate.fingerprint, State.ARRIVING, reason)

    def reconsider(self, source: Path) -> None:
        """Look at a file anew although it was settled: it had changed when it was to be read."""
        self._settled.pop(source, None)
        self.hint(self._root / source)

    def _gone(self, source: Path) -> None:
        self._candidates.pop(source, None)
        self._journal.forget(source)
        log.info("vanished before it was complete", stack_key=str(source))


def watch_events(root: Path, recursive: bool, hint: Callable[[Path], None]) -> Callable[[], None]:
    """Let the file system call ``hint``; return a function that ends it.

    Only wakes: a lost event costs at most one scan interval. Moves count at their destination.

    Raises
    ------
    LiveRestoreError
        The system refuses to watch (too many watches); scans alone go on working.
    """
    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers import Observer

    class _Waker(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            if event.event_type in ("opened", "closed_no_write", "deleted"):
                return
            hint(Path(os.fsdecode(event.dest_path or event.src_path)))

    observer = Observer()
    try:
        observer.schedule(_Waker(), str(root), recursive=recursive)
        observer.start()
    except OSError as error:
        raise LiveRestoreError(
            f"file events are not available ({error.strerror or error})",
            root,
            "nothing to do: the folder is scanned instead",
        ) from None

    def stop() -> None:
        observer.stop()
        observer.join()

    return stop


__all__ = ["FolderSource", "watch_events"]
