"""What lies in a watched folder and is not looked at: counted by kind, with what to do about it.

What is looked at is in the journal, with a state and a reason; this is the rest. It is counted anew
with every walk, so that nothing of it has to be kept: ``status`` takes a short walk of its own.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

from live_restore.errors import one_line
from live_restore.files.naming import (
    TEMPORARY_SUFFIX,
    acquisition_of_results,
    is_report_beside,
    output_folder_name,
)
from live_restore.formats.acquisition_format import AcquisitionFormat
from live_restore.formats.file_format import FileFormat
from live_restore.formats.table import acquisition_format_for, format_for, recognised_by
from live_restore.formats.vendor.table import UNREAD, UNREAD_REMEDY, kind_of
from live_restore.settings.model import Settings

_WALK_S = 2.0
_WALK_ENTRIES = 200_000
_ENDINGS_NAMED = 4
_OTHERS = "other files"
_COMPANION = ".companion.ome"
"""Metadata of a set of OME-TIFFs, and read with those."""
_LINKS = "symbolic links"
_UNREADABLE = "folders that cannot be looked into"

_PLURAL = re.compile(r"\b(file|link|folder)s\b")

_REMEDIES = {
    _LINKS: "watch the folders that they lead to",
    _UNREADABLE: "give this user the right to read them",
}


@dataclass(frozen=True)
class NotLookedAt:
    """Files of one kind.

    Parameters
    ----------
    kind
        What they are.
    count
        How many.
    example
        One of them, relative to the watched folder.
    remedy
        What to do to have them restored, "" where there is nothing to restore.
    """

    kind: str
    count: int
    example: Path
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "example": self.example.as_posix()}

    def __str__(self) -> str:
        """Return one line.

        >>> str(NotLookedAt("Imaris files", 12, Path("a.ims"), "pip install live-restore[vendor]"))
        '12 Imaris files were not looked at (a.ims ...): pip install live-restore[vendor]'
        """
        which = one_line(self.example) + (" ..." if self.count > 1 else "")
        kind = _PLURAL.sub(r"\1", self.kind, count=1) if self.count == 1 else self.kind
        was = "was" if self.count == 1 else "were"
        line = f"{self.count:,} {kind} {was} not looked at ({which})"
        return f"{line}: {self.remedy}" if self.remedy else line


class PassedBy:
    """Counts what a walk passes by, folder by folder.

    Parameters
    ----------
    root
        The watched folder (absolute).
    template
        ``output.template``: reports of results are passed by without a word.
    """

    def __init__(self, root: Path, template: str) -> None:
        self._root = root
        self._template = template
        self._folders: dict[Path, dict[str, tuple[int, str]]] = {}
        self._met: set[Path] = set()

    def begin(self) -> None:
        """The whole tree is walked from now on."""
        self._met = set()

    def listed(
        self,
        folder: Path,
        names: Collection[str],
        links: Collection[str] = (),
        *,
        images: Collection[str] = (),
    ) -> None:
        """Take what is passed by in a folder, in the place of what was before.

        Parameters
        ----------
        folder
            Absolute.
        names, links
            Of its files that nobody looks at, and of its symbolic links.
        images
            Of files beside them that are looked at, with what describes those.
        """
        found: dict[str, tuple[int, str]] = {}
        names = [
            name for name in names
            if not (images and name.lower().endswith(_COMPANION))
            and not is_report_beside(folder / name, images, self._template)
        ]  # fmt: skip
        for name, kind in [*((n, _kind(n)) for n in names), *((n, _LINKS) for n in links)]:
            count, example = found.get(kind, (0, name))
            found[kind] = (count + 1, min(example, name))
        self._take(folder, found)

    def unreadable(self, folder: Path) -> None:
        """Take a folder that cannot be looked into."""
        self._take(folder, {_UNREADABLE: (1, "")})

    def _take(self, folder: Path, found: dict[str, tuple[int, str]]) -> None:
        self._met.add(folder)
        if found:
            self._folders[folder] = found
        else:
            self._folders.pop(folder, None)

    def forget_vanished(self) -> None:
        """The whole tree has been walked: other folders are gone, or belong to an acquisition."""
        for folder in self._folders.keys() - self._met:
            del self._folders[folder]

    def summary(self) -> tuple[NotLookedAt, ...]:
        """Return what is passed by: first what something can be done about, the most first."""
        counts: Counter[str] = Counter()
        examples: dict[str, Path] = {}
        for folder, found in list(self._folders.items()):
            for kind, (count, name) in found.items():
                counts[kind] += count
                example = (folder / name).relative_to(self._root)
                examples[kind] = min(examples.get(kind, example), example)
        endings = {kind: n for kind, n in counts.items() if kind.startswith(".") or not kind}
        for kind in endings:
            del counts[kind]
        lines = [
            NotLookedAt(kind, count, examples[kind], _remedy(examples[kind], kind))
            for kind, count in counts.items()
        ]
        if endings:
            first = sorted(endings, key=lambda kind: (-endings[kind], kind))
            named = ", ".join(kind or "no ending" for kind in first[:_ENDINGS_NAMED])
            more = ", ..." if len(first) > _ENDINGS_NAMED else ""
            total = sum(endings.values())
            lines.append(NotLookedAt(f"{_OTHERS} ({named}{more})", total, examples[first[0]]))
        return tuple(sorted(lines, key=lambda line: (not line.remedy, -line.count, line.kind)))


def _kind(name: str) -> str:
    """Return what a file is, by its name; its ending where that is no kind of image."""
    vendor = kind_of(name)
    if vendor is not None:
        return f"{vendor.name} files"
    ending = PurePath(name).suffix.lower()[:16]
    unread = next((kind for kind, endings in UNREAD.items() if ending in endings), None)
    if unread is None:
        return ending
    return f"{unread} files"


def _remedy(example: Path, kind: str) -> str:
    if kind in _REMEDIES:
        return _REMEDIES[kind]
    vendor = kind_of(example.name)
    return vendor.obstacle() if vendor is not None else UNREAD_REMEDY


def survey(
    root: Path,
    formats: Sequence[FileFormat],
    acquisition_formats: Sequence[AcquisitionFormat],
    settings: Settings,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[tuple[NotLookedAt, ...], bool]:
    """Walk through a folder once, in bounded time, and return what a daemon passes by in it.

    Returns
    -------
    tuple of NotLookedAt
        As :meth:`PassedBy.summary` has it.
    bool
        Whether all of it was seen; else there may be more.
    """
    passed_by = PassedBy(root, settings.output.template)
    results = output_folder_name(settings.output.template)
    until, left = clock() + _WALK_S, _WALK_ENTRIES
    folders = [root]
    while folders:
        if clock() > until or left <= 0:
            return passed_by.summary(), False
        folder = folders.pop()
        try:
            with os.scandir(folder) as listing:
                entries = list(listing)
        except OSError:
            passed_by.unreadable(folder)
            continue
        left -= len(entries)
        names = [entry.name for entry in entries]
        if recognised_by(folder, names, acquisition_formats) is not None:
            continue
        raw = acquisition_of_results(folder)
        if folder != root and raw and acquisition_format_for(raw, acquisition_formats):
            continue
        files, links, images = [], [], set()
        for entry in entries:
            if entry.is_symlink():
                links.append(entry.name)
            elif entry.is_dir(follow_symlinks=False):
                if settings.watch.recursive and is_input_folder(entry.name, results):
                    folders.append(folder / entry.name)
            elif not is_ignored(entry.name):
                if format_for(folder / entry.name, formats) is None:
                    files.append(entry.name)
                else:
                    images.add(entry.name)
        passed_by.listed(folder, files, links, images=images)
    return passed_by.summary(), True


def is_ignored(name: str) -> bool:
    """Return whether a file is of no interest by its name: hidden, or a result being written."""
    return name.startswith(".") or name.endswith(TEMPORARY_SUFFIX)


def is_input_folder(name: str, results: str | None) -> bool:
    """Return whether raw files in a folder of this name count; ``results`` is where results go."""
    return not name.startswith(".") and name != results
