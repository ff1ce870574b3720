"""Small whole acquisitions of every format, to be damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from live_restore.formats.acquisition_format import AcquisitionFormat
from live_restore.formats.micromanager.image_stack_file import MmStackFormat
from live_restore.formats.micromanager.ndtiff import NdTiffFormat
from live_restore.formats.micromanager.separate_images import MmSeriesFormat
from live_restore.formats.zarr.ome_zarr import OmeZarrFormat
from tests.support.mm_files import NdTiff, StackFile

SUMMARY: dict[str, Any] = {
    "Frames": 2,
    "ChNames": ["DAPI"],
    "StagePositions": [{"Label": "Pos0"}],
    "MdaSettings": json.dumps({"channels": [{"config": "DAPI"}], "slices": [0, 1, 2]}),
}


def stack_run(folder: Path) -> None:
    """Micro-Manager's image stack file."""
    file = StackFile(folder / "run_1_MMStack_Pos0.ome.tif", 3, SUMMARY)
    for t in range(2):
        for z in range(3):
            file.plane(0, z, t, 0, value=1 + z)
    file.finish()


def ndtiff_run(folder: Path) -> None:
    """NDTiff as Micro-Manager writes it."""
    data = NdTiff(folder, {**SUMMARY, "Slices": 3})
    for t in range(2):
        for z in range(3):
            data.plane(1 + z, z=z, time=t, channel=0)
    data.finish()


def python_run(folder: Path) -> None:
    """NDTiff as pycromanager writes it, still open."""
    data = NdTiff(folder, axes_in_metadata=True)
    for t in range(2):
        for z in range(3):
            data.image(1 + z, z=z, time=t, channel="DAPI")


def series_run(folder: Path) -> None:
    """Micro-Manager's separate images, in a position's folder."""
    (folder / "Pos0").mkdir()
    for z in range(3):
        path = folder / "Pos0" / f"img_channel000_position000_time000000000_z{z:03}.tif"
        tifffile.imwrite(path, np.full((5, 6), z + 1, "u2"), photometric="minisblack")
    text = '{\n"Summary": ' + json.dumps({**SUMMARY, "Slices": 3}, indent=2)
    image = {"PixelSizeUm": 0.1, "ChannelIndex": 0, "SliceIndex": 0, "ZPositionUm": 1}
    (folder / "Pos0" / "metadata.txt").write_text(
        text + ',\n"Metadata-Pos0/img.tif": ' + json.dumps(image, indent=2) + "\n}\n"
    )


def zarr_metadata(shape: tuple[int, int, int, int, int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the metadata of a group and of its array (T, C, Z, Y, X), a chunk per plane."""
    axes = [{"name": name, "unit": "micrometer"} for name in "tczyx"]
    scale = [{"type": "scale", "scale": [1, 1, 0.5, 0.1, 0.1]}]
    level = {"path": "0", "coordinateTransformations": scale}
    ome = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [level]}]}
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}
    array = {
        "node_type": "array",
        "shape": list(shape),
        "data_type": "uint16",
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [1, 1, 1, *shape[3:]]},
        },
        "chunk_key_encoding": {"name": "default"},
        "codecs": [{"name": "bytes"}],
    }
    return group, array


def zarr_run(folder: Path) -> None:
    """OME-Zarr 0.5 with a file per plane."""
    group, array = zarr_metadata((1, 1, 3, 4, 8))
    (folder / "zarr.json").write_text(json.dumps(group))
    (folder / "0").mkdir()
    (folder / "0" / "zarr.json").write_text(json.dumps(array))
    for z in range(3):
        path = folder / "0" / "c" / "0" / "0" / str(z) / "0" / "0"
        path.parent.mkdir(parents=True)
        path.write_bytes(np.full((4, 8), z + 1, "u2").tobytes())


RUNS: dict[str, tuple[AcquisitionFormat, Callable[[Path], None]]] = {
    "mm-stack": (MmStackFormat(), stack_run),
    "ndtiff": (NdTiffFormat(), ndtiff_run),
    "ndtiff-python": (NdTiffFormat(), python_run),
    "mm-series": (MmSeriesFormat(), series_run),
    "ome-zarr": (OmeZarrFormat(), zarr_run),
}
