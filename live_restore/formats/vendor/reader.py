"""The seam behind which packages that read vendors' files live: one module each, in the child.

::

    reader = nd2_files.open_file(path)      raises Refusal: nothing to restore; or anything at all
    reader.description                      sizes, type, voxel size, names
    reader.read(position, time, channel)    one stack (Z, Y, X), native byte order
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from live_restore.formats.vendor.protocol import Description, Refusal
from live_restore.stack import DTYPES


class VendorFile(Protocol):
    """An open file."""

    @property
    def description(self) -> Description:
        """What it holds."""
        ...

    def read(self, position: int, time: int, channel: int) -> NDArray[Any]:
        """Return one stack, (Z, Y, X)."""
        ...


class PlaneByPlane:
    """A file that is read plane by plane.

    Parameters
    ----------
    description
        What it holds.
    plane
        Returns the plane (Y, X) at a position, time, channel and z.
    """

    def __init__(
        self, description: Description, plane: Callable[[int, int, int, int], NDArray[Any]]
    ) -> None:
        self.description = description
        self._plane = plane

    def read(self, position: int, time: int, channel: int) -> NDArray[Any]:
        """Return one stack, (Z, Y, X)."""
        volume = np.empty(self.description.shape_zyx, self.description.dtype)
        for z in range(len(volume)):
            plane = np.asarray(self._plane(position, time, channel, z))
            if plane.shape != volume.shape[1:]:
                raise ValueError(f"a plane of {plane.shape} among others of {volume.shape[1:]}")
            volume[z] = plane
        return volume


def require_grey_stack(sizes: Mapping[str, int], dtype: np.dtype[Any]) -> str:
    """Return the name of a dtype that is restored.

    Raises
    ------
    Refusal
        No z-stack, colour, a type that is not restored, or an axis that nobody here knows.
    """
    if sizes.get("S", 1) > 1:
        raise Refusal("a colour image (RGB)", "record single channels")
    if sizes.get("Z", 1) < 2:
        raise Refusal("without a Z axis; nothing to restore in 3-D", "acquire a z-stack")
    unknown = sorted(axis for axis, size in sizes.items() if size > 1 and axis not in "PTCZYXS")
    if unknown:
        named = ", ".join(f"{axis} ({sizes[axis]})" for axis in unknown)
        raise Refusal(f"has axes that are not read: {named}", "export it as OME-TIFF")
    name = dtype.newbyteorder("=").name
    if name not in DTYPES:
        raise Refusal(f"{name} voxels; only {', '.join(DTYPES)} are restored", "export as 16 bit")
    return name


def regular_step(values: Any) -> float | None:
    """Return the mean distance of values, ``None`` where there are fewer than two."""
    found = np.asarray(values, float).ravel()
    if found.size < 2 or not np.isfinite(found).all():
        return None
    return float(abs(found[-1] - found[0]) / (found.size - 1)) or None
