"""Packages that give all of an image at once: cut into stacks here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from live_restore.formats.vendor.protocol import Description
from live_restore.formats.vendor.reader import require_grey_stack


class WholeArray:
    """An image that is read once, when the first of its stacks is asked for.

    Parameters
    ----------
    sizes
        Length of each axis, by its letter, slowest first.
    dtype
        Of the voxels.
    load
        Returns all of it, axes as in ``sizes``.
    more
        Further fields of its description.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        dtype: np.dtype[Any],
        load: Callable[[], NDArray[Any]],
        **more: Any,
    ) -> None:
        self._axes = list(sizes)
        self._load = load
        self._image: NDArray[Any] | None = None
        name = require_grey_stack(sizes, dtype)
        self.description = Description(
            sizes.get("P", 1),
            sizes.get("T", 1),
            sizes.get("C", 1),
            (sizes["Z"], sizes["Y"], sizes["X"]),
            name,
            **more,
        )

    def read(self, position: int, time: int, channel: int) -> NDArray[Any]:
        """Return one stack, (Z, Y, X)."""
        if self._image is None:
            self._image = self._load()
        place = {"P": position, "T": time, "C": channel}
        left = [axis for axis in self._axes if axis in "ZYX"]
        stack = self._image[tuple(
            slice(None) if axis in left else place.get(axis, 0) for axis in self._axes
        )]  # fmt: skip
        volume = stack.transpose([left.index(axis) for axis in "ZYX"])
        return np.ascontiguousarray(volume, self.description.dtype)
