"""The finest detail of a plane: optics pass next to nothing there, and noise as much as ever."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def finest_detail(planes: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the finest diagonal detail of each plane, with the variance that white noise has.

    The 3 x 3 operator (1 -2 1; -2 4 -2; 1 -2 1) of Immerkaer, Computer Vision and Image
    Understanding 64, 300 (1996), over 6: of white noise it has 36 times the variance.

    Parameters
    ----------
    planes
        (..., Y, X) float, at least 3 x 3.

    Returns
    -------
    numpy.ndarray
        (..., Y - 2, X - 2): a voxel each, of the places that have all neighbours.
    """
    second = planes[..., :-2, :] + planes[..., 2:, :] - 2 * planes[..., 1:-1, :]
    return np.asarray((second[..., :-2] + second[..., 2:] - 2 * second[..., 1:-1]) / 6)
