"""The nouns: what a stack is, what it is called, and what a file of stacks looks like."""

from __future__ import annotations

import math
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from live_restore.recording import ImageMetadata

# Of dates of files: Linux; Windows and SMB; protocols and file systems of other systems.
_UNITS_NS = (1, 100, 10**3, 10**6, 10**9)
_LABEL = re.compile(r"p([0-9]{3,9})_t([0-9]{4,9})_c([0-9]{2,9})", re.ASCII)

Volume = NDArray[np.generic]
"""One stack's pixels, (Z, Y, X), in grey values (ADU)."""

Mask = NDArray[np.bool_]
"""True where something holds, of the shape of what it is about."""

DTYPES = ("uint8", "uint16", "int16", "uint32", "float32")
"""Of the voxels that are restored."""

MOST_ADU = 2**24
"""Whole grey values up to here, and no further, are exact in float32, in which is computed."""

Units = Literal["camera", "camera-float", "network"]
"""Of a result: grey values in the dtype of the raw stack; grey values as float32, not rounded;
float32 with 0 and 1 at the percentiles of the intensity scale."""


FOR_BRIGHTNESS = "doubtful for measuring brightness"
"""How a doubt begins that is about intensities only: the picture may be as good as any."""


def result_dtype(raw: np.dtype[np.generic], units: Units) -> np.dtype[np.generic]:
    """Return the dtype of a result in ``units`` of a raw stack."""
    return raw if units == "camera" else np.dtype(np.float32)


def checksum_of(volume: Volume) -> int:
    """Return the CRC-32 of a raw stack's voxels in C order: proof of what a result was made of."""
    return crc32(np.ascontiguousarray(volume).data)


def crc32(data: bytes | memoryview, before: int = 0) -> int:
    """Return the CRC-32 of some bytes, as ``zlib.crc32`` does, which is slower.

    Every voxel passes here three times. libdeflate takes 0.04 ns for one of 16 bits, where zlib
    takes 0.49 (32 x 512 x 512, one core).
    """
    import imagecodecs

    if not imagecodecs.DEFLATE.available:  # some distributions build imagecodecs without it
        return zlib.crc32(data, before)
    plain = np.frombuffer(data, np.uint8)  # anything else imagecodecs copies: three times as long
    return int(imagecodecs.deflate_crc32(plain, before))  # type: ignore[arg-type] # any buffer


def plane_number(axes: str, sizes: Mapping[str, int], place: Mapping[str, int]) -> int:
    """Return which plane of an image lies at a place, its axes ordered from slowest to fastest.

    Parameters
    ----------
    axes
        Such as ``"TZCYX"``; those that ``place`` does not name are passed over.
    sizes, place
        How many there are along each axis, and which of them is meant, from 0.

    Examples
    --------
    >>> plane_number("TZCYX", {"T": 2, "Z": 5, "C": 3}, {"T": 1, "Z": 4, "C": 2})
    29
    """
    number = 0
    for axis in axes:
        if axis in place:
            number = number * sizes[axis] + place[axis]
    return number


class Fingerprint(NamedTuple):
    """Tells whether a file is still the one that was seen (size in bytes, mtime in ns).

    Of a stack of an acquisition, whose files hold more than it: the bytes of its planes, and when
    the last of them was seen first.
    """

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Fingerprint:
        """Return the fingerprint of a file by what the system says of it."""
        return cls.in_range(status.st_size, status.st_mtime_ns)

    @classmethod
    def in_range(cls, size: int, mtime_ns: int) -> Fingerprint:
        """Return a fingerprint whose time the journal can store: SQLite's integers have 64 bits.

        File systems can date a file later than 2262, or earlier than 1677, which is beyond them;
        such times are folded into the years nearest to that end, so that files which differ still
        do.

        Examples
        --------
        >>> Fingerprint.in_range(10, 1_600_000_000 * 10**9)
        Fingerprint(size=10, mtime_ns=1600000000000000000)
        >>> Fingerprint.in_range(10, 10**19).mtime_ns < 2**63
        True
        """
        if mtime_ns >= 2**63:
            mtime_ns = 2**62 + mtime_ns % 2**62
        elif mtime_ns < -(2**63):
            mtime_ns = mtime_ns % 2**62 - 2**63
        return cls(size, mtime_ns)

    def agrees(self, other: Fingerprint) -> bool:
        """Return whether both may be of one file, which another computer dates less precisely.

        Examples
        --------
        >>> Fingerprint(10, 1_234_567_890_123).agrees(Fingerprint(10, 1_234_567_890_100))
        True
        >>> Fingerprint(10, 1_234_567_890_123).agrees(Fingerprint(10, 1_234_567_890_122))
        False
        """
        early, late = sorted((self.mtime_ns, other.mtime_ns))
        return self.size == other.size and any(late - late % unit == early for unit in _UNITS_NS)


class StackIndex(NamedTuple):
    """Which stack of an acquisition: numbers of its position, time point and channel, from 0."""

    position: int = 0
    time: int = 0
    channel: int = 0

    @property
    def label(self) -> str:
        """Name of the stack among results and in messages: numbers, no names from files.

        >>> StackIndex(0, 12, 1).label
        'p000_t0012_c01'
        """
        return f"p{self.position:03d}_t{self.time:04d}_c{self.channel:02d}"

    @classmethod
    def from_label(cls, label: str) -> StackIndex | None:
        """Return the index that a label stands for, ``None`` if it is no label.

        >>> StackIndex.from_label("p000_t0012_c01")
        StackIndex(position=0, time=12, channel=1)
        """
        match = _LABEL.fullmatch(label)
        return cls(*map(int, match.groups())) if match else None


@dataclass(frozen=True)
class StackKey:
    """What makes a stack that stack: the key in journal, logs, reports and on every display.

    Parameters
    ----------
    acquisition
        The file or the folder that holds it, relative to the watched folder.
    index
        Which stack of an acquisition folder; ``None``: all that the file holds, as one unit of
        work.
    """

    acquisition: Path
    index: StackIndex | None = None

    @property
    def path(self) -> Path:
        """The acquisition, and below it the stack's label: one name for logs and displays.

        >>> StackKey(Path("day/run_1"), StackIndex(0, 4, 1)).path.as_posix()
        'day/run_1/p000_t0004_c01'
        >>> StackKey(Path("day/cell.tif")).path.as_posix()
        'day/cell.tif'
        """
        return self.acquisition if self.index is None else self.acquisition / self.index.label

    @property
    def run(self) -> Path:
        """What was recorded with it: the acquisition, or the folder that a file lies in."""
        return self.acquisition.parent if self.index is None else self.acquisition

    @property
    def channel(self) -> int:
        """Its channel; 0, the first, of a file, which may hold several."""
        return 0 if self.index is None else self.index.channel

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class VoxelSize:
    """Distance between voxel centres in micrometres; ``None`` where the file does not say."""

    z_um: float | None = None
    y_um: float | None = None
    x_um: float | None = None


@dataclass(frozen=True)
class FileStacks:
    """The stacks of one file (or one acquisition folder), all of the same type.

    Parameters
    ----------
    path
        The file.
    fingerprint
        Size and time stamp of the file when this was found out.
    positions, times, channels
        How many of each; the file holds ``positions * times * channels`` stacks.
    shape_zyx
        Shape of each stack; where positions differ, of the largest (see ``shapes_zyx``).
    dtype
        Of the voxels: one of ``DTYPES``, native byte order.
    voxel
        Voxel size.
    axes
        Axes as the file orders them, from slowest to fastest, such as ``"TZCYX"``; an undeclared
        leading axis is already called Z. Positions are not an axis here.
    channel_names
        One name per channel, or empty.
    position_names
        One name per position, or empty.
    time_increment_s
        Seconds between time points, or ``None``.
    notes
        What a reader should know and could not see otherwise ("axis Q taken as Z").
    first_channel
        Number of its first channel in the acquisition, of which it may be a part.
    shapes_zyx
        Shape of the stacks of each position, empty where all have ``shape_zyx``.
    assumptions
        What was assumed about it because nothing declares it: shown on the screen, once. Without
        numbers of this very file, so that the same assumption reads the same.
    metadata
        How it was recorded.
    other_files
        Further files that the same image lies in, and what they were like; see ``ome_set.py``.
    """

    path: Path
    fingerprint: Fingerprint
    positions: int
    times: int
    channels: int
    shape_zyx: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    voxel: VoxelSize = VoxelSize()
    axes: str = "ZYX"
    channel_names: tuple[str, ...] = ()
    position_names: tuple[str, ...] = ()
    time_increment_s: float | None = None
    notes: tuple[str, ...] = ()
    first_channel: int = 0
    shapes_zyx: tuple[tuple[int, int, int], ...] = ()
    assumptions: tuple[str, ...] = ()
    metadata: ImageMetadata = field(default_factory=ImageMetadata)
    other_files: tuple[tuple[Path, Fingerprint], ...] = ()

    @property
    def stack_count(self) -> int:
        """How many stacks there are."""
        return self.positions * self.times * self.channels

    @property
    def stack_voxels(self) -> int:
        """Voxels in one stack, the largest."""
        return math.prod(self.shape_zyx)

    @property
    def voxel_count(self) -> int:
        """Voxels in all its stacks."""
        return self.times * self.channels * sum(map(math.prod, self._shapes()))

    @property
    def plane_count(self) -> int:
        """Planes in all its stacks."""
        return self.times * self.channels * sum(depth for depth, _, _ in self._shapes())

    @property
    def voxel_bytes(self) -> int:
        """Bytes of all its voxels, uncompressed."""
        return self.voxel_count * self.dtype.itemsize

    def _shapes(self) -> tuple[tuple[int, int, int], ...]:
        return self.shapes_zyx or (self.shape_zyx,) * self.positions

    def shape_of(self, position: int) -> tuple[int, int, int]:
        """Return the shape (Z, Y, X) of the stacks of a position."""
        return self.shapes_zyx[position] if self.shapes_zyx else self.shape_zyx

    def indices(self) -> list[StackIndex]:
        """Return every stack's index, channel fastest, then time, then position."""
        return [
            StackIndex(position, time, channel)
            for position in range(self.positions)
            for time in range(self.times)
            for channel in range(self.channels)
        ]

    def channel_name(self, channel: int) -> str:
        """Return the channel's name, or its number as text where it has none."""
        return self.channel_names[channel] if channel < len(self.channel_names) else str(channel)

    def camera_serial(self, channel: int) -> str:
        """Return the serial number of the camera that recorded a channel, "" where unknown."""
        channels = self.metadata.channels
        return channels[channel].camera_serial if channel < len(channels) else ""
