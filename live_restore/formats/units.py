"""Units of length and time, by every name that a format gives them. Pure.

OME-XML writes symbols (``µm``, ``Å``), OME-Zarr whole names (``micrometer``), ImageJ whatever its
user typed.
"""

from __future__ import annotations

from live_restore.files.values import positive

_UM_PER_UNIT = {
    "pm": 1e-6,
    "angstrom": 1e-4,
    "\u00e5": 1e-4,
    "\u212b": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "um": 1.0,
    "\u00b5m": 1.0,
    "\u03bcm": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometers": 1.0,
    "micrometre": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "in": 25400.0,
    "inch": 25400.0,
    "m": 1e6,
    "meter": 1e6,
}
_SECONDS_PER_UNIT = {
    "ns": 1e-9,
    "us": 1e-6,
    "\u00b5s": 1e-6,
    "microsecond": 1e-6,
    "ms": 1e-3,
    "millisecond": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
}


def micrometres_per(unit: object) -> float | None:
    """Return how many um a unit of length is, ``None`` where it is unknown.

    Examples
    --------
    >>> micrometres_per("nanometer"), micrometres_per(" \\\\u00B5m"), micrometres_per("pixel")
    (0.001, 1.0, None)
    """
    # ImageJ escapes what Latin-1 does not hold.
    name = str(unit).strip().replace("\\u00B5", "\u00b5").lower()
    return _UM_PER_UNIT.get(name)


def seconds_per(unit: object) -> float | None:
    """Return how many seconds a unit of time is, ``None`` where it is unknown."""
    return _SECONDS_PER_UNIT.get(str(unit).strip().lower())


def micrometres(value: object, unit: object) -> float | None:
    """Return a length in um, ``None`` where it is no number above zero of a known unit.

    Examples
    --------
    >>> micrometres(150, "nm"), micrometres("0.2", "\\\\u00B5m"), micrometres(1, "pixel")
    (0.15, 0.2, None)
    """
    factor, number = micrometres_per(unit), positive(value)
    return positive(round(number * factor, 9)) if factor and number else None


def seconds(value: object, unit: object) -> float | None:
    """Return a duration in seconds, ``None`` where it is no number above zero of a known unit."""
    factor, number = seconds_per(unit), positive(value)
    return positive(number * factor) if factor and number else None
