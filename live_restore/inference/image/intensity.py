"""Intensity scale: from camera units to network units and back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from live_restore.inference.image.order_statistics import Unsigned, neighbours

# Keeps the division finite for a flat stack; the constant of the reference implementation, so that
# networks trained with it see exactly the numbers that they were trained on.
_EPSILON = 1e-6
# Below this span (ADU) that constant would move float stacks by more than a part in 10^4, and make
# one of span 1e-6 half as bright. Above it, its effect is lost in the noise.
_SMALL_SPAN_ADU = 1e-2
# The int64 copy that bincount makes of a part then stays in the processor's cache: 1.7 times as
# fast as parts of 2**22.
_HISTOGRAM_PART = 2**18
# bincount runs without the interpreter's lock. More threads would wait for memory.
_HISTOGRAM_THREADS = 4
# Fewer voxels are counted sooner than a sample of them is drawn.
_SAMPLED_FROM = 2**20


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
    def divisor_adu(self) -> float:
        """What is 1 in network units (ADU)."""
        return self.high_adu - self.low_adu + self.epsilon_adu

    def as_float32(self) -> tuple[np.float32, np.float32, np.float32]:
        """Return the three numbers that are computed with.

        They are what is taken off grey values, by what the rest is multiplied, and by what network
        units are multiplied on the way back.
        """
        return (
            np.float32(self.low_adu),
            np.float32(1.0 / self.divisor_adu),
            np.float32(self.divisor_adu),
        )

    def normalise(self, adu: NDArray[np.generic]) -> NDArray[np.float32]:
        """Map grey values (any shape) to network units, float32."""
        with np.errstate(over="ignore", invalid="ignore"):
            low, factor, _ = self.as_float32()
            out = np.array(adu, dtype=np.float32)  # the one copy that there is
            out -= low
            out *= factor
        return out

    def restore(self, normalised: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map network units (any shape) back to grey values (ADU), float32, in place."""
        with np.errstate(over="ignore", invalid="ignore"):
            low, _, divisor = self.as_float32()
            normalised *= divisor
            normalised += low
        return normalised


@dataclass(frozen=True)
class Histogram:
    """How often each grey value of 8- or 16-bit data occurs: all that their statistics need.

    Parameters
    ----------
    counts
        int64, one per grey value from 0; at least one is not 0.
    """

    counts: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray[np.generic]) -> Histogram:
        """Count uint8 or uint16 values of any shape in one pass, without a copy of them."""
        flat = values.reshape(-1)
        shares = max(1, min(_HISTOGRAM_THREADS, flat.size // (4 * _HISTOGRAM_PART)))
        if shares == 1:
            return cls(_counts(flat))
        with ThreadPoolExecutor(shares) as pool:
            return cls(np.sum(list(pool.map(_counts, np.array_split(flat, shares))), axis=0))

    def percentiles(self, ranks: tuple[float, ...]) -> tuple[float, ...]:
        """Return percentiles (ranks 0 to 100) exactly as ``numpy.percentile`` (linear) does."""
        cumulative = np.cumsum(self.counts)
        size = int(cumulative[-1])
        found = []
        for rank in ranks:
            position, weight = _position(rank, size)
            after = min(position + 1, size - 1)
            lower, upper = np.searchsorted(cumulative, (position, after), side="right")
            found.append(_interpolated(int(lower), int(upper), weight))
        return tuple(found)

    def mean_and_std(self) -> tuple[float, float]:
        """Return mean and (population) standard deviation."""
        # Not products of float64 vectors: those wake the threads of BLAS, which then spin for
        # longer than all of this takes (16 of 49 ns of processor time per voxel of a stack).
        counts = self.counts[: int(np.flatnonzero(self.counts)[-1]) + 1]
        values = np.arange(counts.size, dtype=np.int64)
        size = float(counts.sum())
        mean = float(counts @ values) / size
        return mean, float(np.sqrt(np.sum(counts * (values - mean) ** 2) / size))


def _counts(flat: NDArray[np.generic]) -> NDArray[np.int64]:
    counts = np.zeros(np.iinfo(flat.dtype).max + 1, np.int64)  # type: ignore[type-var]
    for start in range(0, flat.size, _HISTOGRAM_PART):
        part = np.bincount(flat[start : start + _HISTOGRAM_PART])
        counts[: part.size] += part  # low-light stacks have few grey values: not all 65536
    return counts


def _position(rank: float, size: int) -> tuple[int, float]:
    """Return the sorted values' position at or below a percentile, and how far beyond it lies."""
    position = rank / 100.0 * (size - 1)
    return int(position), position - int(position)


def _interpolated(lower: int, upper: int, weight: float) -> float:
    # numpy interpolates from the nearer end, which decides the last bit of the result.
    if weight < 0.5:
        return float(lower + (upper - lower) * weight)
    return float(upper - (upper - lower) * (1 - weight))


def percentiles(
    values: NDArray[np.generic], ranks: tuple[float, ...], sample: Histogram | None = None
) -> tuple[float, ...]:
    """Return percentiles exactly as ``numpy.percentile`` (linear) does.

    8- and 16-bit data are counted in one pass, so a large stack needs neither a sorted nor a float
    copy of itself.

    Parameters
    ----------
    values
        Any shape, not empty, integer or float.
    ranks
        Percentiles to find, each in 0 to 100.
    sample
        How often grey values of 8 or 16 bits occur in a part of them, spread over the whole; or in
        all of them, which is then not counted again.

    Examples
    --------
    >>> percentiles(np.array([1, 2, 3, 10], np.uint16), (0.0, 50.0, 100.0))
    (1.0, 2.5, 10.0)
    """
    if values.dtype in (np.uint8, np.uint16):
        if sample is not None and int(sample.counts.sum()) == values.size:
            return sample.percentiles(ranks)
        if values.size >= _SAMPLED_FROM:
            places = [_position(rank, values.size) for rank in ranks]
            flat = cast("Unsigned", values.reshape(-1))
            counts = None if sample is None else sample.counts
            found = neighbours(flat, [position for position, _ in places], counts)
            if found is not None:
                pairs = zip(found, places, strict=True)
                return tuple(_interpolated(*pair, weight) for pair, (_, weight) in pairs)
        return Histogram.of(values).percentiles(ranks)
    copy = values.astype(np.float64)
    return tuple(float(v) for v in np.percentile(copy, ranks, overwrite_input=True))


def scale_from_percentiles(
    stack: NDArray[np.generic],
    low_percent: float,
    high_percent: float,
    sample: Histogram | None = None,
) -> IntensityScale:
    """Return the scale that a stack's own percentiles give (the reference: 2 and 99.9).

    ``sample`` is as for :func:`percentiles`.
    """
    low, high = percentiles(stack, (low_percent, high_percent), sample)
    return IntensityScale(low, high)
