"""Walking a watched folder: which files count as input, and what cannot be looked into."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from live_restore.files.naming import output_folder_name
from live_restore.files.windows import LONG_PATHS_REMEDY, too_long
from live_restore.formats.file_format import FileFormat
from live_restore.formats.table import format_for
from live_restore.outputs.table import is_own_result
from live_restore.settings.model import Settings
from live_restore.sources.passed_by import PassedBy, is_ignored, is_input_folder
from live_restore.sources.source import Callbacks
from live_restore.stack import Fingerprint

log = structlog.get_logger()

# In a folder of the name that results have, this many files are looked at, once.
_CHECKED_RESULTS = 16
# The coarsest clock of file systems in use is FAT's, of 2 s; and a little for what is under way.
_TICK_S = 2.5
# A folder that takes longer to list is not listed twice for that.
_SLOW_S = 0.5


@dataclass(frozen=True)
class Seen:
    """A file as it was found at one moment (monotonic s)."""

    path: Path
    fingerprint: Fingerprint
    at: float


@dataclass(frozen=True)
class _Listed:
    """A folder as it was when it was listed last.

    ``changed_ns`` is its time stamp, ``first_seen`` when that was first seen (monotonic s);
    ``again``: it has been listed again since a tick of the file system's clock later.
    """

    changed_ns: int | None
    first_seen: float
    again: bool
    names: frozenset[str]


def _changed_ns(folder: Path) -> int | None:
    """Return when a name in a folder changed last, ``None`` where that cannot be asked."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return None


class Tree:
    """Lists a tree again and again, and remembers what it has reported about it.

    Symbolic links, hidden names, and folders of the name that results have are passed by.

    Parameters
    ----------
    root
        The watched folder (absolute).
    formats
        Formats to look for.
    settings
        Sections ``watch`` and ``output`` are used.
    callbacks
        Whom to report to; ``stopping`` is asked before every file.
    adopt
        Whether a folder with these entries is an acquisition: then it is not looked into.
    clock
        The time (monotonic s).

    Attributes
    ----------
    passed_by
        What is not looked at.
    """

    def __init__(
        self,
        root: Path,
        formats: Sequence[FileFormat],
        settings: Settings,
        callbacks: Callbacks,
        adopt: Callable[[Path, Collection[str]], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._formats = formats
        self._settings = settings
        self._callbacks = callbacks
        self._adopt = adopt
        self._clock = clock
        self._output_folder = output_folder_name(settings.output.template)
        self.unreadable: set[Path] = set()
        self._unreadable_now: set[Path] = set()
        self._checked_results: set[Path] = set()
        self.passed_by = PassedBy(root, settings.output.template)
        self._listed: dict[Path, _Listed] = {}

    def begin(self) -> None:
        """The whole tree is walked from now on."""
        self._unreadable_now = set()
        self.passed_by.begin()
        self._listed = {}

    def forget_vanished(self) -> None:
        """The whole tree has been walked: what was not met is not there any more."""
        self.unreadable &= self._unreadable_now
        self._checked_results = {f for f in self._checked_results if f.exists()}
        self.passed_by.forget_vanished()

    def files(self, top: Path) -> Iterator[Seen]:
        """Yield every input file under ``top`` as it is found; ends early at a stop."""
        return self._walk([top], frozenset())

    def new_files(self) -> Iterator[Seen]:
        """Yield input files that have got a name since their folder was listed.

        Asks each folder that was listed for the time at which a name in it changed last. A name may
        be given twice within one tick of that clock (2 s on FAT), so a folder that has just changed
        is listed once more when that is over.
        """
        for folder, before in list(self._listed.items()):
            if self._callbacks.stopping():
                return
            changed_ns = _changed_ns(folder)
            now = self._clock()
            if changed_ns == before.changed_ns and (
                before.again or now - before.first_seen < _TICK_S
            ):
                continue
            if changed_ns is not None:
                yield from self._walk([folder], before.names)

    def _list(self, folder: Path) -> list[os.DirEntry[str]]:
        """List a folder; what is in it counts from here on as seen."""
        changed_ns, before, began = _changed_ns(folder), self._listed.get(folder), self._clock()
        with os.scandir(folder) as listing:
            entries = list(listing)
        now = self._clock()
        same = before is not None and before.changed_ns == changed_ns
        first_seen = before.first_seen if before and same else began
        self._listed[folder] = _Listed(
            changed_ns,
            first_seen,
            (same and began - first_seen >= _TICK_S) or now - began > _SLOW_S,
            frozenset(entry.name for entry in entries),
        )
        return entries

    def _walk(self, folders: list[Path], known: frozenset[str]) -> Iterator[Seen]:
        """Yield the input files under some folders; ``known`` names in the first are not new."""
        while folders:
            folder, passed, known = folders.pop(), known, frozenset()
            passed_by: list[str] = []
            links: list[str] = []
            images: set[str] = set()
            try:
                entries = self._list(folder)
            except OSError as error:
                self._report_unreadable(folder, error)
                continue
            self.unreadable.discard(folder)
            if self._adopt(folder, [entry.name for entry in entries]):
                self._listed.pop(folder, None)  # whoever follows it looks into it
                continue
            for entry in entries:
                if self._callbacks.stopping():
                    return
                path, is_new = folder / entry.name, entry.name not in passed
                try:
                    if entry.is_dir(follow_symlinks=False):
                        if not (is_new and self._settings.watch.recursive):
                            continue
                        if self.is_input_folder(path):
                            folders.append(path)
                        elif path.name == self._output_folder:
                            self._check_results(path)
                    elif not entry.is_file(follow_symlinks=False):
                        if entry.is_symlink():
                            links.append(entry.name)
                    elif self.is_input_name(path):
                        images.add(entry.name)
                        if is_new:
                            # Not as listed: of a file that is being written, NTFS lists the size
                            # that it had when it was opened.
                            yield self.seen(path, path.lstat())
                    elif not is_ignored(entry.name):
                        passed_by.append(entry.name)
                except FileNotFoundError as error:
                    if too_long(path):
                        self._report_unreadable(path, error)
                    continue  # vanished since the folder was listed: not there any more
                except OSError as error:  # a folder that may be listed but not entered
                    self._report_unreadable(path, error)
            self.passed_by.listed(folder, passed_by, links, images=images)

    def _check_results(self, folder: Path) -> None:
        """Warn once if raw files lie where only results are expected."""
        if folder in self._checked_results:
            return
        checked = 0
        try:
            with os.scandir(folder) as listing:
                for entry in listing:
                    path = folder / entry.name
                    if not (entry.is_file(follow_symlinks=False) and self.is_input_name(path)):
                        continue
                    checked += 1
                    if not is_own_result(path):
                        told = (
                            f"{folder.relative_to(self._root)} is where results go, so files in it "
                            f"({entry.name}) are not restored; move raw data elsewhere or set "
                            "output.template"
                        )
                        self._callbacks.warn(told)
                        log.warning(told, folder=str(folder))
                        break
                    if checked == _CHECKED_RESULTS:
                        break
        except OSError:
            return
        if checked:  # an empty one may still be filled
            self._checked_results.add(folder)

    def seen(self, path: Path, status: os.stat_result) -> Seen:
        """Return a file as it is at this moment."""
        return Seen(path, Fingerprint.of(status), self._clock())

    def _report_unreadable(self, path: Path, error: OSError) -> None:
        self._unreadable_now.add(path)
        self.passed_by.unreadable(path)
        if path not in self.unreadable:
            self.unreadable.add(path)
            log.warning("cannot be looked into; it is tried at every scan",
                        folder=str(path), reason=_reason(path, error))  # fmt: skip

    def is_input_folder(self, folder: Path) -> bool:
        """Return whether raw files in a folder of this name count."""
        return is_input_folder(folder.name, self._output_folder)

    def is_input_name(self, path: Path) -> bool:
        """Return whether a file of this name may be a raw file."""
        return not is_ignored(path.name) and format_for(path, self._formats) is not None


def _reason(path: Path, error: OSError) -> str:
    if length := too_long(path):
        return f"{length}; {LONG_PATHS_REMEDY}"
    return error.strerror or str(error)
