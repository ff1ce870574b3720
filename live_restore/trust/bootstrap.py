"""Numbers and the intervals that hold them, by redrawing parts of an image (bootstrap). Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from live_restore.stack import Mask

_Doubles = NDArray[np.float64]

# Parts of the frames that are drawn anew: noise, drift and structure differ from one to the next.
# Eight along each axis.
PARTS = 8
DRAWS = 400
_SURE_PERCENT = (2.5, 97.5)


@dataclass(frozen=True)
class Measured:
    """A number and the interval that holds it in 95 of 100 measurements (bootstrap percentiles).

    Parameters
    ----------
    value, low, high
        In the unit of what was measured.
    """

    value: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """Half of the interval over the value."""
        return (self.high - self.low) / 2 / max(abs(self.value), 1e-12)


def interval(values: _Doubles) -> Measured:
    """Return the first value, with the percentiles of the redrawn ones after it."""
    low, high = np.percentile(values[1:], _SURE_PERCENT)
    return Measured(float(values[0]), float(low), float(high))


def of_parts(values: _Doubles, good: Mask) -> _Doubles:
    """Return the mean of the good pixels, and of redrawn parts of the image: (1 + N,)."""
    rows, columns = values.shape
    part = (np.arange(rows) * PARTS // rows)[:, np.newaxis] * PARTS + (
        np.arange(columns) * PARTS // columns
    )
    counts = np.bincount(part[good], minlength=PARTS * PARTS).astype(np.float64)
    sums = np.bincount(part[good], values[good], PARTS * PARTS)
    drawn = np.random.default_rng(0).multinomial(
        len(sums), np.full(len(sums), 1 / len(sums)), DRAWS
    )
    drawn = np.concatenate([np.ones((1, len(sums)), drawn.dtype), drawn])
    return np.asarray((drawn @ sums) / np.maximum(drawn @ counts, 1))
