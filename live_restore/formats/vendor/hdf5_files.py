"""Imaris's ``.ims`` and BigDataViewer's ``.h5``, read by ``h5py``: full resolution only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from live_restore.formats.vendor.protocol import Description, Refusal
from live_restore.formats.vendor.reader import VendorFile, require_grey_stack

if TYPE_CHECKING:
    import h5py

_IMARIS = "DataSet/ResolutionLevel 0"


class _Cells:
    """Stacks that are a data set of (Z, Y, X) each, by position, time and channel.

    Parameters
    ----------
    description
        What the file holds.
    cells
        The data sets, in the order of positions, times and channels.
    """

    def __init__(self, description: Description, cells: list[h5py.Dataset]) -> None:
        self.description = description
        self._cells = cells

    def read(self, position: int, time: int, channel: int) -> NDArray[Any]:
        """Return one stack, (Z, Y, X)."""
        sizes = self.description
        number = (position * sizes.times + time) * sizes.channels + channel
        z, y, x = sizes.shape_zyx
        volume = self._cells[number][:z, :y, :x]  # Imaris pads to whole blocks
        return np.ascontiguousarray(volume).view(sizes.dtype)


def open_file(path: Path) -> VendorFile:
    """Open a file."""
    import h5py

    file = h5py.File(path, "r")
    if _IMARIS in file:
        return _imaris(file)
    setups = sorted(name for name in file if name[:1] == "s" and name[1:].isdecimal())
    if setups and "t00000" in file:
        return _big_data_viewer(file, setups)
    raise Refusal("is an HDF5 file, but neither Imaris's nor BigDataViewer's", "export as OME-TIFF")


def _imaris(file: h5py.File) -> VendorFile:
    levels = file[_IMARIS]
    times, channels = _count(levels, "TimePoint"), _count(levels["TimePoint 0"], "Channel")
    groups = [
        levels[f"TimePoint {time}/Channel {channel}"]
        for time in range(times)
        for channel in range(channels)
    ]
    cells = [group["Data"] for group in groups]
    shape = tuple(_number(groups[0].attrs, f"ImageSize{axis}") for axis in "ZYX")
    image = file["DataSetInfo/Image"].attrs if "DataSetInfo/Image" in file else {}
    voxel = [_extent_um(image, number, shape[axis]) for axis, number in enumerate((2, 1, 0))]
    names = tuple(
        _text(file[f"DataSetInfo/Channel {n}"].attrs, "Name") or str(n)
        for n in range(channels)
        if f"DataSetInfo/Channel {n}" in file
    )
    return _described(cells, 1, times, channels, shape, voxel, names)


def _big_data_viewer(file: h5py.File, setups: list[str]) -> VendorFile:
    """Setups are positions: what each was (channel, angle, tile) is in the XML beside the file."""
    times = sum(1 for name in file if name[:1] == "t" and name[1:].isdecimal())
    cells = [
        file[f"t{time:05d}/{setup}/0/cells"] for setup in setups for time in range(times)
    ]  # fmt: skip
    shape = cells[0].shape
    return _described(cells, len(setups), times, 1, shape, (None, None, None), ())


def _described(
    cells: list[h5py.Dataset],
    positions: int,
    times: int,
    channels: int,
    shape: tuple[int, ...],
    voxel: Any,
    names: tuple[str, ...],
) -> VendorFile:
    if any(cell.dtype != cells[0].dtype or len(cell.shape) != 3 for cell in cells):
        raise Refusal("stacks of different types", "export as OME-TIFF")
    if any(min(np.subtract(cell.shape, shape)) < 0 for cell in cells):
        raise Refusal("stacks of different sizes", "export as OME-TIFF")
    if any(cell.external or cell.is_virtual for cell in cells):
        raise Refusal("its voxels lie in other files", "export as OME-TIFF")
    # BigDataViewer writes unsigned grey values as int16: HDF5 for Java had no other.
    dtype = np.dtype(np.uint16) if cells[0].dtype == np.int16 else cells[0].dtype
    z, y, x = shape
    name = require_grey_stack({"Z": z, "Y": y, "X": x}, dtype)
    voxel_um = (voxel[0], voxel[1], voxel[2])
    return _Cells(Description(positions, times, channels, (z, y, x), name, voxel_um, names), cells)


def _count(group: h5py.Group, prefix: str) -> int:
    return sum(1 for name in group if name.startswith(f"{prefix} "))


def _text(attributes: Any, name: str) -> str:
    """Return an attribute; Imaris writes text as single characters."""
    value = attributes.get(name)
    return "" if value is None else b"".join(np.asarray(value).ravel().astype("S1")).decode()


def _number(attributes: Any, name: str) -> int:
    return int(_text(attributes, name))


def _extent_um(attributes: Any, axis: int, size: int) -> float | None:
    low, high = _text(attributes, f"ExtMin{axis}"), _text(attributes, f"ExtMax{axis}")
    if not low or not high or _text(attributes, "Unit") not in ("um", "\u00b5m", ""):
        return None
    return abs(float(high) - float(low)) / size or None
