"""How good is it? Peak signal-to-noise ratio, and the best that a Gaussian filter could do."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Image = NDArray[np.generic]


def psnr(image: Image, truth: Image) -> float:
    """Return the peak signal-to-noise ratio (dB) of ``image`` against ``truth``.

    ``10 log10(range**2 / mean squared error)``, with the range of the truth (max - min) as peak.
    Both arrays have the same shape and unit. Infinite where they are equal.
    """
    error = np.asarray(image, np.float64) - np.asarray(truth, np.float64)
    mse = float(np.mean(error**2))
    span = float(np.max(truth)) - float(np.min(truth))
    return math.inf if mse == 0 else 10 * math.log10(span**2 / mse)


def best_gaussian(noisy: Image, truth: Image) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """Return the Gaussian-filtered stack that is nearest to the truth, and its (z, xy) sigma.

    No Gaussian filter of these widths can do better on this stack, since the truth itself chooses:
    a fair yardstick that nobody has at the microscope.

    Parameters
    ----------
    noisy, truth
        (Z, Y, X), same unit.

    Returns
    -------
    filtered
        (Z, Y, X) float32.
    sigma_voxels
        Standard deviations along Z and along Y, X (voxels).
    """
    image = np.asarray(noisy, np.float32)
    best, best_error, best_sigma = image, math.inf, (0.0, 0.0)
    for xy, z in itertools.product(
        (0.0, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0), (0.0, 0.5, 0.75, 1.0, 1.5, 2.0)
    ):
        filtered = ndimage.gaussian_filter(image, (z, xy, xy))
        error = float(np.mean((filtered - truth) ** 2))
        if error < best_error:
            best, best_error, best_sigma = filtered, error, (z, xy)
    return best, best_sigma
