"""Units of length and time, by every name that a format gives them. Pure.

OME-XML writes symbols (``µm``, ``Å``), OME-Zarr whole names (``micrometer``), ImageJ whatever its
user typed. A unit that is not here is unknown, and so is whatever is measured in it.
"""

from __future__ import annotations

import functools
import re

from live_restore.files.values import number, positive

_PREFIXES = {
    "Y": 1e24, "Z": 1e21, "E": 1e18, "P": 1e15, "T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3, "h": 1e2,
    "da": 1e1, "": 1.0, "d": 1e-1, "c": 1e-2, "m": 1e-3, "u": 1e-6, "\u00b5": 1e-6,
    "\u03bc": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15, "a": 1e-18, "z": 1e-21, "y": 1e-24,
}  # fmt: skip
"""The International System of Units, 9th edition, table 7; the micro sign and the Greek letter."""

_LENGTH_SYMBOLS = {f"{prefix}m": round(f * 1e6, 30) for prefix, f in _PREFIXES.items()}
_TIME_SYMBOLS = {f"{prefix}s": f for prefix, f in _PREFIXES.items()}
"""Capitals tell mega from milli, so that symbols are looked up as they are written."""

_UM_PER_NAME = {
    "\u00e5": 1e-4, "angstrom": 1e-4, "angstroem": 1e-4, "\u00e5ngstr\u00f6m": 1e-4,
    "picometer": 1e-6, "nanometer": 1e-3, "micron": 1.0, "micrometer": 1.0, "mkm": 1.0,
    "\u00b5": 1.0, "\u03bc": 1.0, "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6,
    "in": 25400.0, "inch": 25400.0, "inche": 25400.0,
}  # fmt: skip
_SECONDS_PER_NAME = {
    "nanosecond": 1e-9, "nsec": 1e-9, "microsecond": 1e-6, "usec": 1e-6, "\u00b5sec": 1e-6,
    "millisecond": 1e-3, "msec": 1e-3, "sec": 1.0, "second": 1.0, "min": 60.0, "minute": 60.0,
    "h": 3600.0, "hr": 3600.0, "hour": 3600.0, "d": 86400.0, "day": 86400.0,
}  # fmt: skip
"""In the singular, in small letters, and with American spelling."""

_LONGEST = 100
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")


def micrometres_per(unit: object) -> float | None:
    """Return how many um a unit of length is, ``None`` where it is unknown.

    Examples
    --------
    >>> micrometres_per("nanometres"), micrometres_per(" \\\\u00B5m"), micrometres_per("pixel")
    (0.001, 1.0, None)
    >>> micrometres_per("mm"), micrometres_per("Mm"), micrometres_per("UM")
    (1000.0, 1000000000000.0, 1.0)
    """
    return _um_per(unit) if isinstance(unit, str) and len(unit) <= _LONGEST else None


def seconds_per(unit: object) -> float | None:
    """Return how many seconds a unit of time is, ``None`` where it is unknown.

    Examples
    --------
    >>> seconds_per("Minutes"), seconds_per("ms"), seconds_per("frame")
    (60.0, 0.001, None)
    """
    return _s_per(unit) if isinstance(unit, str) and len(unit) <= _LONGEST else None


# A file says the same unit once per plane.
@functools.lru_cache(256)
def _um_per(unit: str) -> float | None:
    return _factor(unit, _LENGTH_SYMBOLS, _UM_PER_NAME)


@functools.lru_cache(256)
def _s_per(unit: str) -> float | None:
    return _factor(unit, _TIME_SYMBOLS, _SECONDS_PER_NAME)


def _factor(unit: str, symbols: dict[str, float], names: dict[str, float]) -> float | None:
    # ImageJ escapes what Latin-1 does not hold; the sign of the angstrom is a letter of its own.
    written = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), unit)
    written = written.strip().rstrip(".").replace("\u212b", "\u00e5")
    if written in symbols:
        return symbols[written]
    name = written.lower()
    singular = re.sub(r"(?<=..)metre$", "meter", name.removesuffix("s"))
    for each in (name, singular):
        if each in names:
            return names[each]
    # People type capitals; those that would make it another unit were found above.
    return symbols.get(name)


def decimal(value: object) -> float | None:
    """Return a finite number; a program in a country of decimal commas writes them into headers.

    Examples
    --------
    >>> decimal("0,3"), decimal("-0.3"), decimal("1,000.5"), decimal("1,2,3")
    (0.3, -0.3, None, None)
    """
    if isinstance(value, str) and value.count(",") == 1 and "." not in value:
        value = value.replace(",", ".")
    return number(value)


def length(value: object, unit: object) -> float | None:
    """Return a place or a length in um, of either sign; ``None`` where value or unit is unknown."""
    factor, found = micrometres_per(unit), decimal(value)
    return None if factor is None or found is None else number(round(found * factor, 9))


def duration(value: object, unit: object) -> float | None:
    """Return a time in seconds, of either sign; ``None`` where value or unit is unknown."""
    factor, found = seconds_per(unit), decimal(value)
    # Twelve digits: 0.1 min is 6 s, not 6.000000000000001 s.
    return None if factor is None or found is None else number(float(f"{found * factor:.12g}"))


def micrometres(value: object, unit: object) -> float | None:
    """Return a length in um, ``None`` where it is no number above zero of a known unit.

    Examples
    --------
    >>> micrometres(150, "nm"), micrometres("0.2", "\\\\u00B5m"), micrometres(1, "pixel")
    (0.15, 0.2, None)
    """
    return positive(length(value, unit))


def seconds(value: object, unit: object) -> float | None:
    """Return a duration in seconds, ``None`` where it is no number above zero of a known unit."""
    return positive(duration(value, unit))
