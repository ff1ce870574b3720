"""The nouns: what a stack is, what it is called, and what a dataset of stacks looks like."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Volume = NDArray[np.generic]
"""One stack's pixels, (Z, Y, X), in grey values (ADU)."""

Units = Literal["camera", "camera-float", "network"]
"""Of a result: grey values in the dtype of the raw stack; grey values as float32, not rounded;
float32 with 0 and 1 at the percentiles of the intensity scale."""


def result_dtype(raw: np.dtype[np.generic], units: Units) -> np.dtype[np.generic]:
    """Return the dtype of a result in ``units`` of a raw stack."""
    return raw if units == "camera" else np.dtype(np.float32)


class Fingerprint(NamedTuple):
    """Tells whether a file is still the one that was seen (size in bytes, mtime in ns).

    Of a stack of a data set, whose files hold more than it: the bytes of its planes, and when the
    last of them was seen first.
    """

    size: int
    mtime_ns: int


@dataclass(frozen=True, order=True)
class StackKey:
    """What makes a stack that stack: acquisition, position, time and channel (indices from 0)."""

    acquisition: str
    position: int = 0
    time: int = 0
    channel: int = 0

    def __str__(self) -> str:
        return f"{self.acquisition} p{self.position} t{self.time} c{self.channel}"


@dataclass(frozen=True)
class VoxelSize:
    """Distance between voxel centres in micrometres; ``None`` where the file does not say."""

    z_um: float | None = None
    y_um: float | None = None
    x_um: float | None = None


@dataclass(frozen=True)
class Dataset:
    """The stacks of one file (or one dataset folder), all of the same shape and type.

    Parameters
    ----------
    path
        The file.
    fingerprint
        Size and time stamp of the file when this was found out.
    positions, times, channels
        How many of each; a dataset holds ``positions * times * channels`` stacks.
    shape_zyx
        Shape of each stack.
    dtype
        Of the voxels: uint8, uint16 or float32, native byte order.
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

    @property
    def stack_count(self) -> int:
        """How many stacks there are."""
        return self.positions * self.times * self.channels

    @property
    def stack_voxels(self) -> int:
        """Voxels in one stack."""
        return self.shape_zyx[0] * self.shape_zyx[1] * self.shape_zyx[2]

    @property
    def voxel_bytes(self) -> int:
        """Bytes of all its voxels, uncompressed."""
        return self.stack_count * self.stack_voxels * self.dtype.itemsize

    def keys(self) -> list[StackKey]:
        """Return every stack's key, channel fastest, then time, then position."""
        return [
            StackKey(self.path.name, position, time, channel)
            for position in range(self.positions)
            for time in range(self.times)
            for channel in range(self.channels)
        ]

    def channel_name(self, channel: int) -> str:
        """Return the channel's name, or its number as text where it has none."""
        return self.channel_names[channel] if channel < len(self.channel_names) else str(channel)
