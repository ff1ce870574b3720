"""Reads the stacks of one open TIFF file whose planes are all there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

from live_restore.errors import StackChangedError, StackRefusedError
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


class TiffReader:
    """Reads plane by plane.

    Parameters
    ----------
    stream
        The open file.
    found
        What it holds.
    """

    def __init__(self, stream: BinaryIO, found: Examined) -> None:
        self._stream = stream
        self._found = found

    def read(self, stack_index: StackIndex) -> Volume:
        """Return one stack (Z, Y, X), native byte order, contiguous.

        Raises
        ------
        StackUnreadableError
            A plane is damaged; the message names it.
        StackBusyError
            The disk or the network failed.
        StackChangedError
            The file changed while it was being read.
        StackRefusedError
            Not-a-number or infinite values.
        """
        file_stacks = self._found.file_stacks
        planes = self._found.layout.planes[stack_index]
        shape = file_stacks.shape_of(stack_index.position)
        volume = new_volume(shape, file_stacks.dtype, file_stacks.path)
        order = self._found.structure.byte_order
        for z, index in enumerate(planes[: shape[0]].tolist()):
            try:
                volume[z] = read_plane(
                    self._stream, self._found.pages[index], order, file_stacks.dtype
                )
            except DecodeError as error:
                self._still_the_same()
                raise damaged(
                    file_stacks.path,
                    f"plane {index + 1} (z {z}) of {stack_index.label} is damaged: {error}",
                ) from error
        self._still_the_same()
        require_finite(volume, stack_index, file_stacks.path)
        return volume

    def _still_the_same(self) -> None:
        """Raise ``StackChangedError`` if the file is another than when it was inspected."""
        file_stacks = self._found.file_stacks
        require_unchanged(file_stacks, fingerprint_of(self._stream))
        try:
            now = file_stacks.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            # Already read whole from the open file; that its name is gone changes no pixel.
            return
        require_unchanged(file_stacks, Fingerprint.of(now))
