"""Files and acquisitions as microscopes write them: step by step, with a look after each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from live_restore.stack import StackIndex
from tests.support.mm_files import HEIGHT, WIDTH, NdTiff, StackFile
from tests.support.small_runs import SUMMARY, zarr_metadata
from tests.support.tiffs import BY_NAME

SLICES, TIMES = 3, 2


def planes_of_one_value(
    height: int = HEIGHT, width: int = WIDTH
) -> Mapping[StackIndex, NDArray[Any]]:
    """Return stacks whose planes hold 1, 2 and 3, as the writers below write them."""
    values = np.arange(1, SLICES + 1, dtype=np.uint16)[:, None, None]
    stack = np.broadcast_to(values, (SLICES, height, width)).copy()
    return {StackIndex(0, time, 0): stack for time in range(TIMES)}


def page_by_page(path: Path) -> Iterator[None]:
    """Append a page at a time, as scripts do."""
    for plane in BY_NAME["plain"].image():
        tifffile.imwrite(path, plane, photometric="minisblack", metadata=None, append=True)
        yield


def declared_at_the_end(path: Path) -> Iterator[None]:
    """Replay how tifffile writes planes into a file whose OME-XML it completes at the end."""
    stages = []
    image = BY_NAME["ome_zyx"].image()
    with tifffile.TiffWriter(path, ome=True) as writer:

        def planes() -> Iterator[NDArray[Any]]:
            for plane in image:
                yield plane
                writer._fh.flush()
                stages.append(path.read_bytes())

        writer.write(planes(), shape=image.shape, dtype=image.dtype, photometric="minisblack",
                     metadata={"axes": "ZYX"}, compression="zlib")  # fmt: skip
    stages.append(path.read_bytes())
    for stage in stages:
        path.write_bytes(stage)
        yield


def declared_at_the_start(path: Path) -> Iterator[None]:
    """Append a page at a time; the first says how many there will be, as ImageJ's writers do."""
    case = BY_NAME["imagej_tzcyx"]
    planes = case.image().reshape(-1, *case.image().shape[-2:])
    times, slices, channels = case.sizes
    text = (
        f"ImageJ=1.54f\nimages={len(planes)}\nchannels={channels}\nslices={slices}\n"
        f"frames={times}\nhyperstack=true\n"
    )
    with tifffile.TiffWriter(path) as writer:
        for number, plane in enumerate(planes):
            writer.write(plane, photometric="minisblack", metadata=None, contiguous=False,
                         description=None if number else text)  # fmt: skip
            writer._fh.flush()
            yield


def grow_stack_file(folder: Path) -> Iterator[None]:
    file = StackFile(folder / "run_1_MMStack_Pos0.ome.tif", SLICES, SUMMARY)
    yield
    for time in range(TIMES):
        for z in range(SLICES):
            file.record(0, z, time, 0)
            yield
            file.image(1 + z, upto=100)
            yield
            file.image(1 + z)
            yield
    file.finish()


def grow_ndtiff(folder: Path) -> Iterator[None]:
    data = NdTiff(folder, {**SUMMARY, "Slices": SLICES})
    yield
    for time in range(TIMES):
        for z in range(SLICES):
            data.image(1 + z, upto=100, z=z, time=time, channel=0)
            yield
            entry = data.image(1 + z, z=z, time=time, channel=0)
            yield
            data.write_index(entry)
            yield
    data.finish()


def grow_python_ndtiff(folder: Path) -> Iterator[None]:
    data = NdTiff(folder, axes_in_metadata=True)
    entries = []
    yield
    for time in range(TIMES):
        for z in range(SLICES):
            entries.append(data.image(1 + z, z=z, time=time, channel="DAPI"))
            yield
    for entry in entries:
        data.write_index(entry)
    yield
    data.finish()


def grow_series(folder: Path) -> Iterator[None]:
    text = '{\n"Summary": ' + json.dumps({**SUMMARY, "Slices": SLICES}, indent=2)
    image = {"PixelSizeUm": 0.1, "ChannelIndex": 0, "SliceIndex": 0, "ZPositionUm": 1}
    position = folder / "Pos0"
    position.mkdir()
    yield
    for time in range(TIMES):
        for z in range(SLICES):
            path = position / f"img_channel000_position000_time{time:09}_z{z:03}.tif"
            plane = np.full((HEIGHT, WIDTH), z + 1, "u2")
            tifffile.imwrite(path, plane, photometric="minisblack")
            text += f',\n"Metadata-Pos0/{path.name}": ' + json.dumps(image, indent=2)
            (position / "metadata.txt").write_text(text)
            yield
    (position / "metadata.txt").write_text(text + "\n}\n")


def grow_zarr(folder: Path) -> Iterator[None]:
    group, array = zarr_metadata((TIMES, 1, SLICES, HEIGHT, WIDTH))
    (folder / "zarr.json").write_text(json.dumps(group))
    yield
    (folder / "0").mkdir()
    (folder / "0" / "zarr.json").write_text(json.dumps(array))
    yield
    for time in range(TIMES):
        for z in range(SLICES):
            path = folder / "0" / "c" / str(time) / "0" / str(z) / "0" / "0"
            path.parent.mkdir(parents=True)
            yield
            path.write_bytes(np.full((HEIGHT, WIDTH), z + 1, "u2").tobytes())
            yield
