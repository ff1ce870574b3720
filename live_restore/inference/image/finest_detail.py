"""The finest detail of a plane: optics pass next to nothing there, and noise as much as ever."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def finest_detail(planes: NDArray[np.floating], step: int = 1) -> NDArray[np.floating]:
    """Return the finest diagonal detail of each plane, with the variance that white noise has.

    The 3 x 3 operator (1 -2 1; -2 4 -2; 1 -2 1) of Immerkaer, Computer Vision and Image
    Understanding 64, 300 (1996), over 6: of white noise it has 36 times the variance.

    Parameters
    ----------
    planes
        (..., Y, X) float, at least 3 x 3.
    step
        Of so many places along Y and X one.

    Returns
    -------
    numpy.ndarray
        (..., Y - 2, X - 2): a voxel each, of the places that have all neighbours; or every
        ``step``-th of them.
    """
    second = planes[..., :-2:step, :] + planes[..., 2::step, :]
    second -= 2 * planes[..., 1:-1:step, :]
    detail = np.asarray(second[..., :-2:step] + second[..., 2::step])
    detail -= 2 * second[..., 1:-1:step]
    detail /= 6
    return detail


def mean_under_detail(planes: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return the mean brightness under each place of :func:`finest_detail`, of the same shape.

    Weighted as the squares of its operator weight the variances of the voxels.
    """
    return weighted_mean(planes, (1, 4, 1))


def mean_around_detail(planes: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return the mean of the ring of 16 voxels around each place of :func:`finest_detail`.

    Its noise is independent of that of the place, so that places can be chosen by it.

    Returns
    -------
    numpy.ndarray
        (..., Y - 4, X - 4): a place less at each rim.
    """
    inner = 9 * weighted_mean(planes, (1, 1, 1))[..., 1:-1, 1:-1]
    return np.asarray((25 * weighted_mean(planes, (1, 1, 1, 1, 1)) - inner) / 16)


def weighted_mean(planes: NDArray[np.generic], weights: tuple[int, ...]) -> NDArray[np.float32]:
    """Return weighted means of (..., Y, X) over squares, around each place that has all of one."""
    values = np.asarray(planes, np.float32)
    rows, columns = (size - len(weights) + 1 for size in values.shape[-2:])
    along = np.zeros((*values.shape[:-1], columns), np.float32)
    both = np.zeros((*values.shape[:-2], rows, columns), np.float32)
    for first, weight in enumerate(weights):
        along += np.float32(weight) * values[..., first : first + columns]
    for first, weight in enumerate(weights):
        both += np.float32(weight) * along[..., first : first + rows, :]
    return np.asarray(both / np.float32(sum(weights) ** 2))
