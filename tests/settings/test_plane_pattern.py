"""Which patterns for names are taken, and that none of them takes long."""

from __future__ import annotations

import time

import pytest

from live_restore.errors import SettingsError
from live_restore.settings.load import load_settings
from live_restore.settings.plane_pattern import compiled_plane_pattern

GOOD = (
    r"(?P<run>.+)_z(?P<z>\d+)_ch(?P<c>\d+)\.tif",
    r"(?P<run>\w+)-(?P<p>[A-H]\d\d)-(?P<t>[0-9]{3})-(?P<z>\d{1,3})\.tiff?",
    r"(?P<run>.*?)(?:_t(?P<t>\d+))?_(?P<z>\d+)(?:\.ome)?\.tif",
    r"(?P<z>\d+)",
)
BAD = {
    r"(?P<run>.+)\.tif": "which number is z",
    r"(?P<run>(?:a+)+)z(?P<z>\d+)": "not repeated",
    r"(?P<run>.*)*(?P<z>\d+)": "not repeated",
    r".*.*.*(?P<z>\d+)": "parts of any length",
    r"a?a?a?a?a?(?P<z>\d+)": "may be left out",
    r"(?P<run>a|b)(?P<z>\d+)": "not allowed",
    r"(?P<z>\d+)(?=x)": "not allowed",
    r"(?P<z>\d+)(?P=z)": "not allowed",
    r"(?P<z>\d+)\1": "not allowed",
    r"(?P<z>\d+": "not closed",
    r"(?P<z>\d+))": "not opened",
    r"(?P<z>\d+)(?P<z>\d+)": "no regular expression",
    r"(?P<depth>\d+)(?P<z>\d+)": "a group 'depth'",
    "(?P<z>" + r"\d" * 200 + ")": "longer than 300",
}


@pytest.mark.parametrize("pattern", GOOD)
def test_a_good_pattern_takes_milliseconds_for_any_name(pattern: str) -> None:
    compiled = compiled_plane_pattern(pattern)
    load_settings(None, {"files": {"plane_pattern": pattern}})
    for name in ("a" * 255, "1" * 255, "_z1" * 85, "_t1_1" * 51, ".ome" * 63):
        began = time.process_time()
        compiled.fullmatch(name)
        assert time.process_time() - began < 0.5


@pytest.mark.parametrize("pattern", BAD)
def test_a_bad_pattern_is_refused_when_the_settings_are_read(pattern: str) -> None:
    with pytest.raises(ValueError, match=BAD[pattern]):
        compiled_plane_pattern(pattern)
    with pytest.raises(SettingsError, match="plane_pattern") as raised:
        load_settings(None, {"files": {"plane_pattern": pattern}})
    assert "\n" not in str(raised.value)


def test_digits_are_taken_whole() -> None:
    """Then numbers beside each other cost nothing; the pattern says so where it would not match."""
    compiled = compiled_plane_pattern(r"\d+\d+\d+\d+\d+\d+(?P<z>\d+)x")
    began = time.process_time()
    assert compiled.fullmatch("1" * 254 + "y") is None
    assert time.process_time() - began < 0.1
