"""Every format of ours keeps what is asked of plug-ins."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from live_restore.formats.micromanager.imagestack_file import MmStackFormat
from numpy.typing import NDArray

from live_restore.formats.acquisition_format import AcquisitionFormat
from live_restore.formats.micromanager.ndtiff import NdTiffFormat
from live_restore.formats.micromanager.separate_images import MmSeriesFormat
from live_restore.formats.table import ACQUISITION_FORMATS, FILE_FORMATS
from live_restore.formats.tiff.tiff_format import TiffFormat
from live_restore.formats.zarr.ome_zarr import OmeZarrFormat
from live_restore.stack import StackIndex
from live_restore.testing.formats import (
    AcquisitionFormatCompliance,
    AcquisitionSample,
    FileFormatCompliance,
    FileSample,
)
from tests.support.mm_files import HEIGHT, WIDTH, NdTiff, StackFile
from tests.support.small_runs import SUMMARY
from tests.support.tiffs import BY_NAME, Case

SLICES, TIMES = 3, 2


def constant_planes(height: int = HEIGHT, width: int = WIDTH) -> Mapping[StackIndex, NDArray[Any]]:
    """Return stacks whose planes hold 1, 2 and 3, as the writers below write them."""
    values = np.arange(1, SLICES + 1, dtype=np.uint16)[:, None, None]
    stack = np.broadcast_to(values, (SLICES, height, width)).copy()
    return {StackIndex(0, time, 0): stack for time in range(TIMES)}


class TestTiff(FileFormatCompliance):
    def make_format(self) -> TiffFormat:
        return TiffFormat()

    def samples(self) -> Sequence[FileSample]:
        names = (
            "plain", "plain_tiles", "shaped_bigtiff_be", "shaped_series", "deflate_tiles",
            "lzw_strips", "zstd_be", "float_predictor_be", "imagej_zcyx", "imagej_one_ifd",
            "ome_zyx", "ome_positions",
        )  # fmt: skip
        return [_sample(BY_NAME[name]) for name in names]


def _sample(case: Case) -> FileSample:
    suffix = ".ome.tif" if case.name.startswith("ome") else ".tif"
    return FileSample(
        case.name + suffix,
        lambda path: case.write(path, case.image()),
        case.truth(),
        {"plain": _page_by_page, "ome_zyx": declared_at_the_end}.get(case.name),
    )


def _page_by_page(path: Path) -> Iterator[None]:
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


def stack_file(folder: Path) -> Iterator[None]:
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


class TestMmStack(AcquisitionFormatCompliance):
    def make_format(self) -> AcquisitionFormat:
        return MmStackFormat()

    def samples(self) -> Sequence[AcquisitionSample]:
        return [AcquisitionSample("run_1", stack_file, constant_planes())]


def _ndtiff(folder: Path) -> Iterator[None]:
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


def _python_ndtiff(folder: Path) -> Iterator[None]:
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


class TestNdTiff(AcquisitionFormatCompliance):
    def make_format(self) -> AcquisitionFormat:
        return NdTiffFormat()

    def samples(self) -> Sequence[AcquisitionSample]:
        return [
            AcquisitionSample("run_1", _ndtiff, constant_planes()),
            AcquisitionSample("python_1", _python_ndtiff, constant_planes()),
        ]


def _series(folder: Path) -> Iterator[None]:
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


class TestMmSeries(AcquisitionFormatCompliance):
    def make_format(self) -> AcquisitionFormat:
        return MmSeriesFormat()

    def samples(self) -> Sequence[AcquisitionSample]:
        return [AcquisitionSample("run_1", _series, constant_planes())]


def _zarr(folder: Path) -> Iterator[None]:
    axes = [{"name": name, "unit": "micrometer"} for name in "tczyx"]
    scale = [{"type": "scale", "scale": [1, 1, 0.5, 0.1, 0.1]}]
    level = {"path": "0", "coordinateTransformations": scale}
    ome = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [level]}]}
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}
    (folder / "zarr.json").write_text(json.dumps(group))
    yield
    array = {
        "node_type": "array",
        "shape": [TIMES, 1, SLICES, HEIGHT, WIDTH],
        "data_type": "uint16",
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [1, 1, 1, HEIGHT, WIDTH]},
        },
        "chunk_key_encoding": {"name": "default"},
        "codecs": [{"name": "bytes"}],
    }
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


class TestOmeZarr(AcquisitionFormatCompliance):
    def make_format(self) -> AcquisitionFormat:
        return OmeZarrFormat()

    def samples(self) -> Sequence[AcquisitionSample]:
        return [AcquisitionSample("run_1", _zarr, constant_planes(), ended=None)]


def test_every_format_of_the_tables_is_here() -> None:
    suites = (TestTiff, TestMmStack, TestNdTiff, TestMmSeries, TestOmeZarr)
    assert {suite().make_format().name for suite in suites} == {*FILE_FORMATS, *ACQUISITION_FORMATS}
