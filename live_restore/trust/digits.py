"""With how many digits people are told a number: the same on every screen, page and paper. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

_LOWEST_RATIO = 0.1
"""Signal-to-noise ratios below it are those of noise (``trust.snr``)."""
_HIGHEST_RATIO = 1e4
"""What is told of stacks without noise, and of whatever somebody has written into a report."""
_MOST_DIGITS = 6


def ratio_in_words(ratio: float, *, bound: float | None = None) -> str:
    """Return a signal-to-noise ratio with two digits: neighbours differ by a tenth of it anyway.

    ``bound``: what it is compared with beside it; then more, where two would hide on which side it
    lies.

    Examples
    --------
    >>> ratio_in_words(4.159), ratio_in_words(14.2), ratio_in_words(123.4), ratio_in_words(0.004)
    ('4.2', '14', '120', 'below 0.1')
    >>> ratio_in_words(3.98, bound=4), ratio_in_words(3.2, bound=4), ratio_in_words(1e308)
    ('3.98', '3.2', '10000')
    """
    ratio = min(ratio, _HIGHEST_RATIO)
    if ratio < _LOWEST_RATIO:
        return f"below {_LOWEST_RATIO:g}"
    digits, words = 2, _significant(ratio, 2)
    while bound is not None and digits < _MOST_DIGITS and _hidden(words, ratio, bound):
        digits += 1
        words = _significant(ratio, digits)
    return words


def _hidden(words: str, ratio: float, bound: float) -> bool:
    told = float(words)
    return (told < bound) != (ratio < bound) or (told > bound) != (ratio > bound)


def _significant(value: float, digits: int) -> str:
    rounded = float(f"{value:.{digits}g}")
    before = len(str(int(rounded))) if rounded >= 1 else 0
    return f"{rounded:.{max(0, digits - before)}f}"


def change_in_words(percent: float) -> str:
    """Return a change (percent) with its sign and one digit after the point.

    >>> change_in_words(-8.12), change_in_words(0.4), change_in_words(-0.04)
    ('-8.1', '+0.4', '0.0')
    """
    words = f"{percent:+.1f}"
    return "0.0" if words in ("+0.0", "-0.0") else words


def decibels_in_words(decibels: float) -> str:
    """Return a gain or a cost (dB) with one digit after the point.

    >>> decibels_in_words(9.04), decibels_in_words(-0.04)
    ('9.0', '0.0')
    """
    words = f"{decibels:.1f}"
    return "0.0" if words == "-0.0" else words


def range_in_words(values: Iterable[float], words: Callable[[float], str]) -> str:
    """Return from where to where some values go, each in words.

    >>> range_in_words([4.21, 14.3, 4.19], ratio_in_words), range_in_words([4.2], ratio_in_words)
    ('4.2 to 14', '4.2')
    """
    known = list(values)
    low, high = words(min(known)), words(max(known))
    return low if low == high else f"{low} to {high}"
