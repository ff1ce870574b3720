"""How good is it? Signal-to-noise ratios, and the best that a Gaussian filter could do."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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


class TimeLapseSnr(NamedTuple):
    """Signal-to-noise ratios (dB) of a time-lapse: over space and time, and of its changes."""

    space_time_db: float
    changes_db: float


def time_lapse_snr(images: Sequence[Image], truths: Sequence[Image]) -> TimeLapseSnr:
    """Return the spatio-temporal signal-to-noise ratio of a time-lapse against its truth.

    Over all voxels r and times t, ``10 log10(sum(S**2) / sum((R - S)**2))`` of the result R and the
    truth S above its darkest voxel; and the same of what changes, each voxel's mean over time taken
    from both: flicker counts there, and what is wrong at all times alike does not.

    Parameters
    ----------
    images, truths
        The time points, two at least, each (Z, Y, X) of one shape and unit.

    Examples
    --------
    >>> truth = [np.array([0.0, 1.0]), np.array([0.0, 3.0])]
    >>> same_error = [each + 0.1 for each in truth]
    >>> snr = time_lapse_snr(same_error, truth)
    >>> round(snr.space_time_db), snr.changes_db > 200
    (24, True)
    """
    truth = np.asarray(truths, np.float64)
    error = np.asarray(images, np.float64) - truth
    truth -= truth.min()
    return TimeLapseSnr(
        _ratio_db(truth, error), _ratio_db(truth - truth.mean(axis=0), error - error.mean(axis=0))
    )


def _ratio_db(signal: NDArray[np.float64], error: NDArray[np.float64]) -> float:
    power = float(np.mean(error**2))
    return math.inf if power == 0 else 10 * math.log10(float(np.mean(signal**2)) / power)


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
    # Here, since programs without this need not wait for it when they start.
    from scipy import ndimage

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
