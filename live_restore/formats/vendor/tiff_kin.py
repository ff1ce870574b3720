"""Files that are TIFFs with an order of planes of their own, read by ``tifffile``: LSM and STK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from live_restore.formats.vendor.reader import VendorFile
from live_restore.formats.vendor.whole_array import WholeArray


def open_file(path: Path) -> VendorFile:
    """Open a file: the first series, which is the image itself and not its thumbnails."""
    file = tifffile.TiffFile(path)
    if file.is_lsm:
        voxel, interval = _lsm(file)
    elif file.is_stk:
        voxel, interval = _stk(file)
    else:
        raise ValueError("what makes it an LSM or STK file is not in it")
    series = file.series[0]
    _require_whole(file, path.stat().st_size)

    def load() -> NDArray[Any]:
        return np.asarray(series.asarray())

    sizes = {_letter(axis): size for axis, size in zip(series.axes, series.shape, strict=True)}
    return WholeArray(sizes, series.dtype, load, voxel_um=voxel, time_increment_s=interval)


def _require_whole(file: tifffile.TiffFile, size: int) -> None:
    """Raise ``ValueError`` where planes lie behind the end of the file: a copy that goes on."""
    series = file.series[0]
    if file.is_stk:  # one directory, and all planes in one piece behind each other
        end = series.keyframe.dataoffsets[0] + (series.nbytes if series.dataoffset else 0)
    else:
        end = max(
            offset + count
            for page in series.pages
            if page is not None
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
        )
    if end > size:
        raise ValueError(f"{size:,} of {end:,} bytes are there")


def _letter(axis: str) -> str:
    """Return an axis in our letters; ``M`` and ``R`` are positions of an LSM's mosaic."""
    return "P" if axis in "MR" else axis


def _lsm(
    file: tifffile.TiffFile,
) -> tuple[tuple[float | None, float | None, float | None], float | None]:
    metadata = file.lsm_metadata or {}
    z, y, x = (float(metadata.get(f"VoxelSize{axis}", 0)) * 1e6 or None for axis in "ZYX")
    return (z, y, x), float(metadata.get("TimeIntervall", 0)) or None


def _stk(
    file: tifffile.TiffFile,
) -> tuple[tuple[float | None, float | None, float | None], float | None]:
    metadata = file.stk_metadata or {}
    distances = np.asarray(metadata.get("ZDistance", (0,)), float)
    z_um = float(abs(distances).mean()) if distances.size else 0.0
    calibrated = metadata.get("SpatialCalibration", 0) and metadata.get("CalibrationUnits") == "um"
    y_um = float(metadata.get("YCalibration", 0)) if calibrated else 0.0
    x_um = float(metadata.get("XCalibration", 0)) if calibrated else 0.0
    return (z_um or None, y_um or None, x_um or None), None
