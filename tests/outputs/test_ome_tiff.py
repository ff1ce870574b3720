"""Restored OME-TIFF: pixel-exact in every axes order, valid for others, checked after writing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ome_types
import pytest
import tifffile

from live_restore.errors import OutputError
from live_restore.formats.tiff.tiff_format import TiffFormat
from live_restore.outputs import ome_tiff
from live_restore.outputs.ome_tiff import OmeTiffWriter, read_token, writing_ome_tiff
from live_restore.stack import FileStacks, VoxelSize
from tests.support.fakes import a_dataset

TOKEN = "0123456789abcdef"
SIZES = {"T": 2, "C": 3, "Z": 4}
ORDERS = [
    "".join((*chosen, "YX"))
    for count in (1, 2, 3)
    for chosen in itertools.permutations("TCZ", count)
    if "Z" in chosen
]


def dataset_of(axes: str, **changes: Any) -> FileStacks:
    return a_dataset(
        axes=axes,
        times=SIZES["T"] if "T" in axes else 1,
        channels=SIZES["C"] if "C" in axes else 1,
        shape_zyx=(SIZES["Z"], 5, 6),
        **changes,
    )


def pixels(dataset: FileStacks) -> np.ndarray:
    """Return (positions, times, channels, Z, Y, X), every voxel different."""
    shape = (dataset.positions, dataset.times, dataset.channels, *dataset.shape_zyx)
    count = int(np.prod(shape))
    return (np.arange(count) % np.iinfo(np.uint8).max).reshape(shape).astype(dataset.dtype)


def write(path: Path, dataset: FileStacks, *, backwards: bool = False) -> OmeTiffWriter:
    image = pixels(dataset)
    keys = list(dataset.indices())
    with writing_ome_tiff(path, dataset, TOKEN) as writer:
        for key in reversed(keys) if backwards else keys:
            writer.write(key, image[key.position, key.time, key.channel])
    return writer


def read(path: Path, dataset: FileStacks) -> Iterator[np.ndarray]:
    """Yield each position's image as (T, C, Z, Y, X), as tifffile reads the file."""
    with tifffile.TiffFile(path, _multifile=False) as tif:
        assert len(tif.series) == dataset.positions
        for series in tif.series:
            axes = "".join(a for a in dataset.axes if a in series.axes or SIZES.get(a) == 1)
            assert series.axes == axes == dataset.axes
            image = series.asarray()
            absent = "".join(a for a in "TC" if a not in axes)
            image = image.reshape((1,) * len(absent) + image.shape)
            yield image.transpose([(absent + axes).index(a) for a in "TCZYX"])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("axes", ORDERS)
def test_every_axes_order_is_pixel_exact(tmp_path: Path, axes: str, dtype: str) -> None:
    dataset = dataset_of(axes, dtype=np.dtype(dtype))
    path = tmp_path / "a.ome.tif"
    write(path, dataset, backwards=True).check(path)
    (image,) = read(path, dataset)
    assert image.dtype == dtype
    assert np.array_equal(image, pixels(dataset)[0])
    ome = ome_types.from_tiff(path)
    found = ome.images[0].pixels
    assert (found.size_t, found.size_c, found.size_z) == pixels(dataset).shape[1:4]
    assert found.type.value == {"float32": "float"}.get(dtype, dtype)


@pytest.mark.parametrize("axes", ["ZYX", "TZCYX"])
def test_positions_are_series_with_their_names(tmp_path: Path, axes: str) -> None:
    dataset = dataset_of(axes, positions=3, position_names=("A1", "B2"))
    path = tmp_path / "a.ome.tif"
    write(path, dataset).check(path)
    for image, truth in zip(read(path, dataset), pixels(dataset), strict=True):
        assert np.array_equal(image, truth)
    names = [image.name for image in ome_types.from_tiff(path).images]
    assert names[:2] == ["A1", "B2"]


def test_axes_of_length_one_are_kept(tmp_path: Path) -> None:
    dataset = a_dataset(axes="TCZYX")
    path = tmp_path / "a.ome.tif"
    write(path, dataset).check(path)
    assert tifffile.imread(path).size == dataset.stack_voxels
    assert ome_types.from_tiff(path).images[0].pixels.size_z == 3


def test_metadata_are_carried_over(tmp_path: Path) -> None:
    dataset = dataset_of(
        "TZCYX",
        voxel=VoxelSize(0.3, 0.109, 0.108),
        channel_names=("DAPI", "GFP µ", "RFP"),
        time_increment_s=1.5,
    )
    path = tmp_path / "a.ome.tif"
    write(path, dataset)
    found = ome_types.from_tiff(path).images[0].pixels
    assert (found.physical_size_z, found.physical_size_y, found.physical_size_x) == (
        0.3, 0.109, 0.108,
    )  # fmt: skip
    assert found.physical_size_x_unit.value == "µm"
    assert (found.time_increment, found.time_increment_unit.value) == (1.5, "s")
    assert [channel.name for channel in found.channels] == ["DAPI", "GFP µ", "RFP"]
    with tifffile.TiffFile(path) as tif:
        assert tif.pages[0].tags["Software"].value.startswith("live-restore ")


def test_what_is_not_known_is_not_said(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    write(path, a_dataset(voxel=VoxelSize(None, 0.1, None)))
    found = ome_types.from_tiff(path).images[0].pixels
    assert (found.physical_size_z, found.physical_size_y, found.physical_size_x) == (
        None, 0.1, None,
    )  # fmt: skip
    assert found.time_increment is None


HOSTILE = [
    "a<b>&\"'", "</Channel><Channel>", "\x00\x01\x1b[2J", "\ud800", "\ufffe\uffff", "", " ",
    "x" * 5000, "\udcff", "µ 細胞 😀", "]]>", "%s {0}", "line\nline",
    f"live-restore 9 (result {'f' * 16})",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names(tmp_path: Path, name: str) -> None:
    dataset = dataset_of("CZYX", channel_names=(name, "b", name), position_names=(name,))
    path = tmp_path / "a.ome.tif"
    write(path, dataset).check(path)
    (image,) = read(path, dataset)
    assert np.array_equal(image, pixels(dataset)[0])
    said = ome_types.from_tiff(path).images[0].pixels.channels[0].name or ""
    assert said.isprintable()
    if name.isprintable():
        assert said == name
    assert read_token(path) == TOKEN


@pytest.mark.parametrize("names", [("one",), ("one", "two", "three", "four")])
def test_too_few_or_too_many_channel_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = tmp_path / "a.ome.tif"
    write(path, dataset_of("CZYX", channel_names=names)).check(path)
    channels = ome_types.from_tiff(path).images[0].pixels.channels
    assert len(channels) == 3
    assert channels[0].name == "one"


@pytest.mark.parametrize("positions", [1, 2])
def test_large_files_are_bigtiff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, positions: int
) -> None:
    dataset = dataset_of("TCZYX", positions=positions)
    path = tmp_path / "a.ome.tif"
    write(path, dataset)
    assert path.read_bytes()[:4] == b"II\x2a\0"
    monkeypatch.setattr(ome_tiff, "_CLASSIC_TIFF_BYTES", 1000)
    write(path, dataset).check(path)
    assert path.read_bytes()[:4] == b"II\x2b\0"
    for image, truth in zip(read(path, dataset), pixels(dataset), strict=True):
        assert np.array_equal(image, truth)
    assert read_token(path) == TOKEN
    assert TiffFormat().inspect(path) is None


def test_a_plane_costs_no_more_than_its_directory(tmp_path: Path) -> None:
    dataset = dataset_of("TCZYX")
    path = tmp_path / "a.ome.tif"
    write(path, dataset)
    planes = dataset.stack_count * dataset.shape_zyx[0]
    bytes_of_pixels = dataset.stack_count * dataset.stack_voxels * 2
    assert path.stat().st_size < bytes_of_pixels + planes * ome_tiff._DIRECTORY_BYTES + 4096


@pytest.mark.parametrize("where", [0.3, 0.6, 0.99])
def test_a_flipped_bit_is_found(tmp_path: Path, where: float) -> None:
    dataset = dataset_of("TZYX")
    path = tmp_path / "a.ome.tif"
    writer = write(path, dataset)
    with tifffile.TiffFile(path) as tif:
        start = tif.series[0].dataoffset
    assert start is not None
    content = bytearray(path.read_bytes())
    content[start + int(where * dataset.stack_count * dataset.stack_voxels * 2)] ^= 1
    path.write_bytes(content)
    with pytest.raises(OutputError, match="does not read back as written"):
        writer.check(path)


def test_a_cut_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    writer = write(path, dataset_of("TZYX"))
    path.write_bytes(path.read_bytes()[: writer._first_byte[0] + 300])
    with pytest.raises(OutputError, match="does not read back as written"):
        writer.check(path)


def test_a_missing_stack_is_found(tmp_path: Path) -> None:
    dataset = dataset_of("TZYX")
    path = tmp_path / "a.ome.tif"
    with writing_ome_tiff(path, dataset, TOKEN) as writer:
        writer.write(next(iter(dataset.indices())), pixels(dataset)[0, 0, 0])
    with pytest.raises(OutputError, match="lacks 1 of its stacks"):
        writer.check(path)


def test_the_token_is_found_in_ones_own_files_only(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    write(path, dataset_of("ZYX", positions=200))
    assert read_token(path) == TOKEN
    other = tmp_path / "b.tif"
    tifffile.imwrite(other, np.zeros((3, 4, 5), np.uint8), software="other", ome=True)
    assert read_token(other) is None
    assert read_token(tmp_path / "absent.tif") is None
    assert read_token(tmp_path) is None


def test_a_name_cannot_pass_for_the_tag(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    spoof = f'<Channel Name="live-restore 9 (result {"f" * 16})"/></OME>'
    path.write_bytes(f"II*\0{spoof}\0live-restore 1 (result {TOKEN})\0".encode())
    assert read_token(path) == TOKEN


def test_results_are_known_as_results_by_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    write(path, dataset_of("TZCYX"))
    assert TiffFormat().inspect(path) is None
