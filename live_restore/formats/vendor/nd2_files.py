"""Nikon's ND2, read by ``nd2``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from live_restore.formats.vendor.protocol import Description
from live_restore.formats.vendor.reader import PlaneByPlane, VendorFile, require_grey_stack

if TYPE_CHECKING:
    import nd2


def open_file(path: Path) -> VendorFile:
    """Open a file."""
    import nd2

    file = nd2.ND2File(path)
    sizes = dict(file.sizes)
    dtype = require_grey_stack(sizes, file.dtype)
    loops = [axis for axis in sizes if axis in "PTZ"]
    lengths = tuple(sizes[axis] for axis in loops)
    try:
        channels = [each for each in getattr(file.metadata, "channels", None) or () if each.channel]
    except Exception:  # noqa: BLE001 - names and distances are worth less than the image
        channels = []
    description = Description(
        sizes.get("P", 1),
        sizes.get("T", 1),
        sizes.get("C", 1),
        (sizes["Z"], sizes["Y"], sizes["X"]),
        dtype,
        _voxel_um(channels[0].volume) if channels else (None, None, None),
        tuple(str(each.channel.name) for each in channels),
        time_increment_s=_interval_s(file),
    )

    def plane(position: int, time: int, channel: int, z: int) -> NDArray[Any]:
        place = {"P": position, "T": time, "Z": z}
        number = int(np.ravel_multi_index(tuple(place[axis] for axis in loops), lengths))
        frame = np.asarray(file.read_frame(number))
        return frame if frame.ndim == 2 else frame[channel]

    return PlaneByPlane(description, plane)


def _voxel_um(volume: Any) -> tuple[float | None, float | None, float | None]:
    """Return (Z, Y, X); the package says 1 where nobody calibrated."""
    calibrated = zip(volume.axesCalibration, volume.axesCalibrated, strict=True)
    x, y, z = (float(um) if known else None for um, known in calibrated)
    return (z, y, x)


def _interval_s(file: nd2.ND2File) -> float | None:
    for loop in file.experiment:
        if loop.type == "TimeLoop":
            return float(loop.parameters.periodMs) / 1000 or None
    return None
