"""Memory that is used again: only once nobody has it any more, and not without end."""

from __future__ import annotations

import math
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from live_restore.files import raw_data, recycled
from live_restore.files.raw_data import new_volume
from live_restore.files.recycled import empty_volume

SHAPE, DTYPE = (4, 64, 65), np.dtype(np.uint16)


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recycled, "_free", deque())


def address(volume: np.ndarray) -> int:
    return int(volume.__array_interface__["data"][0])


def test_the_next_stack_gets_the_memory_of_one_that_is_gone() -> None:
    first = empty_volume(SHAPE, DTYPE)
    first[:] = 7
    assert (first.shape, first.dtype, first.flags.c_contiguous) == (SHAPE, DTYPE, True)
    where = address(first)
    del first
    assert address(empty_volume(SHAPE, DTYPE)) == where


def test_a_stack_keeps_its_memory_as_long_as_any_part_of_it_is_looked_at() -> None:
    first = empty_volume(SHAPE, DTYPE)
    first[:] = 7
    part = np.ascontiguousarray(first)[1].reshape(-1)[5:9].view(np.int16)
    data = memoryview(first[0])
    del first
    empty_volume(SHAPE, DTYPE)[:] = 9
    assert part.tolist() == [7] * 4
    assert data[0, 0] == 7


def test_memory_of_another_size_is_given_up() -> None:
    empty_volume(SHAPE, DTYPE)
    assert len(recycled._free) == 1
    other = empty_volume((3, 5, 7), np.dtype(np.float32))
    other[:] = np.inf
    assert not recycled._free


def test_no_more_waits_than_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    volumes = [empty_volume(SHAPE, DTYPE) for _ in range(5)]
    monkeypatch.setattr(recycled, "_MOST_BYTES", 2 * volumes[0].nbytes + 1)
    volumes.clear()
    assert len(recycled._free) == 2


def test_what_waits_is_counted_in_bytes_whatever_the_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recycled, "_MOST_BYTES", 1000)
    large = [empty_volume((450,), np.dtype(np.uint8)) for _ in range(2)]
    small = [empty_volume((10,), np.dtype(np.uint8)) for _ in range(30)]
    large.clear()
    small.clear()
    assert sum(each.nbytes for each in recycled._free) == 1000


def test_what_waits_does_not_keep_a_stack_out(monkeypatch: pytest.MonkeyPatch) -> None:
    total = 10 * math.prod(SHAPE) * DTYPE.itemsize

    def virtual_memory() -> SimpleNamespace:
        waiting = sum(each.nbytes for each in recycled._free)
        return SimpleNamespace(total=total, available=total - waiting)

    monkeypatch.setattr(raw_data, "_ALWAYS_FITS", 0)
    monkeypatch.setattr(raw_data.psutil, "virtual_memory", virtual_memory)
    several = [empty_volume(SHAPE, DTYPE) for _ in range(3)]
    several.clear()
    whole = new_volume((10, *SHAPE), DTYPE, Path("large.tif"))  # needs what waited, too
    assert whole.nbytes == total
    del whole
    monkeypatch.setattr(raw_data.psutil, "virtual_memory", lambda: None)
    assert new_volume((10, *SHAPE), DTYPE, Path("next.tif")).nbytes == total  # nobody is asked
