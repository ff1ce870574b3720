"""Recognise what a path is and read it: one table of containers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from live_restore.errors import CheckpointError
from live_restore_export.checkpoints.base import (
    NOTHING_SAID,
    ArchitectureFlags,
    Checkpoint,
    epoch_and_loss,
)

Loader = Callable[[Path, ArchitectureFlags], Checkpoint]

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def _hdf5(path: Path, flags: ArchitectureFlags) -> Checkpoint:
    from live_restore_export.checkpoints.keras_file import load_keras

    return load_keras(path, flags)


def _torch(path: Path, flags: ArchitectureFlags) -> Checkpoint:
    from live_restore_export.checkpoints.torch_file import load_torch

    return load_torch(path, flags)


# (first bytes, reader): by content, because a name promises nothing. Pickle protocol 2 and later
# begins with 0x80; zip files with PK.
CONTAINERS: tuple[tuple[bytes, Loader], ...] = (
    (_HDF5_MAGIC, _hdf5),
    (b"PK\x03\x04", _torch),
    (b"\x80", _torch),
)


def choose_in_folder(folder: Path, *, newest: bool = False) -> Path:
    """Return the best checkpoint of a folder of ``weights_{epoch}_{loss}.hdf5``.

    Parameters
    ----------
    newest
        The highest epoch instead of the lowest loss.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file())
    named = [(path, *epoch_and_loss(path.name)) for path in files]
    found = [
        (path, epoch, loss) for path, epoch, loss in named if epoch is not None and loss is not None
    ]
    if not found:
        raise CheckpointError(
            "has no weights_{epoch}_{loss}.hdf5 files", folder, "give the file itself"
        )
    if newest:
        return max(found, key=lambda entry: entry[1])[0]
    # Of equal losses the later one, as a trainer that keeps the best overwrites it.
    return min(found, key=lambda entry: (entry[2], -entry[1]))[0]


def load_checkpoint(
    path: Path, flags: ArchitectureFlags = NOTHING_SAID, *, newest: bool = False
) -> Checkpoint:
    """Read trained weights, whatever they are stored in.

    Parameters
    ----------
    path
        A file, or a folder of ``weights_{epoch}_{loss}.hdf5`` files.
    flags
        What the person gives about the architecture.
    newest
        In a folder, the highest epoch instead of the lowest loss.

    Raises
    ------
    CheckpointError
        Not there, not a 3D RCAN that we know, damaged, or in contradiction to ``flags``.
    """
    try:
        if path.is_dir():
            path = choose_in_folder(path, newest=newest)
        elif path.exists() and not path.is_file():
            # Opening a pipe would wait for somebody to write into it.
            raise CheckpointError("is a device or a pipe, not a file", path)
        with path.open("rb") as file:
            start = file.read(8)
        for magic, load in CONTAINERS:
            if start.startswith(magic):
                return load(path, flags).with_name_facts()
    except OSError as error:
        raise CheckpointError(
            f"cannot be read: {error.strerror or error}", path, "check the path"
        ) from error
    raise CheckpointError(
        "is neither a torch file nor HDF5" if start else "is empty",
        path,
        "docs/how-to/own-models.md lists what can be read",
    )
