"""A message: a text (JSON), and arrays beside it that are sent without being copied or pickled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from live_restore.cluster.values import DamagedMessageError

# Of which a header may speak; nothing with Python objects in it.
_KINDS = "biuf"
_MOST_ARRAYS = 256
_MOST_AXES = 5


@dataclass(frozen=True)
class Message:
    """What one computer says to another: ``text`` is JSON, ``arrays`` what it refers to."""

    text: str
    arrays: tuple[NDArray[Any], ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of it, for whoever counts them."""
        return len(self.text) + sum(array.nbytes for array in self.arrays)


def taken_apart(message: Message) -> tuple[dict[str, Any], list[memoryview]]:
    """Return header and frames: every array in C order, little-endian, one copy at most."""
    native = [
        np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for array in message.arrays
    ]
    header = {
        "text": message.text,
        # numpy makes (1,) of what has no axes
        "arrays": [
            (each.dtype.str, list(of.shape))
            for each, of in zip(native, message.arrays, strict=True)
        ],
    }
    return header, [each.reshape(-1).view(np.uint8).data for each in native]


def put_together(header: dict[str, Any], frames: Sequence[Any]) -> Message:
    """Return the message of a header and its frames, which may come from anybody.

    Raises
    ------
    DamagedMessageError
        They are none.
    """
    text, described = header.get("text"), header.get("arrays")
    if not isinstance(text, str) or not isinstance(described, (list, tuple)):
        raise DamagedMessageError("its header is damaged")
    if len(described) != len(frames) or len(frames) > _MOST_ARRAYS:
        raise DamagedMessageError(f"{len(frames)} arrays came, {len(described)} were announced")
    arrays = (_array(what, frame) for what, frame in zip(described, frames, strict=True))
    return Message(text, tuple(arrays))


def _array(described: object, frame: Any) -> NDArray[Any]:
    try:
        name, sizes = cast("tuple[object, tuple[int, ...]]", described)
        dtype = np.dtype(str(name))
        shape = tuple(int(size) for size in sizes)
    except (TypeError, ValueError) as error:
        raise DamagedMessageError(f"an array of no type ({error})") from None
    if dtype.kind not in _KINDS or len(shape) > _MOST_AXES or min(shape, default=0) < 0:
        raise DamagedMessageError(f"an array of {dtype} with {len(shape)} axes")
    content = memoryview(frame).cast("B")
    if content.nbytes != dtype.itemsize * math.prod(shape):
        raise DamagedMessageError(f"{content.nbytes} bytes came for {shape} of {dtype}")
    found: NDArray[Any] = np.frombuffer(content, dtype).reshape(shape)
    return found.astype(dtype.newbyteorder("="), copy=False)
