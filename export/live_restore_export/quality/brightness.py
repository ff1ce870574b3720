"""Is brightness preserved? Regions of a stack against their truth. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.generic]

# A region is large enough that its mean has no noise to speak of at 10 photo-electrons (1,024
# voxels: 1 % of a voxel's noise-to-signal ratio of 0.35), and smaller than a nucleus.
REGION_ZYX = (4, 16, 16)
# Of the brightest region's light above the floor: what a person would draw a region around.
_BRIGHT = 0.2
# Below this a region holds nothing that could be measured in the raw stack, either.
_FEWEST = 3


@dataclass(frozen=True)
class Brightness:
    """What became of the light of a stack's bright regions.

    Parameters
    ----------
    ratio
        Light above the floor in all of them, over the truth's: 1 where brightness is preserved,
        0.75 where a quarter is lost.
    slope
        Of the straight line of least squares through the regions, image over truth: below 1, bright
        regions come out too dim against dim ones.
    worst
        The ratio of the region that is farthest from 1.
    """

    ratio: float
    slope: float
    worst: float


def brightness(image: Image, truth: Image, floor: float) -> Brightness | None:
    """Return how the light of the bright regions of ``truth`` came out in ``image``.

    Parameters
    ----------
    image, truth
        (Z, Y, X), same unit.
    floor
        What no light is, in that unit: offset and flat background. Known of simulated stacks only.

    Returns
    -------
    Brightness or None
        ``None`` where fewer than three regions are bright: nothing can be said about them.
    """
    wanted, found = (_region_means(v) - floor for v in (truth, image))
    bright = wanted > _BRIGHT * wanted.max()
    if wanted.max() <= 0 or np.count_nonzero(bright) < _FEWEST:
        return None
    ratios = found[bright] / wanted[bright]
    spread = wanted - wanted.mean()
    return Brightness(
        ratio=float(found[bright].sum() / wanted[bright].sum()),
        slope=float((spread * found).sum() / (spread**2).sum()),
        worst=float(ratios[np.abs(ratios - 1).argmax()]),
    )


def _region_means(volume: Image) -> NDArray[np.float64]:
    """Return the means of all regions, flat; what is left over at the ends of an axis is not used.

    An axis that is shorter than a region is one region.
    """
    z, y, x = (min(r, n) for r, n in zip(REGION_ZYX, volume.shape, strict=True))
    depth, height, width = (n // r for n, r in zip(volume.shape, (z, y, x), strict=True))
    whole = volume[: depth * z, : height * y, : width * x]
    regions = whole.reshape(depth, z, height, y, width, x)
    return np.asarray(regions.mean(axis=(1, 3, 5), dtype=np.float64)).ravel()
