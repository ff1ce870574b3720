"""Olympus's OIR, read by ``oirfile``."""

from __future__ import annotations

from pathlib import Path

from live_restore.formats.vendor.reader import VendorFile, regular_step
from live_restore.formats.vendor.whole_array import WholeArray


def open_file(path: Path) -> VendorFile:
    """Open a file; its coordinates are in micrometres and seconds."""
    import oirfile

    file = oirfile.OirFile(path)
    coords = file.coords
    z_um, y_um, x_um = (regular_step(coords.get(axis, ())) for axis in "ZYX")
    return WholeArray(
        dict(file.sizes),
        file.dtype,
        file.asarray,
        voxel_um=(z_um, y_um, x_um),
        channel_names=tuple(str(channel.name) for channel in file.channels),
        time_increment_s=regular_step(coords.get("T", ())),
    )
