"""TIFF files of every shape that people have, as a table; written by tifffile, read by us."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from live_restore.formats.file_format import Complete
from live_restore.formats.tiff.tiff_format import TiffFormat

HEIGHT, WIDTH = 20, 24
TIFF = TiffFormat()


def pixels(axes: str, sizes: tuple[int, ...], dtype: str = "uint16") -> NDArray[Any]:
    """Return an image in which every plane is different and none is zero."""
    rng = np.random.default_rng(len(axes) + sum(sizes))
    shape = (*sizes, HEIGHT, WIDTH)
    values = rng.integers(1, 200, shape)
    return values.astype(dtype) if dtype != "float32" else (values / 7).astype(dtype)


@dataclass(frozen=True)
class Case:
    """One file: ``axes`` without Y and X, slowest first, as written; then what must come out."""

    name: str
    axes: str
    sizes: tuple[int, ...]
    write: Callable[[Path, NDArray[Any]], None]
    dtype: str = "uint16"
    read_axes: str = ""
    voxel: tuple[float | None, ...] = (None, None, None)
    declared: bool = True
    channel_names: tuple[str, ...] = ()
    position_names: tuple[str, ...] = ()
    time_increment_s: float | None = None

    def image(self) -> NDArray[Any]:
        """Return the image that is written."""
        return pixels(self.axes, self.sizes, self.dtype)

    def truth(self) -> NDArray[Any]:
        """Return the image as (positions, times, channels, Z, Y, X)."""
        axes = self.axes.replace("I", "Z").replace("Q", "Z")
        absent = "".join(axis for axis in "PTCZ" if axis not in axes)
        image = self.image().reshape(self.sizes + (1,) * len(absent) + (HEIGHT, WIDTH))
        order = [(axes + absent).index(axis) for axis in "PTCZ"]
        return image.transpose([*order, len(order), len(order) + 1])


def _write(**options: Any) -> Callable[[Path, NDArray[Any]], None]:
    def write(path: Path, image: NDArray[Any]) -> None:
        tifffile.imwrite(path, image, photometric="minisblack", **options)

    return write


def _ome(axes: str, **options: Any) -> Callable[[Path, NDArray[Any]], None]:
    metadata = {
        "axes": axes + "YX",
        "PhysicalSizeX": 108.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.109,
        "PhysicalSizeYUnit": "\u00b5m",
        "PhysicalSizeZ": 0.0003,
        "PhysicalSizeZUnit": "mm",
        "TimeIncrement": 1500.0,
        "TimeIncrementUnit": "ms",
        "Channel": {"Name": ["DAPI", "FITC"] if "C" in axes else ["DAPI"]},
        "Name": "cell 1",
    }
    return _write(ome=True, metadata=metadata, **options)


def _ome_positions(path: Path, image: NDArray[Any]) -> None:
    with tifffile.TiffWriter(path, ome=True) as writer:
        for number, position in enumerate(image):
            writer.write(
                position,
                photometric="minisblack",
                metadata={"axes": "ZYX", "Name": f"Pos{number}"},
            )


def _imagej(
    axes: str, unit: str = "micron", **options: Any
) -> Callable[[Path, NDArray[Any]], None]:
    metadata = {"axes": axes + "YX", "spacing": 0.5, "unit": unit, "finterval": 2.5}
    return _write(imagej=True, metadata=metadata, resolution=(10.0, 5.0))


def _series(path: Path, image: NDArray[Any]) -> None:
    with tifffile.TiffWriter(path) as writer:
        for position in image:
            writer.write(position, photometric="minisblack", metadata={"axes": "ZYX"})


def _page_by_page(path: Path, image: NDArray[Any]) -> None:
    with tifffile.TiffWriter(path) as writer:
        for plane in image:
            writer.write(plane, photometric="minisblack", contiguous=False)


def _one_directory(path: Path, image: NDArray[Any]) -> None:
    """ImageJ above 4 GB: one directory, then every plane."""
    tifffile.imwrite(
        path,
        image[0],
        photometric="minisblack",
        byteorder=">",
        metadata=None,
        description=f"ImageJ=1.54f\nimages={len(image)}\nslices={len(image)}\nunit=um\n",
    )
    with path.open("r+b") as stream, tifffile.TiffFile(path) as tiff:
        # imwrite puts the directory first and the plane last, as ImageJ does.
        stream.seek(tiff.pages[0].dataoffsets[0])
        stream.write(image.astype(image.dtype.newbyteorder(">")).tobytes())


_OME = {
    "voxel": (0.3, 0.109, 0.108),
    "channel_names": ("DAPI",),
    "position_names": ("cell 1",),
    "time_increment_s": 1.5,
}
_OME2 = {**_OME, "channel_names": ("DAPI", "FITC")}
_IJ = {"voxel": (0.5, 0.2, 0.1)}
_PLAIN = {"declared": False, "read_axes": "ZYX"}

# fmt: off
CASES = [
    Case("plain", "I", (5,), _write(metadata=None), **_PLAIN),
    Case("plain_big_endian", "I", (5,), _write(metadata=None, byteorder=">"), **_PLAIN),
    Case("plain_bigtiff", "I", (5,), _write(metadata=None, bigtiff=True), **_PLAIN),
    Case("plain_uint8", "I", (5,), _write(metadata=None), dtype="uint8", **_PLAIN),
    Case("plain_float", "I", (5,), _write(metadata=None), dtype="float32", **_PLAIN),
    Case("plain_strips", "I", (5,), _write(metadata=None, rowsperstrip=3), **_PLAIN),
    Case("plain_tiles", "I", (5,), _write(metadata=None, tile=(16, 16)), **_PLAIN),
    Case(
        "plain_cm",
        "I",
        (5,),
        _write(metadata=None, resolution=(1e5, 5e4), resolutionunit="CENTIMETER"),
        voxel=(None, 0.2, 0.1),
        **_PLAIN,
    ),
    Case("plain_72_dpi", "I", (5,), _write(metadata=None, resolution=(72, 72), resolutionunit=2),
         **_PLAIN),
    Case("page_by_page", "I", (5,), _page_by_page, **_PLAIN),
    Case("shaped", "Q", (5,), _write(), read_axes="ZYX"),
    Case("shaped_zyx", "Z", (5,), _write(metadata={"axes": "ZYX"})),
    Case("shaped_tczyx", "TCZ", (2, 3, 4), _write(metadata={"axes": "TCZYX"})),
    Case("shaped_zcyx", "ZC", (4, 2), _write(metadata={"axes": "ZCYX"})),
    Case("shaped_surplus", "TCZ", (1, 1, 4), _write(metadata={"axes": "TCZYX"}), read_axes="ZYX"),
    Case("shaped_one_ifd", "Z", (4,), _write(metadata={"axes": "ZYX"}, contiguous=True)),
    Case("shaped_bigtiff_be", "TZ", (3, 4),
         _write(metadata={"axes": "TZYX"}, bigtiff=True, byteorder=">")),
    Case("shaped_series", "PZ", (3, 4), _series, read_axes="ZYX", declared=False),
    Case("deflate", "Z", (4,), _write(metadata={"axes": "ZYX"}, compression="zlib")),
    Case("deflate_tiles", "CZ", (2, 4), _write(metadata={"axes": "CZYX"}, compression="zlib",
         tile=(16, 16), predictor=2)),
    Case("lzw", "Z", (4,), _write(metadata={"axes": "ZYX"}, compression="lzw", predictor=2)),
    Case("lzw_strips", "Z", (4,), _write(metadata={"axes": "ZYX"}, compression="lzw",
         rowsperstrip=7), dtype="uint8"),
    Case("zstd_be", "Z", (4,), _write(metadata={"axes": "ZYX"}, compression="zstd", predictor=2,
         byteorder=">")),
    Case("packbits", "Z", (4,), _write(metadata={"axes": "ZYX"}, compression="packbits")),
    Case("float_predictor", "Z", (4,), _write(metadata={"axes": "ZYX"}, compression="zlib",
         predictor=3), dtype="float32"),
    Case("float_predictor_be", "Z", (4,), _write(metadata={"axes": "ZYX"}, compression="zlib",
         predictor=3, byteorder=">"), dtype="float32"),
    Case("imagej_zyx", "Z", (5,), _imagej("Z"), **_IJ),
    Case("imagej_tzcyx", "TZC", (3, 4, 2), _imagej("TZC"), time_increment_s=2.5, **_IJ),
    Case("imagej_zcyx", "ZC", (4, 2), _imagej("ZC"), **_IJ),
    Case("imagej_tzyx", "TZ", (3, 4), _imagej("TZ"), time_increment_s=2.5, **_IJ),
    Case("imagej_escaped", "Z", (5,), _imagej("Z", "\\u00B5m"), dtype="float32", **_IJ),
    Case("imagej_nm", "Z", (5,), _imagej("Z", "nm"), voxel=(0.0005, 0.0002, 0.0001)),
    Case("imagej_one_ifd", "Z", (6,), _one_directory, voxel=(None, 1.0, 1.0)),
    Case("ome_zyx", "Z", (5,), _ome("Z"), **_OME),
    Case("ome_tzcyx", "TZC", (3, 4, 2), _ome("TZC"), **_OME2),
    Case("ome_tczyx", "TCZ", (3, 2, 4), _ome("TCZ"), **_OME2),
    Case("ome_ctzyx", "CTZ", (2, 3, 4), _ome("CTZ"), **_OME2),
    Case("ome_zlib_bigtiff", "CZ", (2, 4), _ome("CZ", compression="zlib", bigtiff=True), **_OME2),
    Case("ome_positions", "PZ", (3, 4), _ome_positions, read_axes="ZYX",
         position_names=("Pos0", "Pos1", "Pos2")),
]
# fmt: on
"""Every case says what must come out, so that a reader and a writer cannot be wrong together."""

BY_NAME = {case.name: case for case in CASES}


def written(case: Case, folder: Path) -> Path:
    """Write a case's file and return its path."""
    suffix = ".ome.tif" if case.name.startswith("ome") else ".tif"
    path = folder / f"{case.name}{suffix}"
    case.write(path, case.image())
    return path


def complete(path: Path, tiff: TiffFormat = TIFF) -> Complete:
    """Return what is found in a finished file."""
    found = tiff.inspect(path)
    assert isinstance(found, Complete), found
    return found


def read_all(path: Path) -> np.ndarray[Any, Any]:
    """Return (positions, times, channels, Z, Y, X)."""
    dataset = complete(path).file_stacks
    with TIFF.open(dataset) as reader:
        stacks = [reader.read(key) for key in dataset.indices()]
    shape = (dataset.positions, dataset.times, dataset.channels, *dataset.shape_zyx)
    return np.array(stacks).reshape(shape)
