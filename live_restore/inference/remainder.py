"""What the network took away, raw minus restored: is it noise? Where it is more, some goes back.

A network that never saw such texture takes it for noise, and nobody who looks at the result can
tell. The camera can: its noise at every brightness is known, and what was taken away may not be
more than that.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from live_restore.inference.finest_detail import finest_detail
from live_restore.settings import CameraSettings
from live_restore.stack import Volume

_Floats = NDArray[np.float32]

# Of a block's 1024 voxels the mean square of white noise is known to 4 %.
_BLOCK_ZYX = (4, 16, 16)
# Standard errors above noise alone from which on something goes back, and from which on all that
# pays: of blocks that hold nothing but noise, one in forty gets a hundredth or so.
_SIGNIFICANT = (2.0, 4.0)
# A square above that of 4 standard deviations counts as that, since hot pixels are no structure;
# unless more of a block's voxels have such squares than it can have hot pixels.
_MOST_SQUARE = 16.0
_MOST_HOT = 0.02
# Share of the raw stack in a block from which on it counts as given back.
_WORTH_TELLING = 0.1


@dataclass(frozen=True)
class GivenBack:
    """How much of what the network took away went back into a result.

    Parameters
    ----------
    share
        Of the stack's blocks, those that got a tenth or more of it back, 0 to 1.
    weight
        Mean over the stack of what went back, 0 (nothing) to 1 (the raw stack).
    """

    share: float
    weight: float


def give_back(raw: Volume, restored: _Floats, camera: CameraSettings) -> GivenBack:
    """Add to ``restored`` what a network took away beyond noise, as far as that pays.

    The best mixture ``restored + w * (raw - restored)`` has, by least squares, the weight
    ``w = 1 - N (1 - a) / R`` in every block: ``R`` is the mean square of what was taken away, ``N``
    the variance of the camera's noise, and ``a`` the share of the noise that the network let
    through (the divergence in Stein's unbiased risk estimate, Annals of Statistics 9, 1135 (1981)),
    taken from the finest detail of both stacks. Where ``R`` is not significantly more than ``N``,
    nothing is changed. Noise is given back with the structure; nothing is invented.

    Parameters
    ----------
    raw
        (Z, Y, X) in grey values of the camera (ADU), any real dtype.
    restored
        (Z, Y, X) float32 (ADU), not rounded; changed in place.
    camera
        Its noise: ``gain * (grey value - offset) + (gain * read noise)**2``.
    """
    edges = [_edges(n, block) for n, block in zip(raw.shape, _BLOCK_ZYX, strict=True)]
    # Values that are not finite are refused by whoever finishes the result.
    with np.errstate(invalid="ignore", over="ignore"):
        weights = np.stack(
            [
                _block_weights(raw[a:b], restored[a:b], camera, edges[1], edges[2])
                for a, b in itertools.pairwise(edges[0])
            ]
        )
    if weights.any():
        along_z, along_y, along_x = (_between_centres(edge) for edge in edges)
        for z, plane in enumerate(restored):
            here = np.tensordot(along_z[z], weights, 1)
            if here.any():
                plane += (along_y @ here @ along_x.T) * (raw[z] - plane)
    return GivenBack(float(np.mean(weights >= _WORTH_TELLING)), float(weights.mean()))


def _edges(size: int, block: int) -> NDArray[np.intp]:
    """Return where the blocks of an axis begin and end: as even as can be."""
    return np.linspace(0, size, max(1, round(size / block)) + 1).astype(np.intp)


def _block_weights(
    raw: Volume,
    restored: _Floats,
    camera: CameraSettings,
    edges_y: NDArray[np.intp],
    edges_x: NDArray[np.intp],
) -> _Floats:
    """Return the weight of each block (Y, X) of a slab of planes."""

    def sums(values: NDArray[np.generic]) -> NDArray[np.float64]:
        planes = values.sum(axis=0, dtype=np.float64)
        rows = np.add.reduceat(planes, edges_y[:-1], axis=0)
        return np.asarray(np.add.reduceat(rows, edges_x[:-1], axis=1))

    gain = np.float32(camera.gain_adu_per_e)
    dark = (camera.gain_adu_per_e * camera.read_noise_e) ** 2
    if raw.dtype.kind in "iu":
        dark += 1 / 12  # of rounding
    values = raw.astype(np.float32)
    signal = np.maximum(restored - np.float32(camera.offset_adu), 0)
    # A float32 stack may have no noise at all where it is dark.
    precision = 1 / np.maximum(gain * signal + np.float32(dark), np.float32(1e-6))
    taken = (values - restored) ** 2 * precision
    voxels = len(raw) * np.outer(np.diff(edges_y), np.diff(edges_x))
    ratio = sums(np.minimum(taken, _MOST_SQUARE)) / voxels
    low, high = _SIGNIFICANT
    sure = np.clip(((ratio - 1) / np.sqrt(2 / voxels) - low) / (high - low), 0, 1)
    if not sure.any():
        return np.zeros(ratio.shape, np.float32)
    hot = sums(taken > _MOST_SQUARE) / voxels
    ratio = np.where(hot > _MOST_HOT, sums(taken) / voxels, ratio)
    passed = np.zeros_like(ratio)
    if min(raw.shape[1:]) >= 3:
        before, after = np.zeros_like(values), np.zeros_like(values)
        before[:, 1:-1, 1:-1] = finest_detail(values)
        after[:, 1:-1, 1:-1] = finest_detail(restored)
        own = sums(before * before * precision)
        passed = sums(before * after * precision) / np.maximum(own, np.finfo(np.float64).tiny)
    best = 1 - (1 - np.clip(passed, 0, 1)) / np.maximum(ratio, 1)
    return np.asarray(sure * best, np.float32)


def _between_centres(edges: NDArray[np.intp]) -> _Floats:
    """Return (voxels, blocks) that interpolate linearly between the centres of blocks."""
    centres = (edges[:-1] + edges[1:] - 1) / 2
    places = np.arange(edges[-1])
    return np.stack([np.interp(places, centres, one) for one in np.eye(len(centres))], 1).astype(
        np.float32
    )
