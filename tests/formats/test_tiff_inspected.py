"""What has just been inspected is not walked through again; what may be another file by now is."""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from live_restore.formats.file_format import Complete
from live_restore.formats.tiff import tiff_format
from live_restore.formats.tiff.tiff_format import TiffFormat
from live_restore.stack import FileStacks, StackIndex

LONG_AGO_NS = 1_700_000_000 * 10**9
STACK = np.arange(3 * 8 * 8, dtype=np.uint16).reshape(3, 8, 8) + 1


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Return a list that gets an item for each walk."""
    made: list[None] = []
    walk = tiff_format.go_on

    def counted(*args: object) -> object:
        made.append(None)
        return walk(*args)

    monkeypatch.setattr(tiff_format, "go_on", counted)
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "cell.tif"
    written(path, STACK)
    return path


def written(path: Path, stack: np.ndarray) -> None:
    """Write in place a file at rest, one directory per plane."""
    made = io.BytesIO()
    tifffile.imwrite(made, stack, ome=True, metadata={"axes": "ZYX"}, contiguous=False)
    path.write_bytes(made.getvalue())
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))


def inspected(format_: TiffFormat, path: Path) -> FileStacks:
    evidence = format_.inspect(path)
    assert isinstance(evidence, Complete)
    return evidence.file_stacks


def read(format_: TiffFormat, found: FileStacks) -> np.ndarray:
    with format_.open(found) as reader:
        return reader.read(StackIndex(0, 0, 0))


def on_a_disk(path: Path) -> bool:
    return sys.platform == "linux" and os.major(path.stat().st_dev) != 0


def test_what_was_inspected_is_walked_through_once(path: Path, walks: list[None]) -> None:
    if not on_a_disk(path):
        pytest.skip("only of disks of this computer, under Linux, is it known who dates files")
    format_ = TiffFormat()
    found = inspected(format_, path)
    assert np.array_equal(read(format_, found), STACK)
    assert len(walks) == 1
    read(format_, found)  # and not believed for longer than that
    assert len(walks) == 2


def test_dates_of_servers_prove_nothing(
    path: Path, walks: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "major", lambda _: 0, raising=False)  # what has no device of its own
    format_ = TiffFormat()
    read(format_, inspected(format_, path))
    assert len(walks) == 2


@pytest.mark.parametrize("unit_ns", [1, 10**9])
def test_of_what_was_written_just_now_the_clock_proves_nothing(
    path: Path, walks: list[None], unit_ns: int
) -> None:
    written_ns = time.time_ns() // unit_ns * unit_ns  # FAT keeps whole seconds
    os.utime(path, ns=(written_ns, written_ns))
    format_ = TiffFormat()
    read(format_, inspected(format_, path))
    assert len(walks) == 2


@pytest.mark.skipif(os.name != "posix", reason="elsewhere no time of change is kept")
def test_a_change_that_hides_its_date_is_seen(path: Path, walks: list[None]) -> None:
    format_ = TiffFormat()
    found = inspected(format_, path)
    time.sleep(0.02)  # the clock of file systems ticks every 4 ms
    written(path, STACK[::-1])
    assert np.array_equal(read(format_, found), STACK[::-1])
    assert len(walks) == 2


def test_of_another_file_nothing_is_known(path: Path, walks: list[None], tmp_path: Path) -> None:
    other = tmp_path / "other.tif"
    written(other, STACK[::-1])
    format_ = TiffFormat()
    found = inspected(format_, path)
    inspected(format_, other)
    assert np.array_equal(read(format_, found), STACK)
    assert len(walks) == 3
