"""What is known of a stack's grey values after one look: extremes, and a sample of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from live_restore.inference.image.intensity import Histogram
from live_restore.stack import Volume

# A histogram of all of a stack would cost the processor more than to write the stack. Of so many
# voxels a median is that of all within 0.07 % of the rank, and p99.9 within 0.005 %.
_LOOKED_AT = 2**19
# Parts stay in the processor's cache between the lowest and the highest.
_AT_ONCE = 2**18


@dataclass(frozen=True)
class GreyValues:
    """What one look tells, and several need: defects, the intensity scale, statistics.

    Parameters
    ----------
    lowest, highest
        Of all voxels, in the stack's unit.
    sample
        How often each grey value occurs in whole rows, evenly spread, half a million voxels in all,
        or in all of a smaller stack; ``None`` but for 8 and 16 bits.
    """

    lowest: float
    highest: float
    sample: Histogram | None

    @classmethod
    def of(cls, volume: Volume) -> GreyValues:
        """Look at a stack (Z, Y, X)."""
        flat = np.ascontiguousarray(volume).reshape(-1)
        parts = [flat[first : first + _AT_ONCE] for first in range(0, flat.size, _AT_ONCE)]
        each = [(np.minimum.reduce(part), np.maximum.reduce(part)) for part in parts]
        small = volume.dtype in (np.uint8, np.uint16)
        return cls(
            float(min(low for low, _ in each)),
            float(max(high for _, high in each)),
            Histogram.of(sampled_rows(volume)) if small else None,
        )


def sampled_rows(volume: Volume) -> Volume:
    """Return the rows of a stack of which its statistics are, (N, X)."""
    # Odd, so that they are other rows in each plane.
    return volume.reshape(-1, volume.shape[-1])[:: volume.size // _LOOKED_AT | 1]
