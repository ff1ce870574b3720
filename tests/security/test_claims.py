"""XML that wants more than to be read, and sizes that no file holds."""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from live_restore.errors import LiveRestoreError, StackUnreadableError
from live_restore.formats.file_format import Arriving, Complete
from live_restore.formats.micromanager.ndtiff import NdTiffFormat
from live_restore.formats.tiff.tiff_format import TiffFormat
from live_restore.formats.zarr.ome_zarr import OmeZarrFormat
from live_restore.testing.bounds import bounded
from tests.fuzz.mutate_tiff import replace_block, set_entry, survey
from tests.fuzz.mutate_xml import DOCTYPES
from tests.fuzz.seeds import OME, image
from tests.support.small_runs import ndtiff_run, zarr_run

TIFF = TiffFormat()
MILLION = 1_000_000


@pytest.mark.parametrize("use", [b"", b"&x;", b"&l9;"], ids=["unused", "external", "laughs"])
def test_xml_with_a_document_type_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: bytes
) -> None:
    """Entities that multiply, and those that are files or addresses: none is looked at.

    Seen to fail with ``xml.etree`` in the place of ``defusedxml``: ``&l9;`` fills the memory, a
    document type without entities passes.
    """

    def connect(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", connect)
    path = tmp_path / "cell.ome.tif"
    tifffile.imwrite(path, image(2, 2, 3, 9, 11), ome=True, photometric="minisblack", metadata=OME)
    data = path.read_bytes()
    where = survey(data)
    assert where is not None
    entry = next(e for e in where.entries if e.tag == 270)
    text = data[entry.value : entry.value + entry.count]
    head, _, rest = text.partition(b"?>")
    inside = rest.replace(b"<Image", use + b"<Image", 1)
    for doctype in DOCTYPES:
        path.write_bytes(replace_block(data, where, entry, head + b"?>" + doctype + inside, 2))
        with bounded(), pytest.raises(StackUnreadableError, match="OME-XML cannot be read"):
            TIFF.inspect(path)


def outcome(path: Path) -> object:
    """Return what is said of a file: a verdict, or the error in words."""
    try:
        return TIFF.inspect(path)
    except StackUnreadableError as error:
        return str(error)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "zstd"},
        {"compression": "lzw"},
        {"compression": "packbits"},
        {"compression": "zlib", "tile": (16, 16)},
        {"bigtiff": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("rows", [8, MILLION])
def test_ten_kilobytes_that_claim_a_million_by_a_million_pixels(
    tmp_path: Path, options: dict[str, Any], rows: int
) -> None:
    """Nothing of that size is made before it is refused, or found not to be there yet."""
    path = tmp_path / "small.tif"
    stack = image(3, 40, 40, dtype="uint8")
    tifffile.imwrite(path, stack, photometric="minisblack", metadata=None, **options)
    data = path.read_bytes()
    assert len(data) < 10_000
    where = survey(data)
    assert where is not None
    for entry in where.entries:
        if entry.tag in (256, 257, 278, 322, 323):
            value = rows if entry.tag == 278 else MILLION
            data = set_entry(data, where, entry, kind=4, count=1, value=value)
    path.write_bytes(data)
    with bounded(mib=2):
        said = outcome(path)
    told = isinstance(said, str) and ("claims" in said or "fewer bytes" in said)
    assert told or isinstance(said, Arriving)


def test_a_zarr_of_a_million_by_a_million_pixels(tmp_path: Path) -> None:
    for chunk in ([1, 1, 1, MILLION, MILLION], [1, 1, 1, 16384, 16384], [1, 1, 1, 1, 1]):
        run = tmp_path / str(len(list(tmp_path.iterdir())))
        run.mkdir()
        zarr_run(run)
        array = json.loads((run / "0" / "zarr.json").read_text())
        array["shape"] = [1, 1, 3, *chunk[-2:]]
        array["chunk_grid"]["configuration"]["chunk_shape"] = chunk
        array["codecs"] = [{"name": "bytes"}, {"name": "zstd"}]
        (run / "0" / "zarr.json").write_text(json.dumps(array))
        follower = OmeZarrFormat().follow(run)
        with bounded(mib=2):
            for key in follower.poll(over=True).stacks:
                with pytest.raises(LiveRestoreError):
                    follower.read(key)


def test_an_index_entry_of_a_million_by_a_million_pixels(tmp_path: Path) -> None:
    ndtiff_run(tmp_path)
    index = tmp_path / "NDTiff.index"
    data = bytearray(index.read_bytes())
    at = data.index(b".tif") + 4
    data[at + 4 : at + 12] = struct.pack("<II", MILLION, MILLION)
    index.write_bytes(data)
    with bounded(mib=16):
        state = NdTiffFormat().follow(tmp_path).poll(over=True)
    assert state.info.shape_yx == (4, 8)
    assert any("pixels" in problem for problem in state.problems)


def test_honest_files_of_high_compression_are_read(tmp_path: Path) -> None:
    """A mask shrinks a thousandfold; small ones may."""
    path = tmp_path / "mask.tif"
    mask = np.zeros((4, 1024, 1024), np.uint8)
    mask[:, 5, 7] = 255
    tifffile.imwrite(path, mask, photometric="minisblack", compression="zlib", metadata=None)
    found = TIFF.inspect(path)
    assert isinstance(found, Complete)
    with TIFF.open(found.file_stacks) as reader:
        assert (reader.read(found.file_stacks.indices()[0]) == mask).all()
