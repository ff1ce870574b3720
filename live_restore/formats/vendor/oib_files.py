"""Olympus's OIB, read by ``oiffile``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from live_restore.formats.units import micrometres
from live_restore.formats.vendor.reader import VendorFile, regular_step
from live_restore.formats.vendor.whole_array import WholeArray

if TYPE_CHECKING:
    import oiffile

_AXES = 8


def open_file(path: Path) -> VendorFile:
    """Open a file: the largest series of its planes."""
    import oiffile

    file = oiffile.OifFile(path)
    series = file.series[0]
    sizes = dict(zip(series.axes + "YX", (*series.shape, *file.shape[-2:]), strict=True))
    voxel = {axis: _step_um(file, axis) for axis in "ZYX"}
    return WholeArray(
        sizes,
        file.dtype,
        lambda: file.asarray(0),
        voxel_um=(voxel["Z"], voxel["Y"], voxel["X"]),
    )


def _step_um(file: oiffile.OifFile, axis: str) -> float | None:
    for number in range(_AXES):
        settings = file.mainfile.get(f"Axis {number} Parameters Common", {})
        if settings.get("AxisCode") == axis and int(settings.get("MaxSize", 0)) > 1:
            ends = settings.get("StartPosition"), settings.get("EndPosition")
            if None in ends:
                return None
            step = regular_step([float(end) for end in ends])
            # Y and X reach from edge to edge, Z from the first plane to the last.
            parts = int(settings["MaxSize"]) - (axis == "Z")
            return micrometres(step / parts, settings.get("UnitName")) if step else None
    return None
