"""Order statistics of many 8- or 16-bit values, counted only near where a sample says they are.

A whole histogram adds to one of 65536 counters per voxel, one after the other; comparing with a few
grey values is done in vectors, and takes a quarter of the time (docs/explanation/speed.md). So a
sample says between which two grey values each wanted one must lie, and only these are counted. What
the sample said is checked by the counts: the result is exact, or there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from live_restore.stack import Mask

Unsigned = NDArray[np.unsignedinteger[Any]]

# Comparing what is not in the cache would wait for memory: parts of half a megabyte, and as much
# again to compute in. Smaller ones cost more in calls than they win.
_PART = 2**18
_SAMPLE = 2**16
# Standard deviations of a sampled rank: one stack in 10^8 is outside, and takes the other way.
_SIGMAS = 6.0
# A share that is taken out sooner than looked at where it is.
_FEW = 0.01
# Up to this many grey values are counted one by one; more are taken out, and then counted.
_ONE_BY_ONE = 4


@dataclass
class _Window:
    """Grey values ``low`` to ``high``: how many values lie below, and how many on each of them."""

    low: int
    high: int
    below: int
    counts: NDArray[np.int64]

    def at(self, position: int) -> int | None:
        """Return the value at a position of the sorted whole, if it is one of these."""
        inside = int(np.searchsorted(np.cumsum(self.counts), position - self.below, side="right"))
        known = position >= self.below and inside < self.counts.size
        return self.low + inside if known else None


def neighbours(
    flat: Unsigned, positions: Sequence[int], sample: NDArray[np.int64] | None = None
) -> list[tuple[int, int]] | None:
    """Return the values at ``positions``, and at the next ones, if ``flat`` were sorted.

    Parameters
    ----------
    flat
        (N,), uint8 or uint16, not empty.
    positions
        Each 0 to N - 1; the last value has itself as its next.
    sample
        How often each grey value occurs in a part of ``flat``; ``None``: one is drawn.

    Returns
    -------
    list of (int, int), or None
        ``None`` where the sample was misleading; a stack that is not made for that never is.

    Examples
    --------
    >>> neighbours(np.array([7, 3, 9, 3], np.uint16), [0, 1, 3])
    [(3, 3), (3, 7), (9, 9)]
    """
    if sample is None:
        drawn = flat[np.random.default_rng(0).integers(0, flat.size, _SAMPLE)]
        sample = np.bincount(drawn)
    cumulative, limits = np.cumsum(sample), np.iinfo(flat.dtype)
    windows = [_window(cumulative, (each + 1) / flat.size, limits) for each in positions]
    is_it = np.empty(min(_PART, flat.size), np.bool_)
    above_low = np.empty(is_it.shape, flat.dtype)
    for start in range(0, flat.size, _PART):
        part = flat[start : start + _PART]
        for window in windows:
            _count(part, window, is_it[: part.size], above_low[: part.size])
    found = []
    for position, window in zip(positions, windows, strict=True):
        lower, upper = window.at(position), window.at(min(position + 1, flat.size - 1))
        if lower is None or upper is None:
            return None
        found.append((lower, upper))
    return found


def _window(cumulative: NDArray[np.int64], share: float, limits: np.iinfo[Any]) -> _Window:
    """Return the grey values between which the one lies that has ``share`` of all below it.

    However large the sample is, it is taken for one of ``_SAMPLE`` voxels at most: neighbours in
    whole rows tell less than as many drawn one by one.
    """
    size = int(cumulative[-1])
    worth = min(size, _SAMPLE)
    margin = _SIGMAS * np.sqrt(share * (1 - share) * worth) + _SIGMAS
    first, last = (int((share * worth + each) * size / worth) for each in (-margin, margin))
    # Which values are the very extremes, no sample tells.
    found = np.searchsorted(cumulative, (first, last), side="right")
    low = int(found[0]) if first > 0 else limits.min
    high = int(found[1]) if last < size else limits.max
    return _Window(low, high, 0, np.zeros(high - low + 1, np.int64))


def _count(part: Unsigned, window: _Window, is_it: Mask, above_low: Unsigned) -> None:
    """Count a part; in ``is_it`` and ``above_low``, of its size, is computed."""
    low, high = part.dtype.type(window.low), part.dtype.type(window.high)
    below = int(np.count_nonzero(np.less(part, low, out=is_it)))
    window.below += below
    if window.counts.size <= _ONE_BY_ONE:
        for index in range(window.counts.size):
            value = part.dtype.type(window.low + index)
            window.counts[index] += np.count_nonzero(np.equal(part, value, out=is_it))
        return
    if part.size - below < _FEW * part.size:  # nearly all lie below
        above_low = part[np.logical_not(is_it, out=is_it)]
        is_it = is_it[: above_low.size]
        part = above_low
    np.subtract(part, low, out=above_low)  # wraps around below: then it is wider than the window
    inside = above_low[np.less_equal(above_low, high - low, out=is_it)]
    window.counts += np.bincount(inside, minlength=window.counts.size)
