"""From what a network gave to a result: camera units, rounded and clipped to a type. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from live_restore.errors import InferenceError
from live_restore.files.recycled import empty_volume
from live_restore.inference.image.intensity import IntensityScale
from live_restore.stack import Volume


def finished_volume(
    network: NDArray[np.float32], scale: IntensityScale | None, dtype: np.dtype[np.generic]
) -> tuple[Volume, int]:
    """Return the network's result, which is overwritten, as a dtype, and how much was clipped.

    Plane by plane, so that each stays in the processor's cache and none is held twice: 1.5 times as
    fast as step by step (32 x 512 x 512, 9 ms).

    Parameters
    ----------
    network
        (..., Z, Y, X), network units.
    scale
        To camera units; ``None``: it is in its units already.
    dtype
        Of the result.

    Raises
    ------
    InferenceError
        A value is not finite.
    """
    volume = network if dtype == np.float32 else empty_volume(network.shape, dtype)
    clipped = 0
    for index in np.ndindex(network.shape[:-2]):
        values = network[index]
        if scale is not None:
            scale.restore(values)
        if not (np.isfinite(values.min()) and np.isfinite(values.max())):  # NaN is both
            # Reduced precision can overflow; a black or NaN image must never look like a result.
            raise not_finite()
        if volume is not network:
            volume[index], outside = to_dtype(values, dtype)
            clipped += outside
    return volume, clipped


def not_finite() -> InferenceError:
    """Return the error to raise where a network gave something else than numbers."""
    return InferenceError(
        "the model returned values that are not finite",
        None,
        "use a model in fp32, and report this stack",
    )


def to_dtype(values: NDArray[np.float32], dtype: np.dtype[np.generic]) -> tuple[Volume, int]:
    """Round and clip to an integer dtype; return the volume and how many voxels were clipped.

    Examples
    --------
    >>> volume, clipped = to_dtype(np.array([-3.0, 1.4, 300.0], np.float32), np.dtype(np.uint8))
    >>> volume.tolist(), clipped
    ([0, 1, 255], 2)
    """
    if not np.issubdtype(dtype, np.integer):
        return values.astype(dtype, copy=False), 0
    limits = np.iinfo(dtype)  # type: ignore[type-var]
    lowest, highest = np.float32(limits.min), np.float32(limits.max)
    if int(highest) > limits.max:  # uint32's is none of float32: the next one below it is
        highest = np.nextafter(highest, np.float32(0))
    np.rint(values, out=values)
    # Nearly always: two passes instead of five.
    if values.size and values.min() >= lowest and values.max() <= highest:
        return values.astype(dtype), 0
    clipped = int(np.count_nonzero(values < lowest)) + int(np.count_nonzero(values > highest))
    np.clip(values, lowest, highest, out=values)
    return values.astype(dtype), clipped
