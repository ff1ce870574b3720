"""TIFF stacks: ImageJ, OME-TIFF, tifffile's own and plain multi-page files.

Nothing here trusts a library's idea of the file: the structure is walked (``structure.py``), the
description says which plane is which (``layout.py``, ``ome_layout.py``), and pixels are decoded
segment by segment (``decode.py``). Other files that a file names are opened only where they are
parts of the same image, beside it (``ome_set.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from live_restore.errors import StackChangedError, StackIncompleteError, StackRefusedError
from live_restore.files.raw_data import opened
from live_restore.formats.file_format import Arriving, Complete, PartOf, StackReader
from live_restore.formats.tiff.examine import (
    Examined,
    OwnOutputError,
    SpreadError,
    Taken,
    examine,
)
from live_restore.formats.tiff.layout import UndeclaredAxis
from live_restore.formats.tiff.ome_set import SUFFIXES, OmeSet, look
from live_restore.formats.tiff.reader import TiffReader, fingerprint_of, require_unchanged
from live_restore.stack import FileStacks, Fingerprint


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
                found = self._look(stream, fingerprint, path)
                if isinstance(found, Arriving | PartOf):
                    return found
                if isinstance(found, OmeSet):
                    blank, tail = found.blank(), False
                else:
                    blank, tail = found.zeros(stream)
                if fingerprint_of(stream) != fingerprint:
                    return Arriving("the file is being written right now")
        except OwnOutputError:
            return None
        declared = found.layout.declared_planes is not None
        return Complete(found.file_stacks, declared, blank, tail)

    def _look(
        self, stream: BinaryIO, fingerprint: Fingerprint, path: Path
    ) -> Examined | OmeSet | Arriving | PartOf:
        try:
            return examine(stream, fingerprint, path, self.taken)
        except SpreadError as spread:
            return look(path, fingerprint, spread)

    @contextmanager
    def open(self, file_stacks: FileStacks) -> Iterator[StackReader]:
        """Open a complete file for reading.

        Raises
        ------
        StackChangedError
            The file, or another one of its image, is no longer the one that was inspected.
        StackBusyError
            It cannot be opened or read just now.
        """
        path = file_stacks.path
        try:
            with _fingerprinted(path) as (stream, fingerprint):
                require_unchanged(file_stacks, fingerprint)
                found = self._look(stream, fingerprint, path)
                if isinstance(found, Arriving | PartOf):
                    reason = found.reason if isinstance(found, Arriving) else "a part of an image"
                    raise StackIncompleteError(reason, path, "wait for the rest of it")
                if found.file_stacks.other_files != file_stacks.other_files:
                    raise StackChangedError(
                        "another file of its image changed", path, "let all be written first"
                    )
                yield found if isinstance(found, OmeSet) else TiffReader(stream, found)
        except OwnOutputError as error:
            raise StackRefusedError("a result of this program", path, "name raw files") from error


@contextmanager
def _fingerprinted(path: Path) -> Iterator[tuple[BinaryIO, Fingerprint]]:
    """Open a file as :func:`opened` does; people link to single files, so links are followed."""
    with opened(path, follow_link=True, buffered=True) as (stream, _):
        yield stream, fingerprint_of(stream)
