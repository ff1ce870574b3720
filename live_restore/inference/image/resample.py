"""Another grid for a stack, where a model was trained on voxels of another size. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from live_restore.stack import VoxelSize

MOST_ZOOM = 2.0
"""Along an axis: a stack grows to eight times its size at most, whatever a file says of itself."""
# Pixel sizes in files are rounded, and no model is that choosy.
_TOLERANCE = 0.02

Zoom = tuple[float, float, float]


def zoom_for(voxel: VoxelSize, trained_um: dict[str, tuple[float, float]]) -> Zoom:
    """Return by how much to enlarge a stack along Z, Y, X to the nearest voxels trained on.

    1 along axes whose size is in the trained range or not known.

    Parameters
    ----------
    voxel
        Of the stack.
    trained_um
        Ranges of sizes (um), keys ``z`` and ``xy``, as a card has them.

    Examples
    --------
    >>> zoom_for(VoxelSize(0.9, 0.1, 0.1), {"z": (0.1, 0.6), "xy": (0.04, 0.2)})
    (1.5, 1.0, 1.0)
    >>> zoom_for(VoxelSize(None, 0.02, 0.02), {"xy": (0.04, 0.2)})
    (1.0, 0.5, 0.5)
    """

    def along(size: float | None, key: str) -> float:
        low, high = trained_um.get(key, (None, None))
        if size is None or low is None or high is None:
            return 1.0
        wanted = size / min(max(size, low), high)
        if abs(wanted - 1) <= _TOLERANCE:
            return 1.0
        return float(min(max(wanted, 1 / MOST_ZOOM), MOST_ZOOM))

    return along(voxel.z_um, "z"), along(voxel.y_um, "xy"), along(voxel.x_um, "xy")


def resampled(volume: NDArray[np.float32], shape_zyx: tuple[int, int, int]) -> NDArray[np.float32]:
    """Return a restored stack (Z, Y, X) on a grid of another shape over the same space.

    Cubic splines. Nothing is averaged where the grid becomes coarser: what the optics transmitted
    was recorded with voxels to spare there, and noise is gone.
    """
    if volume.shape == shape_zyx:
        return volume
    # Here, since programs without this need not wait for it when they start.
    from scipy import ndimage

    factors = [new / old for new, old in zip(shape_zyx, volume.shape, strict=True)]
    made = ndimage.zoom(volume, factors, order=3, mode="nearest", grid_mode=True)
    return np.asarray(made, np.float32)
