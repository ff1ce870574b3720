"""Intensity scale: from camera units to network units and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Keeps the division finite for a flat stack; the constant of the reference implementation, so that
# networks trained with it see exactly the numbers that they were trained on.
_EPSILON = 1e-6
# Below this span (ADU) that constant would move float stacks by more than a part in 10^4, and make
# one of span 1e-6 half as bright. Above it, its effect is lost in the noise.
_SMALL_SPAN_ADU = 1e-2
# The int64 copy that bincount makes of a part then stays in the processor's cache: 1.7 times as
# fast as parts of 2**22. Threads gain nothing, it holds the interpreter's lock.
_HISTOGRAM_PART = 2**18


@dataclass(frozen=True)
class IntensityScale:
    """The two grey values (ADU) that are 0 and 1 in network units.

    ``normalised = (x - low) / (high - low + 1e-6)``, Chen et al. 2021, methods. What float32 cannot
    hold becomes infinite, without a warning: the caller looks for it.

    ``epsilon_adu`` is that constant, which exists to keep the division finite only.
    """

    low_adu: float
    high_adu: float
    epsilon_adu: float = _EPSILON

    def of_any_unit(self) -> IntensityScale:
        """Return the scale for grey values that may be in any unit, such as counts times 1e-9.

        Of stacks with a small span the constant would be a part of the result.
        """
        small = 0 < self.high_adu - self.low_adu < _SMALL_SPAN_ADU
        return IntensityScale(self.low_adu, self.high_adu, 0.0) if small else self

    @property
    def _divisor(self) -> float:
        return self.high_adu - self.low_adu + self.epsilon_adu

    def normalise(self, adu: NDArray[np.generic]) -> NDArray[np.float32]:
        """Map grey values (any shape) to network units, float32."""
        factor = 1.0 / self._divisor
        with np.errstate(over="ignore", invalid="ignore"):
            out = np.asarray(adu, dtype=np.float32) - np.float32(self.low_adu)
            out *= np.float32(factor)
        return np.asarray(out, dtype=np.float32)

    def restore(self, normalised: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map network units (any shape) back to grey values (ADU), float32, in place."""
        with np.errstate(over="ignore", invalid="ignore"):
            normalised *= np.float32(self._divisor)
            normalised += np.float32(self.low_adu)
        return normalised


def percentiles(values: NDArray[np.generic], ranks: tuple[float, ...]) -> tuple[float, ...]:
    """Return percentiles exactly as ``numpy.percentile`` (linear) does.

    8- and 16-bit data are counted in one histogram pass, so a large stack needs neither a sorted
    nor a float copy of itself.

    Parameters
    ----------
    values
        Any shape, not empty, integer or float.
    ranks
        Percentiles to find, each in 0 to 100.

    Examples
    --------
    >>> percentiles(np.array([1, 2, 3, 10], np.uint16), (0.0, 50.0, 100.0))
    (1.0, 2.5, 10.0)
    """
    if values.dtype not in (np.uint8, np.uint16):
        copy = values.astype(np.float64)
        return tuple(float(v) for v in np.percentile(copy, ranks, overwrite_input=True))
    cumulative = np.cumsum(_histogram(values))
    found = []
    for rank in ranks:
        position = rank / 100.0 * (values.size - 1)
        below = int(position)
        lower = int(np.searchsorted(cumulative, below, side="right"))
        upper = int(np.searchsorted(cumulative, min(below + 1, values.size - 1), side="right"))
        # numpy interpolates from the nearer end, which decides the last bit of the result.
        weight = position - below
        if weight < 0.5:
            found.append(lower + (upper - lower) * weight)
        else:
            found.append(upper - (upper - lower) * (1 - weight))
    return tuple(float(v) for v in found)


def _histogram(values: NDArray[np.generic]) -> NDArray[np.int64]:
    """Count how often each grey value occurs."""
    counts = np.zeros(np.iinfo(values.dtype).max + 1, np.int64)  # type: ignore[type-var]
    flat = values.reshape(-1)
    # bincount makes an int64 copy of what it is given: four to eight times a whole stack.
    for start in range(0, flat.size, _HISTOGRAM_PART):
        counts += np.bincount(flat[start : start + _HISTOGRAM_PART], minlength=counts.size)
    return counts


def scale_from_percentiles(
    stack: NDArray[np.generic], low_percent: float, high_percent: float
) -> IntensityScale:
    """Return the scale that a stack's own percentiles give (the reference: 2 and 99.9)."""
    low, high = percentiles(stack, (low_percent, high_percent))
    return IntensityScale(low, high)
