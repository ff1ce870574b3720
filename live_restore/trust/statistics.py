"""What the grey values of a stack tell, before and after."""

from __future__ import annotations

import numpy as np

from live_restore.inference.image.grey_values import GreyValues, sampled_rows
from live_restore.inference.image.intensity import percentiles
from live_restore.stack import Volume


def image_statistics(volume: Volume, known: GreyValues | None = None) -> dict[str, float]:
    """Return what the grey values of a stack tell.

    Parameters
    ----------
    volume
        (Z, Y, X), of any type that is restored, in any unit.
    known
        Its grey values, where they have been looked at.

    Returns
    -------
    dict of str to float
        ``min``, ``p1``, ``median``, ``p99.9``, ``max``, ``mean`` and ``std``, in that unit; p1 and
        p99.9 are percentiles. Extremes are those of all voxels; the rest is that of whole rows,
        evenly spread, which hold half a million voxels, or of all of a smaller stack.
    """
    known = known or GreyValues.of(volume)
    ranks = (1.0, 50.0, 99.9)
    if known.sample is not None:
        ranked, moments = known.sample.percentiles(ranks), known.sample.mean_and_std()
    else:
        sample = sampled_rows(volume)
        ranked = percentiles(sample, ranks)
        mean, std = sample.mean(dtype=np.float64), sample.std(dtype=np.float64)
        moments = float(mean), float(std)
    values = (known.lowest, *ranked, known.highest, *moments)
    names = ("min", "p1", "median", "p99.9", "max", "mean", "std")
    return dict(zip(names, values, strict=True))
