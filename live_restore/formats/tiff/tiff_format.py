"""TIFF stacks: ImageJ, OME-TIFF, tifffile's own and plain multi-page files.

Nothing here trusts a library's idea of the file: the structure is walked (``structure.py``), the
description says which plane is which (``layout.py``, ``ome_layout.py``), and pixels are decoded
segment by segment (``decode.py``). Other files that a file names are opened only where they are
parts of the same image, beside it (``ome_set.py``).
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from live_restore.errors import (
    StackChangedError,
    StackError,
    StackIncompleteError,
    StackRefusedError,
)
from live_restore.files.raw_data import opened
from live_restore.formats.file_format import Arriving, Complete, PartOf, StackReader
from live_restore.formats.tiff.examine import (
    Examined,
    OwnOutputError,
    SpreadError,
    Taken,
    examine,
)
from live_restore.formats.tiff.growth import Looks
from live_restore.formats.tiff.layout import UndeclaredAxis
from live_restore.formats.tiff.ome_set import SUFFIXES, OmeSet, look
from live_restore.formats.tiff.reader import (
    TiffReader,
    fingerprint_of,
    require_grown,
    require_unchanged,
)
from live_restore.formats.tiff.structure import Walker, go_on
from live_restore.stack import FileStacks, Fingerprint

# Between two times that a file system can tell apart: 10 ms at most where it keeps fractions of a
# second, 2 s where it does not (FAT).
_TICK_NS, _TICK_OF_WHOLE_SECONDS_NS = 10**8, 2 * 10**9


class TiffFormat:
    """Single TIFF files, each holding one or more stacks.

    Parameters
    ----------
    undeclared_axis
        What an axis is that nobody declared. "T" leaves such files without depth: refused.
    interleaved_channels
        How many channels alternate along such an axis.
    """

    name = "tiff"

    def __init__(
        self, *, undeclared_axis: UndeclaredAxis = "auto", interleaved_channels: int = 1
    ) -> None:
        self.taken = Taken(undeclared_axis, interleaved_channels)
        self._local = threading.local()

    def recognises(self, path: Path) -> bool:
        """Return whether the name ends as a TIFF's does."""
        return path.name.lower().endswith(SUFFIXES)

    def inspect(self, path: Path) -> Arriving | Complete | PartOf | None:
        """Return what is there now; ``None`` for this program's own output.

        Raises
        ------
        StackRefusedError
            A 2-D image, RGB, an unsupported type or compression, undeclared axes.
        StackUnreadableError
            Not a TIFF, or damaged.
        StackBusyError
            It cannot be opened or read just now.
        StackChangedError
            The file vanished.
        """
        try:
            with _fingerprinted(path) as (stream, fingerprint):
                self._looks().forget(path)  # what is read next is walked to afresh, too
                self._local.inspected = None
                identity = _Identity.of(stream)
                at_rest = identity.at_rest()
                found = self._look(stream, fingerprint, path)
                if isinstance(found, Arriving | PartOf):
                    return found
                if isinstance(found, OmeSet):
                    evidence: Arriving | Complete = found.evidence()
                else:
                    evidence = found.evidence(stream, bytearray())
                if fingerprint_of(stream) != fingerprint:
                    return Arriving("the file is being written right now")
                if isinstance(found, Examined) and at_rest:
                    self._local.inspected = _Inspected(identity, found)
        except OwnOutputError:
            return None
        return evidence

    def inspect_growing(self, path: Path) -> Arriving | Complete | PartOf | None:
        """Return what is there now, going on from this thread's last look; see the seam."""
        try:
            with _fingerprinted(path) as (stream, fingerprint):
                found = self._look_on(stream, fingerprint, path)
                if isinstance(found, Arriving | PartOf):
                    return found
                if isinstance(found, OmeSet):
                    return found.evidence()
                states = self._looks().last(path).states
                return found.evidence(stream, states, everything=False)
        except OwnOutputError:
            return None
        except StackError:
            self._looks().forget(path)
            raise

    def _look(
        self, stream: BinaryIO, fingerprint: Fingerprint, path: Path
    ) -> Examined | OmeSet | Arriving | PartOf:
        try:
            structure = go_on(Walker(stream, fingerprint.size, path))
            return examine(structure, fingerprint, path, self.taken)
        except SpreadError as spread:
            return look(path, fingerprint, spread)

    def _look_on(
        self, stream: BinaryIO, fingerprint: Fingerprint, path: Path
    ) -> Examined | OmeSet | Arriving | PartOf:
        """Look as :meth:`_look` does, from where this thread's last look ended."""
        last = self._looks().at(path, stream, os.fstat(stream.fileno()))
        try:
            return last.examined(stream, fingerprint, path, self.taken)
        except SpreadError as spread:
            return look(path, fingerprint, spread)

    @contextmanager
    def open(self, file_stacks: FileStacks) -> Iterator[StackReader]:
        """Open a complete file for reading.

        Raises
        ------
        StackChangedError
            The file, or another one of its image, is no longer the one that was inspected.
        StackIncompleteError
            Planes of it are missing.
        StackBusyError
            It cannot be opened or read just now.
        """
        with self._opened(file_stacks, growing=False) as (stream, found):
            if isinstance(found, Arriving | PartOf) or (
                isinstance(found, Examined) and found.missing and not found.holds_all_stacks()
            ):
                reason = "a part of an image"
                if not isinstance(found, PartOf):
                    reason = found.reason if isinstance(found, Arriving) else found.missing
                raise StackIncompleteError(reason, file_stacks.path, "wait for the rest of it")
            if found.file_stacks.other_files != file_stacks.other_files:
                raise StackChangedError(
                    "another file of its image changed",
                    file_stacks.path,
                    "let all be written first",
                )
            yield found if isinstance(found, OmeSet) else TiffReader(stream, found)

    @contextmanager
    def open_growing(self, file_stacks: FileStacks) -> Iterator[TiffReader]:
        """Open a file that may have grown since, or of which planes are missing; see the seam.

        Raises
        ------
        StackChangedError
            It is another one: shorter, or with other stacks.
        StackBusyError
            It cannot be opened or read just now.
        """
        with self._opened(file_stacks, growing=True) as (stream, found):
            if not isinstance(found, Examined) or not _same_stacks(file_stacks, found.file_stacks):
                raise StackChangedError(
                    "holds other stacks than it did",
                    file_stacks.path,
                    "let it be written to its end first",
                )
            yield TiffReader(stream, found, growing=True)

    @contextmanager
    def _opened(
        self, file_stacks: FileStacks, *, growing: bool
    ) -> Iterator[tuple[BinaryIO, Examined | OmeSet | Arriving | PartOf]]:
        path = file_stacks.path
        try:
            with _fingerprinted(path) as (stream, fingerprint):
                (require_grown if growing else require_unchanged)(file_stacks, fingerprint)
                if growing:
                    yield stream, self._look_on(stream, fingerprint, path)
                else:
                    inspected = self._inspected(stream, path)
                    yield stream, inspected or self._look(stream, fingerprint, path)
        except OwnOutputError as error:
            raise StackRefusedError("a result of this program", path, "name raw files") from error

    def _inspected(self, stream: BinaryIO, path: Path) -> Examined | None:
        """Return what this thread has just found in a file, ``None`` where it may be another now.

        Walking to every directory once more takes half as long as reading the pixels.
        """
        last: _Inspected | None = getattr(self._local, "inspected", None)
        self._local.inspected = None
        if last is None or last.found.file_stacks.path != path:
            return None
        return last.found if last.identity == _Identity.of(stream) else None

    def _looks(self) -> Looks:
        """Return this thread's memory: who finds and who reads never wait for each other."""
        if not hasattr(self._local, "looks"):
            self._local.looks = Looks()
        looks: Looks = self._local.looks
        return looks


class _Identity(NamedTuple):
    """Which file that is, and when it was changed last (ns)."""

    device: int
    number: int
    size: int
    written_ns: int
    changed_ns: int

    @classmethod
    def of(cls, stream: BinaryIO) -> _Identity:
        """Return what the system says of an open file."""
        status = os.fstat(stream.fileno())
        changed_ns = status.st_mtime_ns, status.st_ctime_ns
        return cls(status.st_dev, status.st_ino, status.st_size, *changed_ns)

    def at_rest(self) -> bool:
        """Return whether whatever is written from now on is dated later than all before.

        That is known of disks of this computer under Linux alone. Servers date files by clocks of
        their own, and are told from disks by the major number 0 of what has no device (so are
        file systems in memory, and btrfs). Windows may date a file when its writer closes it, and
        keeps no time of change.
        """
        if sys.platform != "linux" or os.major(self.device) == 0:
            return False
        whole = self.written_ns % 10**9 == 0
        tick_ns = _TICK_OF_WHOLE_SECONDS_NS if whole else _TICK_NS
        return time.time_ns() - self.written_ns > tick_ns


class _Inspected(NamedTuple):
    """What was found in a file."""

    identity: _Identity
    found: Examined


def _same_stacks(before: FileStacks, now: FileStacks) -> bool:
    """Return whether a file holds at least the stacks that it did, in the same form."""
    return (
        before.dtype == now.dtype
        and before.positions <= now.positions
        and all(before.shape_of(n) == now.shape_of(n) for n in range(before.positions))
        and before.times <= now.times
        and before.channels <= now.channels
    )


@contextmanager
def _fingerprinted(path: Path) -> Iterator[tuple[BinaryIO, Fingerprint]]:
    """Open a file as :func:`opened` does; people link to single files, so links are followed."""
    with opened(path, follow_link=True, buffered=True) as (stream, _):
        yield stream, fingerprint_of(stream)
