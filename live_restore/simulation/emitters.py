"""Clouds of point emitters: curves to place them on, and their sum into voxels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Cloud = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Positions (N, 3) as z, y, x in micrometres, and weights (N,)."""

_STEP_UM = 0.03


def unit_vectors(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return directions (count, 3), even over the sphere."""
    vectors = rng.standard_normal((count, 3))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def worm_like_chain(
    rng: np.random.Generator, start_um: NDArray[np.float64], length_um: float, bend: float
) -> NDArray[np.float64]:
    """Return points (N, 3) every 0.03 um along a curve that turns by ``bend`` rad per sqrt(um)."""
    count = max(2, int(length_um / _STEP_UM))
    direction = unit_vectors(rng, 1)[0] * np.array([0.25, 1.0, 1.0])
    turns = rng.standard_normal((count, 3)) * bend * np.sqrt(_STEP_UM)
    turns[:, 0] *= 0.3  # cells are flat: curves run mostly in the plane of the cover glass
    directions = direction / np.linalg.norm(direction) + np.cumsum(turns, axis=0)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.asarray(start_um + np.cumsum(directions * _STEP_UM, axis=0))


def rasterise(
    cloud: Cloud, shape_zyx: tuple[int, int, int], voxel_zyx_um: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Sum emitters into voxels (Z, Y, X), with linear weights to the eight neighbours."""
    positions, weights = cloud
    voxels = positions / voxel_zyx_um.astype(np.float32) - np.float32(0.5)
    low = np.floor(voxels).astype(np.int64)
    fraction = (voxels - low).T
    low = low.T
    volume = np.zeros(int(np.prod(shape_zyx)), np.float64)
    # Per axis what all corners have in common, along memory: a third of the time.
    shares = [np.stack((1 - f, f)) for f in fraction]
    indices = [np.stack((n, n + 1)) for n in low]
    insides = [(i >= 0) & (i < size) for i, size in zip(indices, shape_zyx, strict=True)]
    for z, y, x in np.ndindex(2, 2, 2):
        inside = insides[0][z] & insides[1][y] & insides[2][x]
        share = shares[0][z] * shares[1][y] * shares[2][x] * weights
        flat = (indices[0][z] * shape_zyx[1] + indices[1][y]) * shape_zyx[2] + indices[2][x]
        volume += np.bincount(flat[inside], share[inside], minlength=volume.size)
    return volume.reshape(shape_zyx).astype(np.float32)
