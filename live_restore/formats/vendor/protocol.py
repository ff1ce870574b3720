"""What a reader's child process and the daemon say to each other. Pure.

The child sends frames: one byte for the kind, eight for the length of what follows (big endian)::

    D   a description, as JSON             once, first
    V   the voxels of one stack            raw bytes, (Z, Y, X) in C order, native byte order
    R   a refusal, two lines               what it is, and what to do
    E   an error, one line                 what its package said

It is asked for a stack by a line of its position, time and channel. Nothing that it says is
believed: sizes are compared with what was described, what was described with the size of the file.
Never a pickle, which would run what it says.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from live_restore.files.values import (
    NotJsonError,
    bearable_bytes,
    integer,
    json_object,
    positive,
    text,
)
from live_restore.stack import DTYPES

HEADER = struct.Struct(">cQ")
MAX_TEXT = 2**20
"""Bytes of a description, with the names of 4,096 channels and positions."""
MAX_STACKS = 10_000_000
MAX_NAMES = 4096
_MAX_SIDE = 2**20


class Kind(StrEnum):
    """What a frame holds."""

    DESCRIPTION = "D"
    VOXELS = "V"
    REFUSAL = "R"
    ERROR = "E"


class ProtocolError(Exception):
    """The child said what cannot be."""


class Refusal(Exception):  # noqa: N818 - no error: readable, but nothing to restore
    """A reader's reason why there is nothing to restore, and what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.what, self.remedy = what, remedy


@dataclass(frozen=True)
class Description:
    """What a file holds.

    Parameters
    ----------
    positions, times, channels
        How many of each; the file holds as many stacks as their product.
    shape_zyx, dtype
        Of each stack.
    voxel_um
        Distances of voxels (Z, Y, X) in um, ``None`` where the file does not say.
    channel_names, position_names
        By index, or empty.
    time_increment_s
        Seconds between time points, or ``None``.
    notes
        What a reader should know and could not see otherwise.
    """

    positions: int
    times: int
    channels: int
    shape_zyx: tuple[int, int, int]
    dtype: str
    voxel_um: tuple[float | None, float | None, float | None] = (None, None, None)
    channel_names: tuple[str, ...] = ()
    position_names: tuple[str, ...] = ()
    time_increment_s: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def stack_bytes(self) -> int:
        """Bytes of one stack's voxels."""
        z, y, x = self.shape_zyx
        return z * y * x * np.dtype(self.dtype).itemsize

    def to_json(self) -> bytes:
        """Return the payload of a frame."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes, file_bytes: int) -> Description:
        """Return what a child described.

        Parameters
        ----------
        data
            The payload of a frame.
        file_bytes
            The real size of its file.

        Raises
        ------
        ProtocolError
            No file is like that, or none of this size.
        """
        try:
            said = json_object(data)
        except NotJsonError as error:
            raise ProtocolError(f"a description that is no JSON ({error})") from error
        counts = [_count(said, name, MAX_STACKS) for name in ("positions", "times", "channels")]
        sides = said.get("shape_zyx")
        if not isinstance(sides, list) or len(sides) != 3:
            raise ProtocolError("no shape")
        shape = [_count({"side": side}, "side", _MAX_SIDE) for side in sides]
        if said.get("dtype") not in DTYPES:
            raise ProtocolError("voxels of another type than was asked for")
        found = cls(
            counts[0],
            counts[1],
            counts[2],
            (shape[0], shape[1], shape[2]),
            said["dtype"],
            _voxel(said.get("voxel_um")),
            _names(said.get("channel_names"), counts[2]),
            _names(said.get("position_names"), counts[0]),
            positive(said.get("time_increment_s")),
            _names(said.get("notes"), MAX_NAMES),
        )
        stacks = found.positions * found.times * found.channels
        if stacks > MAX_STACKS or stacks * found.stack_bytes > bearable_bytes(file_bytes):
            raise ProtocolError(f"{stacks} stacks of {shape} voxels in {file_bytes:,} bytes")
        return found


def _count(said: dict[str, Any], name: str, most: int) -> int:
    found = integer(said.get(name))
    if found is None or not 1 <= found <= most:
        raise ProtocolError(f"{name} is {str(said.get(name))[:40]}")
    return found


def _voxel(said: object) -> tuple[float | None, float | None, float | None]:
    if not isinstance(said, list) or len(said) != 3:
        return (None, None, None)
    z, y, x = map(positive, said)
    return (z, y, x)


def _names(said: object, most: int) -> tuple[str, ...]:
    if not isinstance(said, list):
        return ()
    return tuple(text(each) for each in said[: min(most, MAX_NAMES)])
