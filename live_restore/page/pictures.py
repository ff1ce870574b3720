"""Planes as bytes for a browser: smaller, cut out, as plain voxels or as PNG. Pure."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from live_restore.outputs.pyramid import shrunk

if TYPE_CHECKING:
    import PIL.Image

Plane = NDArray[np.generic]

MAX_EDGE = 2048
"""Rows and columns of what is sent at once: 8 MB of 16 bits."""
MAX_LEVEL = 8
THUMBNAIL_EDGE = 112


class TooLargeError(ValueError):
    """More was asked for than is sent at once."""


@dataclass(frozen=True)
class Cut:
    """A rectangle in the pixels of a level: first row and column, rows and columns (0: all)."""

    y: int = 0
    x: int = 0
    height: int = 0
    width: int = 0


def level_of(plane: Plane, level: int, cut: Cut) -> Plane:
    """Return a plane with each edge shrunk by ``2 ** level``, each voxel the mean of those under.

    Of whole numbers the mean is rounded. Voxels at the far edge are the mean of what is there.

    Raises
    ------
    TooLargeError
        The cut is larger than ``MAX_EDGE``, or lies outside.

    Examples
    --------
    >>> level_of(np.array([[1, 3, 5], [1, 3, 6]], np.uint16), 1, Cut())
    array([[2, 6]], dtype=uint16)
    """
    step = 2**level
    rows, columns = (-(-edge // step) for edge in plane.shape)
    height, width = cut.height or rows - cut.y, cut.width or columns - cut.x
    bottom, right = min(rows, cut.y + height), min(columns, cut.x + width)
    if not (0 <= cut.y < bottom and 0 <= cut.x < right):
        raise TooLargeError("outside of the picture")
    if bottom - cut.y > MAX_EDGE or right - cut.x > MAX_EDGE:
        raise TooLargeError(f"more than {MAX_EDGE} voxels along an edge")
    part = plane[cut.y * step : bottom * step, cut.x * step : right * step]
    return part if level == 0 else shrunk(part, step)


def voxel_bytes(plane: Plane) -> tuple[str, bytes]:
    """Return (type, little-endian bytes) of a plane; what a browser has no type for is float32."""
    if plane.dtype not in (np.uint8, np.uint16, np.float32):
        plane = plane.astype(np.float32)
    ordered = np.ascontiguousarray(plane, plane.dtype.newbyteorder("<"))
    return plane.dtype.name, ordered.tobytes()


def eight_bits(plane: Plane, low: float, high: float) -> NDArray[np.uint8]:
    """Return a plane with ``low`` black and ``high`` white."""
    scale = 255.0 / max(high - low, 1e-9)
    return np.asarray(
        np.clip((plane.astype(np.float32) - low) * scale + 0.5, 0, 255), np.float32
    ).astype(np.uint8)


def png(plane: Plane, bits: int, low: float, high: float) -> bytes:
    """Return a PNG: 8 bits between ``low`` and ``high``, or 16 bits as the grey values are."""
    from PIL import Image

    if bits == 16:
        picture = Image.fromarray(np.clip(np.rint(plane.astype(np.float64)), 0, 65535).astype("u2"))
    else:
        picture = Image.fromarray(eight_bits(plane, low, high))
    return _encoded(picture, compress_level=1)


def thumbnail(plane: Plane) -> bytes:
    """Return a small PNG, its contrast between the 1st and the 99.7th percentile."""
    from PIL import Image

    edge = max(plane.shape)
    small = plane
    if edge > 4 * THUMBNAIL_EDGE:
        small = shrunk(plane, edge // (4 * THUMBNAIL_EDGE) + 1)
    low, high = (float(each) for each in np.percentile(small.astype(np.float32), (1.0, 99.7)))
    picture = Image.fromarray(eight_bits(small, low, high))
    picture.thumbnail((THUMBNAIL_EDGE, THUMBNAIL_EDGE))
    return _encoded(picture, compress_level=6)


def _encoded(picture: PIL.Image.Image, *, compress_level: int) -> bytes:
    held = io.BytesIO()
    picture.save(held, "PNG", compress_level=compress_level)
    return held.getvalue()
