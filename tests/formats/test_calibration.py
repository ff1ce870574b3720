"""Whatever unit a size is written in, it is the same size; whatever is unknown, is called so."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from live_restore.formats.units import micrometres_per, seconds_per
from tests.support.tiffs import complete, pixels

# What one um and one second are in each unit: by the definitions, not by the code's table.
LENGTHS = {
    "um": 1.0, "\u00b5m": 1.0, "\u03bcm": 1.0, "micron": 1.0, "Microns": 1.0, "micrometre": 1.0,
    "nm": 1e3, "nanometers": 1e3, "mm": 1e-3, "cm": 1e-4, "m": 1e-6, "km": 1e-9, "pm": 1e6,
    "angstrom": 1e4, "\u00c5": 1e4, "\u212b": 1e4, "inch": 1 / 25400, "in": 1 / 25400, "dm": 1e-5,
}  # fmt: skip
TIMES = {
    "s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e3, "msec": 1e3, "\u00b5s": 1e6, "us": 1e6,
    "min": 1 / 60, "minutes": 1 / 60, "h": 1 / 3600, "hours": 1 / 3600, "d": 1 / 86400, "ns": 1e9,
}  # fmt: skip
UNKNOWN = ["pixel", "pixels", "", "reference frame", "furlong", "frames", "\u00b5", "s s", "umm"]

on_a_disk = settings(deadline=None, max_examples=60)
some_um = st.floats(0.01, 20).map(lambda value: round(value, 4))


def write_imagej(path: Path, text: str, um: float = 1.0) -> Path:
    description = f"ImageJ=1.54f\nimages=6\nslices=3\nframes=2\n{text}"
    tifffile.imwrite(
        path, pixels("TZ", (2, 3)), photometric="minisblack", metadata=None,
        resolution=(1 / um,) * 2, resolutionunit="NONE", description=description,
    )  # fmt: skip
    return path


def escaped(unit: str) -> str:
    """Return a unit as ImageJ writes it: what Latin-1 does not hold as the number of the letter."""
    return "".join(c if ord(c) < 128 else f"\\u{ord(c):04X}" for c in unit)


@on_a_disk
@given(um=some_um, z=st.sampled_from(sorted(LENGTHS)), unit=st.sampled_from(sorted(LENGTHS)),
       minus=st.booleans(), comma=st.booleans())  # fmt: skip
@example(um=0.3, z="\u00b5m", unit="nm", minus=True, comma=True)
def test_a_z_step_in_any_unit(um: float, z: str, unit: str, minus: bool, comma: bool) -> None:
    spacing = f"{'-' if minus else ''}{um * LENGTHS[z]:.18f}"
    if comma:
        spacing = spacing.replace(".", ",")
    with tempfile.TemporaryDirectory() as folder:
        text = f"unit={escaped(unit)}\nzunit={escaped(z)}\nspacing={spacing}\n"
        found = complete(write_imagej(Path(folder) / "a.tif", text)).file_stacks
    assert found.voxel.z_um == pytest.approx(um, rel=1e-3)
    assert any("negative" in said for said in found.assumptions) is minus


@on_a_disk
@given(s=some_um, unit=st.sampled_from(sorted(TIMES)))
def test_a_frame_interval_in_any_unit(s: float, unit: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        text = f"finterval={s * TIMES[unit]:.18f}\ntunit={escaped(unit)}\n"
        found = complete(write_imagej(Path(folder) / "a.tif", text)).file_stacks
    assert found.time_increment_s == pytest.approx(s, rel=1e-3)


@on_a_disk
@given(um=some_um, s=some_um, unit=st.sampled_from(sorted(LENGTHS)),
       of_time=st.sampled_from(sorted(TIMES)))  # fmt: skip
def test_ome_xml_in_any_unit(um: float, s: float, unit: str, of_time: str) -> None:
    metadata = {
        "axes": "TZYX", "PhysicalSizeZ": um * LENGTHS[unit], "PhysicalSizeZUnit": unit,
        "PhysicalSizeX": um * LENGTHS[unit], "PhysicalSizeXUnit": unit,
        "TimeIncrement": s * TIMES[of_time], "TimeIncrementUnit": of_time,
        "Plane": {"DeltaT": [s * TIMES[of_time]] * 6, "DeltaTUnit": [of_time] * 6,
                  "PositionX": [um * LENGTHS[unit]] * 6, "PositionXUnit": [unit] * 6},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.ome.tif"
        tifffile.imwrite(path, pixels("TZ", (2, 3)), photometric="minisblack", metadata=metadata,
                         ome=True)  # fmt: skip
        found = complete(path).file_stacks
    assert found.voxel.z_um == found.voxel.x_um == pytest.approx(um, rel=1e-3)
    assert found.time_increment_s == pytest.approx(s, rel=1e-6)
    plane = found.metadata.planes[0, 1, 0][2]
    assert plane.delta_t_s == pytest.approx(s, rel=1e-6)
    assert (plane.x, plane.stage_unit) == (pytest.approx(um, rel=1e-3, abs=1e-9), "um")


@pytest.mark.parametrize("unit", [each for each in UNKNOWN if each != "\u00b5"])
def test_an_unknown_unit_is_never_guessed(tmp_path: Path, unit: str) -> None:
    assert micrometres_per(unit) is None
    assert seconds_per(unit) is None
    text = f"unit={unit}\nspacing=0.3\nfinterval=2\ntunit={unit}\n"
    found = complete(write_imagej(tmp_path / "a.tif", text, um=0.1)).file_stacks
    assert (found.voxel.z_um, found.voxel.x_um, found.time_increment_s) == (None, None, None)
    assert sum("no unit that is known" in note for note in found.notes) == 2


@pytest.mark.parametrize(("one", "other"), [("mm", "Mm"), ("ms", "Ms"), ("pm", "Pm")])
def test_capitals_tell_mega_from_milli(one: str, other: str) -> None:
    per = seconds_per if one.endswith("s") else micrometres_per
    small, large = per(one), per(other)
    assert small is not None
    assert large is not None
    assert large > 1e8 * small
