"""Stacks in a person's folders: which there are, which belong together, and whether they will do.

Files are read by the daemon's own reader: what it restores, and nothing else, can be learnt from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from live_restore.errors import (
    StackIncompleteError,
    StackRefusedError,
    UsageError,
)
from live_restore.files.naming import bare_name
from live_restore.formats.file_format import Arriving, PartOf
from live_restore.formats.table import format_for, make_formats
from live_restore.inference.image.intensity import percentiles
from live_restore.stack import FileStacks, StackIndex, Volume

# Of an unsaturated stack few voxels share its very largest value; a plateau of 1 % is the end of
# the camera's range (12-bit cameras end at 4095), a clipped export or a mask.
_LARGEST_PLATEAU = 0.01


@dataclass(frozen=True)
class StackRef:
    """One stack of one file, not yet read."""

    file_stacks: FileStacks
    index: StackIndex

    @property
    def path(self) -> Path:
        """The file."""
        return self.file_stacks.path

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Shape of the stack."""
        return self.file_stacks.shape_zyx

    @property
    def label(self) -> str:
        """The file's name, and which of its stacks this is where it has several."""
        return (
            self.path.name
            if self.file_stacks.stack_count == 1
            else f"{self.path.name} {self.index.label}"
        )


@dataclass(frozen=True)
class PairRef:
    """A noisy stack and its ground truth, not yet read."""

    raw: StackRef
    truth: StackRef


def file_stacks_in(folder: Path) -> list[FileStacks]:
    """Return what the TIFF files of ``folder`` hold, sorted by name without endings.

    Raises
    ------
    UsageError
        Not a folder, or one without TIFF files.
    StackError
        A file that is damaged, incomplete, not a stack of grey values, or a result of
        live-restore: what a network made is no truth for another.
    """
    return [file_stacks_of(path) for path in tiff_files_in(folder)]


def tiff_files_in(folder: Path) -> list[Path]:
    """Return the TIFF files of ``folder``, sorted by name without endings; none is opened.

    Raises
    ------
    UsageError
        Not a folder, or one without TIFF files.
    """
    formats = make_formats()
    try:
        names = [p for p in folder.iterdir() if not p.name.startswith(".") and not p.is_dir()]
    except OSError as error:
        raise UsageError(
            f"is not a folder that can be read ({error.strerror or error})", folder,
            "check the path; relative ones count from the configuration's folder",
        ) from error  # fmt: skip
    files = [p for p in names if format_for(p, formats) is not None]
    if not files:
        raise UsageError("holds no TIFF stacks", folder, "put .tif files there")
    return sorted(files, key=lambda p: (bare_name(p), p.name))


def file_stacks_of(path: Path) -> FileStacks:
    """Return what a TIFF file holds; raises ``StackError`` as :func:`file_stacks_in` does."""
    chosen = format_for(path, make_formats())
    if chosen is None:
        raise StackRefusedError("is not a TIFF file", path, "save the stack as TIFF")
    found = chosen.inspect(path)
    if found is None:
        raise StackRefusedError(
            "is a result of live-restore itself", path, "leave it out: it is not a measurement"
        )
    if isinstance(found, PartOf):
        raise StackRefusedError(
            f"is a part of the image of {found.path.name}", path, "save the image as one file"
        )
    if isinstance(found, Arriving):
        raise StackIncompleteError(found.reason, path, "leave it out, or save it again")
    return found.file_stacks


def stacks_of(files: list[FileStacks], channel: int | None = None) -> list[StackRef]:
    """Return the stacks of some files, of one channel or of all.

    Raises
    ------
    UsageError
        A file without that channel.
    """
    for file_stacks in files:
        if channel is not None and channel >= file_stacks.channels:
            raise UsageError(
                f"has no channel {channel}, only {file_stacks.channels} (counted from 0)",
                file_stacks.path,
                "correct data.channel",
            )
    return [
        StackRef(file_stacks, index)
        for file_stacks in files
        for index in file_stacks.indices()
        if channel is None or index.channel == channel
    ]


def pairs_in(raw: Path, gt: Path, channel: int | None = None) -> list[PairRef]:
    """Match the stacks of two folders: the first file to the first by sorted name, and so on.

    Raises
    ------
    UsageError
        Another number of files, stacks or voxels on one side.
    StackError
        As :func:`file_stacks_in`.
    """
    noisy, truths = file_stacks_in(raw), file_stacks_in(gt)
    if len(noisy) != len(truths):
        raise UsageError(
            f"holds {len(noisy)} files, but {gt} holds {len(truths)}",
            raw,
            "give every raw file one ground truth; they are matched by sorted name",
        )
    for ours, theirs in zip(noisy, truths, strict=True):
        counts = [(d.positions, d.times, d.channels) for d in (ours, theirs)]
        if ours.shape_zyx != theirs.shape_zyx or counts[0] != counts[1]:
            raise UsageError(
                f"holds {_extent(ours)}, but {theirs.path}, its ground truth by sorted name, "
                f"holds {_extent(theirs)}",
                ours.path,
                "leave both out, or check the order of the names",
            )
    return [
        PairRef(a, b)
        for a, b in zip(stacks_of(noisy, channel), stacks_of(truths, channel), strict=True)
    ]


def _extent(file_stacks: FileStacks) -> str:
    shape = " x ".join(map(str, file_stacks.shape_zyx))
    return shape if file_stacks.stack_count == 1 else f"{file_stacks.stack_count} stacks of {shape}"


def voxel_um_of(files: Sequence[FileStacks]) -> dict[str, tuple[float, float]]:
    """Return the ranges of voxel sizes (um), keys ``z`` and ``xy``, as far as files record them."""
    known = {
        "z": [each.voxel.z_um for each in files],
        "xy": [size for each in files for size in (each.voxel.y_um, each.voxel.x_um)],
    }
    sizes = {axis: [v for v in values if v is not None] for axis, values in known.items()}
    return {axis: (min(values), max(values)) for axis, values in sizes.items() if values}


def read_stack(ref: StackRef, ranks: tuple[float, float]) -> Volume:
    """Return the voxels (Z, Y, X), native dtype, of a stack that something can be learnt from.

    Raises
    ------
    StackRefusedError
        As :func:`require_usable`.
    StackError
        Damaged, or changed since it was listed.
    """
    chosen = format_for(ref.path, make_formats())
    assert chosen is not None, "it was listed by this format"
    with chosen.open(ref.file_stacks) as reader:
        volume = reader.read(ref.index)
    require_usable(volume, ref.label, ref.path, ranks)
    return volume


def require_usable(volume: Volume, label: str, path: Path, ranks: tuple[float, float]) -> None:
    """Refuse a stack (Z, Y, X) that nothing can be learnt from.

    Raises
    ------
    StackRefusedError
        NaN or infinite values, no contrast between the percentiles ``ranks``, or saturated.
    """
    largest = volume.max()
    low, high = percentiles(volume, ranks)
    if volume.min() == largest:
        raise StackRefusedError(
            f"{label} is constant: every voxel is {largest:g}", path, "leave it out"
        )
    plateau = float(np.count_nonzero(volume == largest)) / volume.size
    if plateau > _LARGEST_PLATEAU:
        raise StackRefusedError(
            f"{label} is saturated: {plateau:.1%} of its voxels have its largest value, "
            f"{largest:g}",
            path,
            "leave it out, or record it with less light",
        )
    if low >= high:
        raise StackRefusedError(
            f"{label} has no contrast: its percentiles {ranks[0]:g} and {ranks[1]:g} are both "
            f"{low:g}",
            path,
            "leave it out, or set training.percentiles",
        )
