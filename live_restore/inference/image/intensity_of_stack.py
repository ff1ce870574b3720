"""The intensity scale of a stack that is going to be restored, or why it has none. Pure."""

from __future__ import annotations

import numpy as np

from live_restore.errors import StackRefusedError
from live_restore.inference.image.grey_values import GreyValues
from live_restore.inference.image.intensity import IntensityScale, scale_from_percentiles
from live_restore.stack import MOST_ADU, Volume

# Spots brighter than 4 network units are rare (``trust.doubts``); the rest is for networks that
# overshoot.
_MOST_UNITS = 16.0
_LARGEST_IN = 1e30
"""In network units: sums over the channels of a network are float32, up to 3e38."""


def scale_of(
    stack: Volume,
    percentiles: tuple[float, float],
    known: GreyValues | None = None,
    *,
    any_unit: bool,
) -> tuple[IntensityScale, float, bool]:
    """Return scale, brightest voxel in its units, and whether the stack's extremes are it.

    Parameters
    ----------
    stack
        (C, Z, Y, X); one scale holds for all channels.
    percentiles
        That are to be 0 and 1.
    known
        Its grey values, where they have been looked at.
    any_unit
        Whether its values may be of any size, as those of floating point are.

    Raises
    ------
    StackRefusedError
        Every voxel has the same value, or some are too large for float32.
    """
    highest = float(stack.max()) if known is None else known.highest
    _require_range(stack, highest)
    scale = scale_from_percentiles(stack, *percentiles, None if known is None else known.sample)
    from_extremes = not scale.high_adu > scale.low_adu
    if from_extremes:
        lowest = float(stack.min())
        if highest == lowest:
            raise StackRefusedError(
                f"is constant (every voxel is {lowest:g})",
                None,
                "record it again if anything should be in it",
            )
        scale = IntensityScale(lowest, highest)
    brightest = (highest - scale.low_adu) / (scale.high_adu - scale.low_adu)
    return scale.of_any_unit() if any_unit else scale, brightest, from_extremes


def require_float32(stack: Volume, scale: IntensityScale) -> None:
    """Raise ``StackRefusedError`` where it is no wonder that a network gave no finite numbers.

    In the scale's units, or in grey values on the way back, values of (C, Z, Y, X) are too large.
    """
    lowest, highest = float(stack.min()), float(stack.max())
    furthest = max(abs(lowest - scale.low_adu), abs(highest - scale.low_adu)) / scale.divisor_adu
    back = abs(scale.low_adu) + _MOST_UNITS * scale.divisor_adu
    if furthest > _LARGEST_IN or back > float(np.finfo(np.float32).max):
        raise StackRefusedError(
            f"holds values from {lowest:.3g} to {highest:.3g}, which are too large to be computed "
            "with in float32",
            None,
            "divide or replace them, and save again",
        )


def _require_range(stack: Volume, highest: float) -> None:
    """Raise ``StackRefusedError`` for whole grey values that float32 would round."""
    if stack.dtype == np.uint32 and highest > MOST_ADU:
        raise StackRefusedError(
            f"holds grey values up to {highest:.0f}; more than {MOST_ADU} would be rounded",
            None,
            "take off the offset, or save as float32",
        )
