"""TIFF stacks: ImageJ, OME-TIFF, tifffile's own and plain multi-page files.

Nothing here trusts a library's idea of the file: the structure is walked (``structure.py``), the
description says which plane is which (``layout.py``, ``ome_xml.py``), and pixels are decoded
segment by segment (``decode.py``). Other files that a file names are never opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from live_restore.errors import StackIncompleteError, StackRefusedError
from live_restore.files.raw_data import opened
from live_restore.formats.file_format import Arriving, Complete
from live_restore.formats.tiff.examine import OwnOutputError, examine
from live_restore.formats.tiff.layout import UndeclaredAxis
from live_restore.formats.tiff.reader import TiffReader, require_unchanged
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
                found = examine(stream, fingerprint, path, self.undeclared_axis)
                if isinstance(found, Arriving):
                    return found
                blank, tail = found.zeros(stream)
                if _fingerprint(stream) != fingerprint:
                    return Arriving("the file is being written right now")
        except OwnOutputError:
            return None
        declared = found.layout.declared_planes is not None
        return Complete(found.file_stacks, declared, blank, tail)

    @contextmanager
    def open(self, file_stacks: FileStacks) -> Iterator[TiffReader]:
        """Open a complete file for reading.

        Raises
        ------
        StackChangedError
            The file is no longer the one that was inspected.
        StackBusyError
            It cannot be opened or read just now.
        """
        path = file_stacks.path
        try:
            with _fingerprinted(path) as (stream, fingerprint):
                require_unchanged(file_stacks, fingerprint)
                found = examine(stream, fingerprint, path, self.undeclared_axis)
                if isinstance(found, Arriving):
                    raise StackIncompleteError(found.reason, path, "wait for the rest of it")
                yield TiffReader(stream, found)
        except OwnOutputError as error:
            raise StackRefusedError("a result of this program", path, "name raw files") from error


@contextmanager
def _fingerprinted(path: Path) -> Iterator[tuple[BinaryIO, Fingerprint]]:
    """Open a file as :func:`opened` does; people link to single files, so links are followed."""
    with opened(path, follow_link=True, buffered=True) as (stream, _):
        yield stream, _fingerprint(stream)


def _fingerprint(stream: BinaryIO) -> Fingerprint:
    return Fingerprint.of(os.fstat(stream.fileno()))
