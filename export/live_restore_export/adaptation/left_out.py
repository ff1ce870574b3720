"""What the photons that were left out tell about a result: nobody knows the truth, and they are
independent of the noise that the network was given. Pure.

A stack is thinned (``live_restore.inference.image.thinning``); the network restores the share that
was kept, and what it makes is compared with the rest. The mean squared difference is the error of
the result and the noise of the rest, which is known; and of two results the one that makes the rest
more likely is the better one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from live_restore.inference.image.thinning import electrons, read_variance_e
from live_restore.settings.camera import CameraSettings
from live_restore.stack import Volume

_Floats = NDArray[np.float32]

# Blocks by which chance is told from a difference: larger than structures are, and than the
# correlation that a network makes.
_BLOCK_ZYX = (8, 32, 32)
# Variance (e-**2) below which a logarithm would decide about voxels that hold no light at all.
_LEAST_VARIANCE = 0.05


@dataclass(frozen=True)
class Evidence:
    """How well a result agrees with the photons that were left out, block by block.

    Parameters
    ----------
    surprise
        Negative log-likelihood of the photons left out, per voxel (nats); comparable between
        results of the same thinned stack only.
    squared_error
        Estimated mean squared error of the result, at the brightness of all the light (e-**2). It
        scatters about its true value, and may be below 0.
    """

    surprise: NDArray[np.float64]
    squared_error: NDArray[np.float64]


def evidence(
    made: _Floats, left_out_e: _Floats, raw: Volume, share: float, camera: CameraSettings
) -> Evidence:
    """Return what the photons left out tell about a result.

    The likelihood is that of a Poisson variable shifted by the variance of the read noise (Huang et
    al., Nature Methods 10, 653 (2013)).

    Parameters
    ----------
    made
        (Z, Y, X) in ADU: what the network made of the share that was kept.
    left_out_e
        The rest, in photo-electrons.
    raw
        The stack before it was thinned: its mean tells the noise of the rest.
    share
        Of the light that was kept.
    camera
        That recorded it.
    """
    dark = read_variance_e(camera)
    result = electrons(made, camera) / np.float32(share)
    shift = max((1 - share) * dark, _LEAST_VARIANCE)
    expected = np.maximum(result, 0) * np.float32(1 - share) + np.float32(shift)
    counted = np.maximum(left_out_e, -shift) + np.float32(shift)
    surprise = expected - counted * np.log(expected)
    noise = (electrons(raw, camera) + np.float32(dark)) / np.float32(1 - share)
    squared = (result - left_out_e / np.float32(1 - share)) ** 2 - noise
    return Evidence(block_means(surprise), block_means(squared))


def block_means(values: _Floats) -> NDArray[np.float64]:
    """Return the means of blocks of 8 x 32 x 32 voxels or a little more, as one row.

    Examples
    --------
    >>> block_means(np.arange(4, dtype=np.float32).reshape(1, 2, 2))
    array([1.5])
    """
    parts = [values]
    for axis, size in enumerate(_BLOCK_ZYX):
        parts = [
            piece
            for part in parts
            for piece in np.array_split(part, max(1, part.shape[axis] // size), axis=axis)
        ]
    return np.array([part.mean(dtype=np.float64) for part in parts])


@dataclass(frozen=True)
class Difference:
    """A mean difference over blocks, and its standard error."""

    mean: float
    error: float

    @classmethod
    def of(cls, before: NDArray[np.float64], after: NDArray[np.float64]) -> Difference:
        """Return by how much ``after`` lies below ``before``, pair by pair.

        Of a single block nothing is known about chance: the error is then infinite.
        """
        apart = before - after
        error = float(apart.std(ddof=1)) / apart.size**0.5 if apart.size > 1 else float("inf")
        return cls(float(apart.mean()), error)

    def certain(self, errors: float) -> bool:
        """Whether it is above 0 by so many standard errors."""
        return self.mean > errors * self.error

    def certainly_worse(self, errors: float) -> bool:
        """Whether it is below 0 by so many standard errors."""
        return self.mean < -errors * self.error
