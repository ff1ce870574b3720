"""Colour tables: whether they only colour grey values, or make the pixels a colour image. Pure.

ImageJ and camera programs save 8-bit grey values with the table that they were looked at with.
Such a table gets brighter (or darker) from end to end; that of a drawing is in no order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_FULL = 65535


def is_of_greys(table: Sequence[int]) -> bool:
    """Return whether a table (all reds, all greens, all blues; 0 to 65535) only colours greys.

    Every colour has to rise, or every one to fall. The ends are free: display programs mark
    under- and over-exposed pixels there.

    Examples
    --------
    >>> ramp, none = [0, 20000, 40000, 65535], [0, 0, 0, 0]
    >>> is_of_greys(ramp * 3), is_of_greys(none + ramp + none), is_of_greys(ramp[::-1] * 3)
    (True, True, True)
    >>> is_of_greys([0, 65535, 0, 65535] + ramp + none), is_of_greys(none * 3)
    (False, False)
    """
    colours = _colours(table)
    if colours is None:
        return False
    steps = np.diff(colours[:, 1:-1], axis=1)
    changing = bool(steps.any())
    return changing and bool((steps >= 0).all() or (steps <= 0).all())


def hue(table: Sequence[int]) -> tuple[int, int, int, int] | None:
    """Return the colour (RGBA, 0 to 255) that a table gives bright pixels; ``None``: grey.

    Examples
    --------
    >>> hue([0, 0, 0] + [0, 30000, 65535] + [0, 0, 0]), hue([0, 30000, 65535] * 3)
    ((0, 255, 0, 255), None)
    """
    colours = _colours(table)
    if colours is None:
        return None
    brightest = colours[:, int(np.argmax(colours.sum(axis=0)))]
    if len(set(brightest.tolist())) == 1:
        return None
    red, green, blue = (int(value) * 255 // _FULL for value in brightest)
    return red, green, blue, 255


def _colours(table: Sequence[int]) -> np.ndarray[tuple[int, int], np.dtype[np.int64]] | None:
    """Return the table as (3, entries), ``None`` where it is none."""
    entries = len(table) // 3
    if len(table) != 3 * entries or entries < 3:
        return None
    return np.asarray(table, np.int64).reshape(3, entries)
