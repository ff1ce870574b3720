"""TIFF stacks: ImageJ, OME-TIFF, tifffile's own and plain multi-page files.

Nothing here trusts a library's idea of the file: the structure is walked (``structure.py``), the
description says which plane is which (``layout.py``, ``ome_xml.py``), and pixels are decoded
segment by segment (``decode.py``). Other files that a file names are never opened.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from live_restore.errors import (
    StackChangedError,
    StackError,
    StackIncompleteError,
    StackRefusedError,
)
from live_restore.files.raw_data import opened
from live_restore.formats.file_format import Arriving, Complete
from live_restore.formats.tiff.examine import Examined, OwnOutputError, examine
from live_restore.formats.tiff.growth import Looks
from live_restore.formats.tiff.layout import UndeclaredAxis
from live_restore.formats.tiff.reader import TiffReader, require_grown, require_unchanged
from live_restore.formats.tiff.structure import Walker, go_on
from live_restore.stack import FileStacks, Fingerprint

SUFFIXES = (".tif", ".tiff", ".btf", ".tf2", ".tf8")


class TiffFormat:
    """Single TIFF files, each holding one or more stacks.

    Parameters
    ----------
    undeclared_axis
        What an axis is that nobody declared. "T" leaves such files without depth: refused.
    """

    name = "tiff"

    def __init__(self, *, undeclared_axis: UndeclaredAxis = "Z") -> None:
        self.undeclared_axis = undeclared_axis
        self._local = threading.local()

    def recognises(self, path: Path) -> bool:
        """Return whether the name ends as a TIFF's does."""
        return path.name.lower().endswith(SUFFIXES)

    def inspect(self, path: Path) -> Arriving | Complete | None:
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
                found = self._examine(stream, fingerprint, path)
                if isinstance(found, Arriving):
                    return found
                evidence = found.evidence(stream, bytearray())
                if _fingerprint(stream) != fingerprint:
                    return Arriving("the file is being written right now")
        except OwnOutputError:
            return None
        return evidence

    def inspect_growing(self, path: Path) -> Arriving | Complete | None:
        """Return what is there now, going on from this thread's last look; see the seam."""
        try:
            with _fingerprinted(path) as (stream, fingerprint):
                look = self._looks().at(path, stream, os.fstat(stream.fileno()))
                found = look.examined(stream, fingerprint, path, self.undeclared_axis)
                if isinstance(found, Arriving):
                    return found
                return found.evidence(stream, look.states, everything=False)
        except OwnOutputError:
            return None
        except StackError:
            self._looks().forget(path)
            raise

    @contextmanager
    def open(self, file_stacks: FileStacks) -> Iterator[TiffReader]:
        """Open a complete file for reading.

        Raises
        ------
        StackChangedError
            The file is no longer the one that was inspected.
        StackIncompleteError
            Planes of it are missing.
        StackBusyError
            It cannot be opened or read just now.
        """
        with self._opened(file_stacks, growing=False) as (stream, found):
            if isinstance(found, Arriving) or found.missing:
                reason = found.reason if isinstance(found, Arriving) else found.missing
                raise StackIncompleteError(reason, file_stacks.path, "wait for the rest of it")
            yield TiffReader(stream, found)

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
            if isinstance(found, Arriving) or not _same_stacks(file_stacks, found.file_stacks):
                raise StackChangedError(
                    "holds other stacks than it did",
                    file_stacks.path,
                    "let it be written to its end first",
                )
            yield TiffReader(stream, found, growing=True)

    @contextmanager
    def _opened(
        self, file_stacks: FileStacks, *, growing: bool
    ) -> Iterator[tuple[BinaryIO, Examined | Arriving]]:
        path = file_stacks.path
        try:
            with _fingerprinted(path) as (stream, fingerprint):
                (require_grown if growing else require_unchanged)(file_stacks, fingerprint)
                if growing:
                    look = self._looks().at(path, stream, os.fstat(stream.fileno()))
                    yield stream, look.examined(stream, fingerprint, path, self.undeclared_axis)
                else:
                    yield stream, self._examine(stream, fingerprint, path)
        except OwnOutputError as error:
            raise StackRefusedError("a result of this program", path, "name raw files") from error

    def _examine(
        self, stream: BinaryIO, fingerprint: Fingerprint, path: Path
    ) -> Examined | Arriving:
        structure = go_on(Walker(stream, fingerprint.size, path))
        return examine(structure, fingerprint, path, self.undeclared_axis)

    def _looks(self) -> Looks:
        """Return this thread's memory: who finds and who reads never wait for each other."""
        if not hasattr(self._local, "looks"):
            self._local.looks = Looks()
        looks: Looks = self._local.looks
        return looks


def _same_stacks(before: FileStacks, now: FileStacks) -> bool:
    """Return whether a file holds at least the stacks that it did, in the same form."""
    return (
        (before.shape_zyx, before.dtype) == (now.shape_zyx, now.dtype)
        and before.positions <= now.positions
        and before.times <= now.times
        and before.channels <= now.channels
    )


@contextmanager
def _fingerprinted(path: Path) -> Iterator[tuple[BinaryIO, Fingerprint]]:
    """Open a file as :func:`opened` does; people link to single files, so links are followed."""
    with opened(path, follow_link=True, buffered=True) as (stream, _):
        yield stream, _fingerprint(stream)


def _fingerprint(stream: BinaryIO) -> Fingerprint:
    return Fingerprint.of(os.fstat(stream.fileno()))
