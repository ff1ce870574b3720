"""Reads the stacks of one open TIFF file, as far as their planes are there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

from live_restore.errors import StackChangedError, StackIncompleteError, StackRefusedError
from live_restore.files.raw_data import new_volume
from live_restore.formats.tiff.decode import DecodeError, read_plane
from live_restore.formats.tiff.examine import Examined, damaged
from live_restore.stack import FileStacks, Fingerprint, StackIndex, Volume


def fingerprint_of(stream: BinaryIO) -> Fingerprint:
    """Return the fingerprint of an open file."""
    return Fingerprint.of(os.fstat(stream.fileno()))


def require_unchanged(file_stacks: FileStacks, fingerprint: Fingerprint) -> None:
    """Raise ``StackChangedError`` if a file is another than when it was inspected."""
    if fingerprint != file_stacks.fingerprint:
        raise StackChangedError(
            "the file changed since it was found complete",
            file_stacks.path,
            "let it be written to its end first",
        )


def require_finite(volume: Volume, stack_index: StackIndex, path: Path) -> None:
    """Raise ``StackRefusedError`` where a stack holds what is no number."""
    wrong = volume.size - int(np.isfinite(volume).sum()) if volume.dtype.kind == "f" else 0
    if wrong:
        raise StackRefusedError(
            f"{stack_index.label} holds NaN or infinite values in {wrong} voxels",
            path,
            "replace them and save again",
        )


def require_grown(file_stacks: FileStacks, fingerprint: Fingerprint) -> None:
    """Raise ``StackChangedError`` if a file has got shorter since it was inspected."""
    if fingerprint.size < file_stacks.fingerprint.size:
        raise StackChangedError(
            "the file got shorter while it was being written",
            file_stacks.path,
            "let it be written to its end first",
        )


class TiffReader:
    """Reads plane by plane.

    Parameters
    ----------
    stream
        The open file.
    found
        What it holds.
    growing
        Whether it may grow meanwhile.
    """

    def __init__(self, stream: BinaryIO, found: Examined, *, growing: bool = False) -> None:
        self._stream = stream
        self._found = found
        self._require = require_grown if growing else require_unchanged

    def read(self, stack_index: StackIndex) -> Volume:
        """Return one stack (Z, Y, X), native byte order, contiguous.

        Raises
        ------
        StackUnreadableError
            A plane is damaged; the message names it.
        StackIncompleteError
            A plane is not there.
        StackBusyError
            The disk or the network failed.
        StackChangedError
            The file changed while it was being read.
        StackRefusedError
            Not-a-number or infinite values.
        """
        depth = self._found.file_stacks.shape_of(stack_index.position)[0]
        return self.read_planes(stack_index, range(depth))

    def read_planes(self, stack_index: StackIndex, z: range) -> Volume:
        """Return these planes of a stack, (len(z), Y, X); raises as :meth:`read` does."""
        file_stacks = self._found.file_stacks
        planes = self._found.layout.planes[stack_index]
        shape = (len(z), *file_stacks.shape_of(stack_index.position)[1:])
        volume = new_volume(shape, file_stacks.dtype, file_stacks.path)
        for number, depth in enumerate(z):
            self._read_plane(stack_index, depth, int(planes[depth]), volume[number])
        self._still_the_same()
        require_finite(volume, stack_index, file_stacks.path)
        return volume

    def _read_plane(self, stack_index: StackIndex, z: int, index: int, into: Volume) -> None:
        """Read one plane (Y, X)."""
        found, path = self._found, self._found.file_stacks.path
        if index in found.damage:
            raise found.damage[index]
        if not 0 <= index < len(found.pages) or index in found.lacking:
            self._still_the_same()
            raise StackIncompleteError(
                f"plane {z} of {stack_index.label} is not there", path, "record it again"
            )
        try:
            read_plane(
                self._stream,
                found.pages[index],
                found.structure.byte_order,
                found.file_stacks.dtype,
                into,
            )
        except DecodeError as error:
            self._still_the_same()
            raise damaged(
                path, f"plane {index + 1} (z {z}) of {stack_index.label} is damaged: {error}"
            ) from error

    def _still_the_same(self) -> None:
        """Raise ``StackChangedError`` if the file is another than when it was inspected."""
        file_stacks = self._found.file_stacks
        self._require(file_stacks, fingerprint_of(self._stream))
        try:
            now = file_stacks.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            # Already read whole from the open file; that its name is gone changes no pixel.
            return
        self._require(file_stacks, Fingerprint.of(now))
