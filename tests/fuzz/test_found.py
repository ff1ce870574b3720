"""What mutated inputs, and reading the code as an attacker would, have found; mended since.

Each was seen to fail before: by hanging, by taking the memory that it says, or by an error that is
none of the project's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from live_restore.errors import (
    StackError,
    StackIncompleteError,
    StackRefusedError,
    StackUnreadableError,
)
from live_restore.files.values import NotJsonError, json_object
from live_restore.formats.acquisition_format import Planned
from live_restore.formats.file_format import Arriving, Complete
from live_restore.formats.micromanager.image_stack_file import MmStackFormat
from live_restore.formats.micromanager.metadata import parse_summary
from live_restore.formats.plan import IntendedPlan, Ledger
from live_restore.formats.tiff import ome_xml as tiff_ome
from live_restore.formats.tiff.tiff_format import TiffFormat
from live_restore.formats.zarr.ome_zarr import OmeZarrFormat
from live_restore.formats.zarr.useq_frames import frame_order
from live_restore.stack import StackIndex
from live_restore.testing.bounds import bounded
from tests.fuzz.mutate_tiff import set_entry, survey
from tests.support.mm_files import StackFile
from tests.support.small_runs import stack_run, zarr_run

TIFF = TiffFormat()


# Counts that metadata claim ---------------------------------------------------------------------


def test_a_summary_of_two_thousand_million_planes() -> None:
    """The plan listed every index that a stack is to have, at 76 bytes each."""
    plan = parse_summary({"IntendedDimensions": {"z": 2_000_000_000}}).plan
    ledger = Ledger()
    ledger.add(StackIndex(0, 0, 0), 0)
    with bounded(mib=1):
        (evidence,) = ledger.evidence(plan, False).values()
    assert evidence.planes_expected == 2_000_000_000
    assert plan.planes(StackIndex(0, 0, 0)) == Planned(2_000_000_000)


def test_a_sequence_of_two_million_frames() -> None:
    """It took 479 MiB and 33 s: a tuple for every frame, and one more to find it by."""
    sequence = {"axis_order": "tpcz", "time_plan": {"loops": 2_000_000, "interval": 0}}
    with bounded(mib=300):
        order = frame_order(sequence, ())
        assert order is not None
        assert order.frame(1_999_999) == (StackIndex(0, 1_999_999, 0), 0)
        assert order.number(StackIndex(0, 7, 0), 0) == 7


def test_a_chunk_that_claims_a_million_stacks(tmp_path: Path) -> None:
    """A file of 60 bytes began two million stacks, at 1.1 kB of memory each."""
    zarr_run(tmp_path)
    array = json.loads((tmp_path / "0" / "zarr.json").read_text())
    array["shape"] = array["chunk_grid"]["configuration"]["chunk_shape"] = [1_000_000, 1, 1, 1, 1]
    array["codecs"] = [{"name": "bytes"}, {"name": "zstd"}]
    (tmp_path / "0" / "zarr.json").write_text(json.dumps(array))
    with bounded():
        state = OmeZarrFormat().follow(tmp_path).poll(over=True)
    assert not state.stacks
    assert "claims a shape" in state.problems[0]


def test_a_time_point_of_two_thousand_million(tmp_path: Path) -> None:
    """As a growing OME-Zarr it took a set of as many numbers to say which are pending."""
    file = StackFile(tmp_path / "run_1_MMStack_Pos0.ome.tif", 1)
    file.plane(0, 0, 2_000_000_000, 0, value=1)
    file.plane(5000, 0, 0, 0, value=1)
    file.plane(0, 0, 1, 0, value=1)
    file.finish()
    state = MmStackFormat().follow(tmp_path).poll()
    assert list(state.stacks) == [StackIndex(0, 1, 0)]
    assert len(state.problems) == 2


def test_an_index_map_that_names_the_same_bytes_again_and_again(tmp_path: Path) -> None:
    """Every record of 20 bytes made a stack, whatever the size of the file."""
    file = StackFile(tmp_path / "run_1_MMStack_Pos0.ome.tif", 1)
    file.plane(0, 0, 0, 0, value=1)
    at = file.end - file.image_bytes
    with file.path.open("r+b") as stream:
        stream.seek(file.map_at + 8)
        for t in range(file.capacity):
            stream.write(struct.pack("<5I", 0, 0, t, 0, at))
        stream.truncate(file.end)
    state = MmStackFormat().follow(tmp_path).poll()
    assert len(state.stacks) < 200
    assert "overlap" in state.problems[0]


# TIFF -------------------------------------------------------------------------------------------


def tiff(path: Path, planes: int = 3, **options: Any) -> bytes:
    """Write a small TIFF and return it."""
    stack = np.arange(planes * 80, dtype=np.uint16).reshape(planes, 8, 10) + 1
    tifffile.imwrite(path, stack, **{"photometric": "minisblack", "metadata": None, **options})
    return path.read_bytes()


def one_directory(path: Path, description: bytes, side: int = 1) -> None:
    """Write a TIFF of one directory; its single strip begins where the description ends."""
    text_at = 8 + 2 + 10 * 12 + 4
    pixels_at = text_at + len(description)
    entries = [
        (256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (270, 2, len(description), text_at), (273, 4, 1, pixels_at), (277, 3, 1, 1),
        (278, 4, 1, side), (279, 4, 1, side * side),
    ]  # fmt: skip
    data = b"II*\0" + struct.pack("<IH", 8, len(entries))
    data += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    path.write_bytes(data + description + b"\1" * side * side)


def test_a_hole_of_a_terabyte_that_is_a_thousand_million_planes(tmp_path: Path) -> None:
    """One directory, ``images=999999999``, and 10^12 bytes that are nowhere."""
    path = tmp_path / "hole.tif"
    one_directory(path, b"ImageJ=1.54f\nimages=999999999\nslices=999999999\n\0")
    os.truncate(path, 10**12)
    with bounded(), pytest.raises(StackRefusedError, match="in one piece"):
        TIFF.inspect(path)


def test_a_hole_of_sixteen_terabytes_is_not_read_for_hours(tmp_path: Path) -> None:
    """A plane of zeros that is not on the disk has nothing that could be read."""
    path = tmp_path / "hole.tif"
    one_directory(path, b"ImageJ=1.54f\nimages=4\nslices=4\n\0", side=1000)
    content = bytearray(path.read_bytes())
    side = 2_000_000
    for tag, value in ((256, side), (257, side), (278, side)):
        entry = content.index(struct.pack("<HH", tag, 4))
        content[entry + 8 : entry + 12] = struct.pack("<I", value)
    entry = content.index(struct.pack("<HH", 279, 4))
    content[entry + 8 : entry + 12] = struct.pack("<I", 0)
    path.write_bytes(content[:-1_000_000])
    # BigTIFF would be needed for a strip so long; without byte counts the plane's size holds.
    content = bytearray(path.read_bytes())
    content[entry : entry + 2] = struct.pack("<H", 65000)
    path.write_bytes(content)
    try:
        os.truncate(path, 200 + 4 * side * side)
    except OSError:
        pytest.skip("this file system has no files of 16 TB")
    with bounded():
        found = TIFF.inspect(path)
    assert isinstance(found, Complete)
    assert found.blank_planes == (0, 1, 2, 3)
    too_much = pytest.raises(StackError, match=r"than this computer has|more than is free")
    with bounded(), TIFF.open(found.file_stacks) as reader, too_much:
        reader.read(found.file_stacks.indices()[0])


def test_a_strip_of_two_gigabytes_that_is_a_hole(tmp_path: Path) -> None:
    """All that a compressed strip claims was read before any of it was unpacked."""
    path = tmp_path / "hole.tif"
    data = tiff(path, compression="zlib")
    where = survey(data)
    assert where is not None
    for entry in where.entries:
        if entry.tag == 279:
            data = set_entry(data, where, entry, kind=4, count=1, value=2**31)
    path.write_bytes(data)
    os.truncate(path, 2**33)
    with bounded():
        found = TIFF.inspect(path)
        assert isinstance(found, Complete)
        with TIFF.open(found.file_stacks) as reader:
            assert reader.read(found.file_stacks.indices()[0]).any()


def test_a_plane_without_byte_counts_that_is_larger_than_numbers_are(tmp_path: Path) -> None:
    """``OverflowError``: 2^62 by 2^62 pixels, in a BigTIFF that leaves out how many bytes."""
    path = tmp_path / "big.tif"
    data = tiff(path, bigtiff=True)
    where = survey(data)
    assert where is not None
    for entry in where.entries:
        if entry.tag in (256, 257, 278):
            data = set_entry(data, where, entry, kind=16, count=1, value=2**62)
        elif entry.tag == 279:
            data = set_entry(data, where, entry, tag=65000)
    path.write_bytes(data)
    with pytest.raises(StackUnreadableError, match="claims 4611686018427387904 x"):
        TIFF.inspect(path)


@pytest.mark.parametrize("tag", [258, 273, 279])
def test_every_directory_points_to_one_long_list(tmp_path: Path, tag: int) -> None:
    """A list of eight million numbers was read anew for each of the planes."""
    path = tmp_path / "list.tif"
    data = bytearray(tiff(path, planes=60))
    at = len(data)
    entry = -1
    while (entry := data.find(struct.pack("<H", tag), entry + 1)) >= 0:
        if (
            data[entry + 2 : entry + 4] in (b"\3\0", b"\4\0")
            and data[entry + 4 : entry + 8] == b"\1\0\0\0"
        ):
            data[entry : entry + 12] = struct.pack("<HHII", tag, 4, 8_000_000, at)
    path.write_bytes(data)
    os.truncate(path, at + 4 * 8_000_000)
    with bounded(), contextlib.suppress(StackUnreadableError):
        assert isinstance(TIFF.inspect(path), Arriving)


def test_a_few_kilobytes_do_not_ask_for_a_gigabyte(tmp_path: Path) -> None:
    """What zstd can shrink zeros to (33,000-fold) was believed: 30 kB could ask for 1 GB."""
    path = tmp_path / "zeros.tif"
    plane = np.zeros((16384, 16384), np.uint8)
    plane[::4096] = 1
    tifffile.imwrite(path, (plane for _ in range(3)), shape=(3, *plane.shape), dtype=np.uint8,
                     photometric="minisblack", compression="zstd", metadata=None)  # fmt: skip
    assert path.stat().st_size < 2_000_000
    with bounded(), pytest.raises(StackUnreadableError, match="claim to hold images of"):
        TIFF.inspect(path)


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("<Image/>" * 500_000, "more than 1,000 elements"),
        ("<a>" * 1_000_000, "nests deeper than 64"),
        ("<Image><Pixels>" + "<TiffData/>" * 500_000, "more than 1,000 elements"),
    ],
    ids=["images", "depth", "blocks"],
)
def test_xml_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str, said: str
) -> None:
    """A description became fifty times its size in objects; it may have 32 MB."""
    assert tiff_ome.MAX_ELEMENTS == 400_000
    monkeypatch.setattr(tiff_ome, "MAX_ELEMENTS", 1000)
    path = tmp_path / "ome.tif"
    one_directory(path, f"<OME>{inside}</OME>\0".encode(), side=8)
    with bounded(), pytest.raises(StackUnreadableError, match=said):
        TIFF.inspect(path)


def test_a_name_of_a_megabyte_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "cell.ome.tif"
    name = "x" * 1_000_000
    tiff(path, ome=True, metadata={"axes": "ZYX", "Channel": {"Name": name}, "Name": name})
    found = TIFF.inspect(path)
    assert isinstance(found, Complete)
    assert found.file_stacks.channel_names == ("x" * 200,)
    assert found.file_stacks.position_names == ("x" * 200,)


def test_planes_that_became_zeros_since_they_were_found(tmp_path: Path) -> None:
    """A file that was replaced was read where its planes had been: zeros, as if they were data."""
    run = tmp_path / "run_1"
    run.mkdir()
    stack_run(run)
    follower = MmStackFormat().follow(run)
    (first, *_) = follower.poll().stacks
    path = next(run.iterdir())
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(StackIncompleteError, match="nothing but zeros"):
        follower.read(first)


# JSON -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["[" * 201 + "]" * 201, '{"a":' * 300 + "1" + "}" * 300, '{"a": [' + "{}," * 1_100_000 + "1]}"],
    ids=["lists", "objects", "parts"],
)
def test_json_that_nests_or_has_parts_without_end(text: str) -> None:
    """It nested as deep as the interpreter allows; small objects took 27 times their text."""
    with bounded(mib=100), pytest.raises(NotJsonError):
        json_object(text)


def test_intended_dimensions_do_not_copy_their_indices() -> None:
    assert IntendedPlan(2**31 - 1).planes(StackIndex(0, 0, 0)) == Planned(2**31 - 1)
    assert Planned(2**31 - 1).indices == range(2**31 - 1)


@pytest.mark.parametrize("path", ["\ud800", "x" * 300, "a\0b", "../x", "C:\\x", "/x"], ids=ascii)
def test_an_array_at_a_path_that_cannot_be(tmp_path: Path, path: str) -> None:
    """``UnicodeEncodeError`` for half a character, ``OSError`` for a name without end."""
    zarr_run(tmp_path)
    group = json.loads((tmp_path / "zarr.json").read_text())
    group["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = path
    (tmp_path / "zarr.json").write_text(json.dumps(group))
    state = OmeZarrFormat().follow(tmp_path).poll(over=True)
    assert not state.stacks
    assert "path" in state.problems[0]
