"""Units by every name that formats give them."""

from __future__ import annotations

import pytest

from live_restore.formats.units import micrometres, micrometres_per, seconds, seconds_per


@pytest.mark.parametrize(
    ("um", "names"),
    [
        (1.0, ["um", "\u00b5m", "\u03bcm", "\\u00B5m", "micron", "microns", "micrometer", "UM "]),
        (1e-3, ["nm", "nanometer"]),
        (1e-4, ["\u00c5", "\u212b", "angstrom"]),
        (1e-6, ["pm"]),
        (1e3, ["mm", "millimeter"]),
        (1e4, ["cm"]),
        (1e6, ["m", "meter"]),
        (25400.0, ["in", "inch"]),
        (None, ["pixel", "", None, 3]),
    ],
)
def test_lengths(um: float | None, names: list[object]) -> None:
    assert [micrometres_per(name) for name in names] == [um] * len(names)


@pytest.mark.parametrize(
    ("s", "names"),
    [
        (1.0, ["s", "sec", "second"]),
        (1e-3, ["ms", "millisecond"]),
        (1e-6, ["us", "\u00b5s", "microsecond"]),
        (1e-9, ["ns"]),
        (60.0, ["min", "minute"]),
        (3600.0, ["h", "hour"]),
        (None, ["frame", "", None]),
    ],
)
def test_times(s: float | None, names: list[object]) -> None:
    assert [seconds_per(name) for name in names] == [s] * len(names)


@pytest.mark.parametrize("value", [0, -1, "x", None, float("nan"), float("inf"), True])
def test_what_is_no_size_is_none(value: object) -> None:
    assert micrometres(value, "um") is None
    assert seconds(value, "s") is None
