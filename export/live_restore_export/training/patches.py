"""Patches: where they are cut, how they are turned, how their contrast is varied. Pure.

The paper rejects patches of which less than half is brighter than a quarter of the range. Thin
filaments and lonely spots would never pass that, and a network that never sees an empty patch does
not learn to leave it empty. Here a share of the patches is placed *on* a voxel brighter than that
quarter, anywhere within the patch, and the rest lies anywhere in the stack.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from live_restore.inference.image.intensity import percentiles
from live_restore_export.training.options import TrainingOptions

FOREGROUND_LEVEL = 0.25
"""Of the range between the 2nd and the 99.9th percentile (Chen et al. 2021, training)."""

BRIGHTEST = 8.0
"""Most that a voxel may exceed the peak: where the 99.9th percentile is below an eighth of the
brightest voxel, an eighth of that is the peak."""

_RANGE_PERCENTILES = (2.0, 99.9)
# Places to choose from; a stack has up to 10^8 foreground voxels, and nobody draws that many.
_PLACES = 4096

Window = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Patch:
    """A noisy patch and its truth, both (Z, Y, X) float32 in network units."""

    noisy: NDArray[np.float32]
    truth: NDArray[np.float32]


def foreground_places(truth: NDArray[np.generic], seed: int) -> NDArray[np.int32]:
    """Return foreground voxels of a stack as (N, 3) indices z, y, x; N is 0 or 4096.

    Parameters
    ----------
    truth
        (Z, Y, X), any unit: noise would pass for foreground.
    seed
        Decides which, where there are more.
    """
    low, high = percentiles(truth, _RANGE_PERCENTILES)
    # Of a few lonely spots even the 99.9th percentile is background.
    high = max(high, low + (float(truth.max()) - low) / BRIGHTEST)
    found = np.flatnonzero(np.greater(truth, low + FOREGROUND_LEVEL * (high - low)))
    if not len(found):
        return np.empty((0, 3), np.int32)
    chosen = found[np.random.default_rng(seed).integers(0, len(found), _PLACES)]
    return np.stack(np.unravel_index(chosen, truth.shape), axis=1).astype(np.int32)


def place_window(
    shape_zyx: tuple[int, ...],
    patch_zyx: tuple[int, int, int],
    places: NDArray[np.int32],
    foreground_share: float,
    rng: np.random.Generator,
) -> Window:
    """Return where to cut: on one of ``places`` with that probability, otherwise anywhere."""
    last = [size - patch for size, patch in zip(shape_zyx, patch_zyx, strict=True)]
    if len(places) and rng.random() < foreground_share:
        voxel = places[int(rng.integers(len(places)))]
        # The voxel lies anywhere in the patch: structure is not to be expected in its centre.
        wanted = [int(v) - int(rng.integers(p)) for v, p in zip(voxel, patch_zyx, strict=True)]
        start = [min(max(w, 0), most) for w, most in zip(wanted, last, strict=True)]
    else:
        start = [int(rng.integers(0, most + 1)) for most in last]
    z, y, x = (slice(s, s + p) for s, p in zip(start, patch_zyx, strict=True))
    return z, y, x


def augmented(patch: Patch, options: TrainingOptions, rng: np.random.Generator) -> Patch:
    """Flip, turn about Z by quarter turns, and vary contrast and offset of both alike.

    Percentiles of a stack depend on what else lies in the field. The jitter makes up for that: the
    same structure comes a little brighter or darker, with its noise.
    """
    noisy, truth = patch.noisy, patch.truth
    for axis in range(3):
        if rng.random() < 0.5:
            noisy, truth = np.flip(noisy, axis), np.flip(truth, axis)
    turns = int(rng.integers(0, 4))
    noisy, truth = np.rot90(noisy, turns, (1, 2)), np.rot90(truth, turns, (1, 2))
    span = math.log1p(options.scale_jitter)
    factor = np.float32(math.exp(rng.uniform(-span, span)))
    shift = np.float32(rng.uniform(-options.offset_jitter, options.offset_jitter))
    return Patch(
        np.ascontiguousarray(noisy * factor + shift), np.ascontiguousarray(truth * factor + shift)
    )
