"""What the histogram of a stack tells, before and after."""

from __future__ import annotations

import numpy as np

from live_restore.inference.image.intensity import Histogram, percentiles
from live_restore.stack import Volume


def image_statistics(volume: Volume) -> dict[str, float]:
    """Return what a histogram tells about a stack.

    Parameters
    ----------
    volume
        (Z, Y, X), of any type that is restored, in any unit.

    Returns
    -------
    dict of str to float
        ``min``, ``p1``, ``median``, ``p99.9``, ``max``, ``mean`` and ``std``, in that unit; p1 and
        p99.9 are percentiles.
    """
    ranks = (0.0, 1.0, 50.0, 99.9, 100.0)
    if volume.dtype in (np.uint8, np.uint16):
        histogram = Histogram.of(volume)
        ranked, moments = histogram.percentiles(ranks), histogram.mean_and_std()
    else:
        ranked = percentiles(volume, ranks)
        mean, std = volume.mean(dtype=np.float64), volume.std(dtype=np.float64)
        moments = float(mean), float(std)
    names = ("min", "p1", "median", "p99.9", "max", "mean", "std")
    return dict(zip(names, (*ranked, *moments), strict=True))
