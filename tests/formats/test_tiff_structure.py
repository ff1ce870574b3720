"""The walk over a TIFF's structure, against files made by hand to mislead it."""

from __future__ import annotations

import contextlib
import functools
import io
import struct
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from live_restore.errors import LiveRestoreError, StackUnreadableError
from live_restore.formats.file_format import Arriving, Complete
from live_restore.formats.tiff.page import Structure
from live_restore.formats.tiff.structure import walk
from live_restore.formats.tiff.tiff_format import TiffFormat
from tests.support.tiffs import BY_NAME, CASES, pixels, written

PATH = Path("x.tif")
SHORT, LONG = 3, 4


def look(data: bytes) -> Structure:
    return walk(io.BytesIO(data), len(data), PATH)


def entry(code: int, value: int, kind: int = LONG, count: int = 1) -> bytes:
    return struct.pack("<HHII", code, kind, count, value)


def directory(entries: list[bytes], following: int = 0) -> bytes:
    return struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", following)


def one_page(following: int = 0, size: int = 4096, **changed: int) -> bytes:
    """Return a file of one 8 x 8 uint16 plane at byte 1024, with some tags changed."""
    tags = {"width": 256, "height": 257, "bits": 258, "compression": 259, "offset": 273,
            "samples": 277, "rows": 278, "count": 279}  # fmt: skip
    values = {"width": 8, "height": 8, "bits": 16, "compression": 1, "offset": 1024,
              "samples": 1, "rows": 8, "count": 128} | changed  # fmt: skip
    entries = [entry(tags[name], value) for name, value in values.items()]
    data = b"II*\0" + struct.pack("<I", 8) + directory(entries, following)
    return data.ljust(size, b"\x07")


def test_a_whole_page() -> None:
    found = look(one_page())
    assert not found.missing
    (page,) = found.pages
    assert (page.height, page.width, page.bits, page.plane_bytes) == (8, 8, 16, 128)
    assert page.contiguous


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"I", "header"),
        (b"II*\0\x08\0", "header"),
        (b"II+\0\x08\0\0\0\x10", "header"),
        (bytes(5000), "header has not been written"),
        (b"II*\0" + bytes(40), "first directory"),
        (b"II*\0" + struct.pack("<I", 10**9), "beyond the end"),
        (b"II*\0" + struct.pack("<I", 8) + bytes(100), "not been written"),
        (one_page(size=1100), "not all there"),
        (one_page(following=9000), "beyond the end"),
        (one_page(offset=0), "not been written"),
        (one_page(count=0), "not been written"),
        (one_page(height=0), "no size"),
    ],
)
def test_what_more_bytes_could_mend(data: bytes, reason: str) -> None:
    assert reason in look(data).missing


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"hello world", "not a TIFF"),
        (b"\x89PNG\r\n\x1a\n", "not a TIFF"),
        (b"II+\0" + struct.pack("<HHQ", 4, 0, 16), "BigTIFF header"),
        (one_page(following=8), "loop"),
        (one_page(following=4), "inside the header"),
        (one_page(count=100), "fewer bytes"),
        (one_page(bits=300), "samples of"),
        (one_page(samples=0), "samples of"),
        (one_page(rows=0), "without a size"),
        (one_page(rows=1), "names 1 of its 8"),
        (one_page(width=10**6, height=10**6, rows=10**6, compression=8), "claims"),
        (one_page(width=10**6, height=10**6, rows=10**6, compression=50000), "claims"),
        (one_page(width=10**6, height=10**6, rows=1, compression=8), "claims"),
        (one_page(width=2**32 - 1, height=2**32 - 1, rows=2**32 - 1), "fewer bytes"),
        (b"II*\0" + struct.pack("<IH", 8, 65535) + bytes(5000), "65535 entries"),
    ],
)
def test_what_nothing_could_mend(data: bytes, reason: str) -> None:
    with pytest.raises(StackUnreadableError, match=reason):
        look(data)


def test_a_tile_far_larger_than_its_plane_is_refused(tmp_path: Path) -> None:
    """Decoders get a buffer of the tile's size: 2 GB here."""
    path = written(BY_NAME["deflate_tiles"], tmp_path)
    changed = path.read_bytes()
    for code in (322, 323):
        for kind in (SHORT, LONG):
            changed = changed.replace(entry(code, 16, kind), entry(code, 2**15))
    assert changed != path.read_bytes()
    with pytest.raises(StackUnreadableError, match=r"plane 1 claims"):
        look(changed)


def test_planes_that_share_their_bytes_are_refused() -> None:
    """A small file must not stand for a large stack."""
    data = bytearray(b"II*\0" + struct.pack("<I", 8))
    for number in range(40):
        values = {256: 32, 257: 32, 258: 16, 259: 1, 273: 100, 277: 1, 278: 32, 279: 2048}
        at = len(data) + 2 + 12 * len(values) + 4
        entries = [entry(code, value) for code, value in values.items()]
        data += directory(entries, at if number < 39 else 0)
    with pytest.raises(StackUnreadableError, match="overlap"):
        look(bytes(data))


def test_overlapping_directories_cost_no_more_than_the_file() -> None:
    """Each directory of 4,096 entries starts 12 bytes behind the one before."""
    size = 2**20
    data = bytearray((entry(256, 8) * (size // 12 + 1))[:size])
    data[:8] = b"II*\0" + struct.pack("<I", 8)
    data[8:10] = struct.pack("<H", 4096)
    started = time.perf_counter()
    with contextlib.suppress(LiveRestoreError):
        look(bytes(data))
    assert time.perf_counter() - started < 2


def test_small_files_with_large_claims_cost_little(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tif"
    tracemalloc.start()
    try:
        for compression in (1, 5, 8, 32773, 50000, 34712):
            path.write_bytes(
                one_page(width=10**6, height=10**6, rows=10**6, compression=compression, size=10240)
            )
            with pytest.raises(LiveRestoreError):
                TiffFormat().inspect(path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_walk_agrees_with_tifffile(case: object, tmp_path: Path) -> None:
    path = written(case, tmp_path)  # type: ignore[arg-type]
    with path.open("rb") as stream:
        found = walk(stream, path.stat().st_size, path)
    with tifffile.TiffFile(path, _multifile=False) as tiff:
        assert len(found.pages) == len(tiff.pages)
        for ours, theirs in zip(found.pages, tiff.pages, strict=True):
            assert (ours.height, ours.width) == theirs.shape
            assert tuple(ours.offsets) == tuple(theirs.dataoffsets)


MUTATED = [
    "plain",
    "plain_bigtiff",
    "plain_tiles",
    "deflate_tiles",
    "lzw_strips",
    "zstd_be",
    "imagej_tzcyx",
    "imagej_one_ifd",
    "shaped_tczyx",
    "ome_tzcyx",
    "float_predictor",
]


@functools.cache
def original(name: str) -> tuple[bytes, list[int]]:
    """Return a file's bytes, and the places of its structure (everything but pixels)."""
    with tempfile.TemporaryDirectory() as folder:
        path = written(BY_NAME[name], Path(folder))
        data = path.read_bytes()
    structural = np.ones(len(data), bool)
    for page in look(data).pages:
        for offset, count in zip(page.offsets, page.counts, strict=True):
            structural[offset : offset + count] = False
    return data, np.flatnonzero(structural).tolist()


@settings(
    max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(MUTATED),
    changes=st.lists(
        st.tuples(st.integers(0, 10**6), st.one_of(st.integers(0, 255), st.just(0), st.just(255))),
        min_size=1,
        max_size=8,
    ),
    anywhere=st.booleans(),
)
def test_mutated_files_end_in_one_of_our_errors(
    name: str,
    changes: list[tuple[int, int]],
    anywhere: bool,
    tmp_path: Path,
) -> None:
    data, structural = original(name)
    changed = bytearray(data)
    for place, value in changes:
        changed[place % len(data) if anywhere else structural[place % len(structural)]] = value
    path = tmp_path / ("m.ome.tif" if name.startswith("ome") else "m.tif")
    path.write_bytes(changed)
    tiff = TiffFormat()
    started = time.process_time()
    message = ""
    try:
        found = tiff.inspect(path)
        assert found is None or isinstance(found, (Arriving, Complete))
        if isinstance(found, Complete):
            dataset = found.file_stacks
            assert dataset.stack_voxels * dataset.stack_count < 40000 * len(data)
            with tiff.open(dataset) as reader:
                for key in dataset.indices():
                    volume = reader.read(key)
                    assert volume.shape == dataset.shape_zyx
                    assert volume.dtype == dataset.dtype
    except LiveRestoreError as error:
        message = str(error)
    assert "\n" not in message
    assert time.process_time() - started < 5


def test_a_reader_of_many_planes_stays_quick(tmp_path: Path) -> None:
    path = tmp_path / "many.tif"
    tifffile.imwrite(path, np.tile(pixels("Z", (10,))[:, :4, :4], (300, 1, 1)), metadata=None,
                     photometric="minisblack")  # fmt: skip
    started = time.process_time()
    found = TiffFormat().inspect(path)
    assert isinstance(found, Complete)
    assert found.file_stacks.shape_zyx == (3000, 4, 4)
    assert time.process_time() - started < 3
