"""OME-Zarr of version 0.4 and 0.5, with the codecs that are read and those that are refused."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

from live_restore.errors import StackChangedError, StackIncompleteError, StackUnreadableError
from live_restore.formats.zarr.ome_zarr import OmeZarrFormat
from live_restore.stack import StackIndex, VoxelSize
from tests.support.ome_zarr_files import (
    BYTES,
    PLANE,
    SHAPE,
    TRUTH,
    Encode,
    multiscales,
    v3_array,
    v3_group,
    write_chunks,
    write_json,
)


def check(folder: Path, may_change: bool) -> None:
    follower = OmeZarrFormat().follow(folder)
    state = follower.poll()
    assert not state.problems
    assert state.ended is None
    assert {(k.position, k.time, k.channel) for k in state.stacks} == {
        (0, t, c) for t in range(2) for c in range(2)
    }
    for key, evidence in state.stacks.items():
        assert evidence.complete
        assert evidence.expected == range(3)
        assert evidence.may_change is may_change
        np.testing.assert_array_equal(follower.read(key), TRUTH[key.time, key.channel], strict=True)
    assert state.info.voxel == VoxelSize(0.5, 0.11, 0.1)
    assert state.info.time_increment_s == 3.0
    assert state.info.stacks_planned == 4


@pytest.mark.parametrize("separator", ["/", "."])
@pytest.mark.parametrize("chunks", [PLANE, (1, 1, 2, 2, 4), (2, 2, 3, 5, 6), (1, 1, 1, 3, 6)])
@pytest.mark.parametrize(
    ("codecs", "encode"),
    [
        ([BYTES], bytes),
        ([BYTES, {"name": "gzip", "configuration": {"level": 5}}], gzip.compress),
        ([BYTES, {"name": "zstd", "configuration": {"level": 0}}], imagecodecs.zstd_encode),
        ([BYTES, {"name": "blosc", "configuration": {"cname": "zstd"}}], imagecodecs.blosc_encode),
    ],
    ids=["raw", "gzip", "zstd", "blosc"],
)
def test_version_0_5(
    tmp_path: Path,
    codecs: list[dict[str, Any]],
    encode: Encode,
    chunks: tuple[int, ...],
    separator: str,
) -> None:
    v3_group(tmp_path, multiscales=multiscales())
    v3_array(tmp_path / "0", chunks, codecs, separator)
    write_chunks(tmp_path / "0", chunks, encode, separator=separator)
    check(tmp_path, may_change=any(n > 1 for n in chunks[:3]))


@pytest.mark.parametrize("separator", ["/", "."])
@pytest.mark.parametrize(
    ("compressor", "encode"),
    [
        (None, bytes),
        ({"id": "zlib", "level": 1}, zlib.compress),
        ({"id": "gzip", "level": 1}, gzip.compress),
        ({"id": "bz2", "level": 1}, bz2.compress),
        ({"id": "lzma"}, lzma.compress),
        ({"id": "zstd"}, imagecodecs.zstd_encode),
        ({"id": "blosc", "cname": "lz4"}, imagecodecs.blosc_encode),
        ({"id": "lz4"}, lambda d: len(d).to_bytes(4, "little") + imagecodecs.lz4_encode(d)),
    ],
)
def test_version_0_4(
    tmp_path: Path, compressor: dict[str, Any] | None, encode: Encode, separator: str
) -> None:
    chunks = (1, 1, 2, 5, 6)
    write_json(tmp_path / ".zgroup", {"zarr_format": 2})
    write_json(tmp_path / ".zattrs", {"multiscales": multiscales()})
    array = {"zarr_format": 2, "shape": SHAPE, "chunks": chunks, "dtype": ">u2", "filters": None}
    more = {"compressor": compressor, "order": "F", "dimension_separator": separator}
    write_json(tmp_path / "0" / ".zarray", array | more)
    write_chunks(
        tmp_path / "0", chunks, encode, prefix="", separator=separator, dtype=">u2", order="F"
    )
    check(tmp_path, may_change=True)


@pytest.mark.parametrize(
    ("codecs", "what"),
    [
        ([{"name": "sharding_indexed", "configuration": {}}], "sharding_indexed"),
        ([BYTES, {"name": "pcodec"}], "pcodec"),
        ([{"name": "transpose", "configuration": {"order": [4, 3, 2, 1, 0]}}, BYTES], "transpose"),
        ([3], "3"),
    ],
)
def test_unknown_codecs_are_refused_by_name(
    tmp_path: Path, codecs: list[dict[str, Any]], what: str
) -> None:
    v3_group(tmp_path, multiscales=multiscales())
    v3_array(tmp_path / "0", PLANE, codecs)
    write_chunks(tmp_path / "0", PLANE)
    state = OmeZarrFormat().follow(tmp_path).poll()
    assert not state.stacks
    assert f'codec "{what}" is not known' in state.problems[0]


def test_missing_chunks_are_missing_planes(tmp_path: Path) -> None:
    v3_group(tmp_path, multiscales=multiscales())
    v3_array(tmp_path / "0", PLANE)
    write_chunks(tmp_path / "0", PLANE, skip=((0, 1, 1, 0, 0), (1, 0, 2, 0, 0)))
    follower = OmeZarrFormat().follow(tmp_path)
    stacks = follower.poll().stacks
    gap, short = StackIndex(0, 0, 1), StackIndex(0, 1, 0)
    assert stacks[gap].present == (0, 2)
    assert sum(e.complete for e in stacks.values()) == 2
    assert follower.poll(over=True).stacks[gap].partial
    assert follower.read(short).shape == (2, 5, 6)
    with pytest.raises(StackIncompleteError):
        follower.read(gap)


def test_chunks_that_are_being_written_do_not_count(tmp_path: Path) -> None:
    v3_group(tmp_path, multiscales=multiscales())
    v3_array(tmp_path / "0", PLANE)
    write_chunks(tmp_path / "0", PLANE)
    last = tmp_path / "0" / "c" / "1" / "1" / "2" / "0" / "0"
    whole = last.read_bytes()
    key = StackIndex(0, 1, 1)
    follower = OmeZarrFormat().follow(tmp_path)
    for upto in (0, 1, len(whole) - 1):
        last.write_bytes(whole[:upto])
        last.with_name("0.__lock").write_bytes(whole)
        assert not follower.poll().stacks[key].complete
    last.write_bytes(whole)
    assert follower.poll().stacks[key].complete


def test_damaged_chunks_say_so(tmp_path: Path) -> None:
    v3_group(tmp_path, multiscales=multiscales())
    v3_array(tmp_path / "0", PLANE, [BYTES, {"name": "zstd"}])
    bomb = imagecodecs.zstd_encode(bytes(10**7))
    write_chunks(tmp_path / "0", PLANE, lambda _: bomb)
    follower = OmeZarrFormat().follow(tmp_path)
    for key in follower.poll().stacks:
        with pytest.raises(StackUnreadableError, match="zstd"):
            follower.read(key)


def test_zeros_are_not_read_as_data(tmp_path: Path) -> None:
    image = TRUTH.copy()
    image[0, 0, 1] = 0
    v3_group(tmp_path, multiscales=multiscales())
    v3_array(tmp_path / "0", PLANE)
    write_chunks(tmp_path / "0", PLANE, image=image)
    follower = OmeZarrFormat().follow(tmp_path)
    follower.poll()
    with pytest.raises(StackIncompleteError, match="1 planes"):
        follower.read(StackIndex())


def test_axes_that_are_absent(tmp_path: Path) -> None:
    v3_group(tmp_path, multiscales=multiscales("zyx"))
    v3_array(tmp_path / "0", (1, 5, 6), shape=(3, 5, 6))
    write_chunks(tmp_path / "0", (1, 5, 6), image=TRUTH[0, 0])
    follower = OmeZarrFormat().follow(tmp_path)
    assert follower.poll().stacks[StackIndex()].complete
    np.testing.assert_array_equal(follower.read(StackIndex()), TRUTH[0, 0])


def test_positions_of_a_collection(tmp_path: Path) -> None:
    ome = {"version": "0.5", "bioformats2raw.layout": 3}
    v3_group(tmp_path, **ome)
    v3_group(tmp_path / "OME", series=["b", "a"])
    for name in "ab":
        v3_group(tmp_path / name, multiscales=multiscales("zyx"))
        v3_array(tmp_path / name / "0", (1, 5, 6), shape=(3, 5, 6))
        write_chunks(tmp_path / name / "0", (1, 5, 6), image=TRUTH["ab".index(name), 0])
    follower = OmeZarrFormat().follow(tmp_path)
    state = follower.poll()
    assert state.info.position_names == ("b", "a")
    for position, number in ((0, 1), (1, 0)):
        volume = follower.read(StackIndex(position))
        np.testing.assert_array_equal(volume, TRUTH[number, 0])


@pytest.mark.parametrize("path", ["../secret", "/etc", "a/../../b", "..", "C:/x", "a\\b", "a//b"])
def test_paths_in_the_metadata_stay_inside(tmp_path: Path, path: str) -> None:
    run = tmp_path / "run.zarr"
    v3_group(run, multiscales=multiscales(path=path))
    v3_array(tmp_path / "secret", PLANE)
    write_chunks(tmp_path / "secret", PLANE)
    state = OmeZarrFormat().follow(run).poll()
    assert not state.stacks
    assert "outside of the acquisition" in state.problems[0]


def test_plates_are_refused(tmp_path: Path) -> None:
    v3_group(tmp_path, plate={})
    with pytest.raises(StackUnreadableError, match="plate"):
        OmeZarrFormat().follow(tmp_path).poll()


def test_a_sequence_says_which_channels_have_one_plane(tmp_path: Path) -> None:
    channels = [{"config": "A", "exposure": 5}, {"config": "B", "do_stack": False}]
    v3_group(tmp_path, multiscales=multiscales())
    group = json.loads((tmp_path / "zarr.json").read_text())
    sequence = {"channels": channels, "stage_positions": [{"name": "cell"}]}
    group["attributes"]["pymmcore_plus"] = {"summary_metadata": {"mda_sequence": sequence}}
    group["attributes"]["ome_writers"] = {}
    write_json(tmp_path / "zarr.json", group)
    v3_array(tmp_path / "0", PLANE)
    skip = tuple((t, 1, z, 0, 0) for t in range(2) for z in (0, 2))
    write_chunks(tmp_path / "0", PLANE, skip=skip)
    follower = OmeZarrFormat().follow(tmp_path)
    state = follower.poll()
    assert state.ended is False
    assert state.info.exposure_ms == (5.0, None)
    assert state.info.position_names == ("cell",)
    for key, evidence in state.stacks.items():
        assert evidence.complete
        assert tuple(evidence.expected or ()) == ((1,) if key.channel else (0, 1, 2))
    group["attributes"]["ome_writers"] = {"frame_metadata": [{}] * 8}
    write_json(tmp_path / "zarr.json", group)
    assert follower.poll().ended is True


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [2, 2, 3, 5]},
        {"shape": "x"},
        {"shape": [10**9, 10**9, 3, 5, 6]},
        {"shape": [2, 2, 3, -5, 6]},
        {"data_type": "int64"},
        {"data_type": {"name": "x"}},
        {"chunk_grid": None},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0, 1, 1, 5, 6]}}},
        {
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [1, 1, 1, 10**6, 10**6]},
            }
        },
        {"chunk_key_encoding": {"name": "default", "configuration": {"separator": "x/../"}}},
        {"codecs": "none"},
    ],
)
def test_odd_arrays_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    v3_group(tmp_path, multiscales=multiscales())
    v3_array(tmp_path / "0", PLANE, **changes)
    state = OmeZarrFormat().follow(tmp_path).poll()
    assert not state.stacks
    assert len(state.problems) == 1


def test_an_array_that_grows_is_followed(tmp_path: Path) -> None:
    v3_group(tmp_path, multiscales=multiscales())
    for times in (1, 2):
        image = TRUTH[:times]
        v3_array(tmp_path / "0", PLANE, shape=image.shape)
        write_chunks(tmp_path / "0", PLANE, image=image)
        if times == 1:
            follower = OmeZarrFormat().follow(tmp_path)
        state = follower.poll()
        assert len(state.stacks) == 2 * times
        assert all(e.complete for e in state.stacks.values())


def test_a_series_that_leads_outside_is_left_out(tmp_path: Path) -> None:
    run = tmp_path / "run.zarr"
    ome = {"version": "0.5", "bioformats2raw.layout": 3}
    v3_group(run, **ome)
    v3_group(run / "OME", series=["../outside", "a"])
    for folder in (tmp_path / "outside", run / "a"):
        v3_group(folder, multiscales=multiscales("zyx"))
        v3_array(folder / "0", (1, 5, 6), shape=(3, 5, 6))
        write_chunks(folder / "0", (1, 5, 6), image=TRUTH[0, 0])
    state = OmeZarrFormat().follow(run).poll()
    assert set(state.stacks) == {StackIndex(1)}
    assert "outside of the acquisition" in state.problems[0]


def test_an_image_that_became_unusable_is_not_read_from_another(tmp_path: Path) -> None:
    ome = {"version": "0.5", "bioformats2raw.layout": 3}
    v3_group(tmp_path, **ome)
    for name in "01":
        v3_group(tmp_path / name, multiscales=multiscales("zyx"))
        v3_array(tmp_path / name / "0", (1, 5, 6), shape=(3, 5, 6))
        write_chunks(tmp_path / name / "0", (1, 5, 6), image=TRUTH[0, 0])
    follower = OmeZarrFormat().follow(tmp_path)
    assert len(follower.poll().stacks) == 2
    v3_array(tmp_path / "0" / "0", (1, 5, 6), shape=(3, 5, 6), data_type="complex128")
    assert len(follower.poll().stacks) == 1
    with pytest.raises(StackChangedError):
        follower.read(StackIndex(0))
    assert follower.read(StackIndex(1)).shape == (3, 5, 6)
