"""Planes that nobody saves: whole stacks appear, the rest does not, and the disk stays bounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from live_restore.errors import OutputError
from live_restore.formats.plan import ChannelPlan, SettingsPlan
from live_restore.hooks.spool import Spool
from live_restore.stack import StackIndex

A, B = StackIndex(0, 0, 0), StackIndex(0, 0, 1)
PLAN = SettingsPlan(3, (ChannelPlan(), ChannelPlan(z_stack=False)))


def plane(value: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    return np.full((4, 6), value, np.uint16)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_stack_appears_with_its_last_plane_whatever_their_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path, PLAN)
    spool.add(A, 2, plane(30))
    spool.add(B, 1, plane(5))
    spool.add(A, 0, plane(10))
    assert names(tmp_path) == [".p000_t0000_c00.part"], "a stack in pieces has a name to be found"
    spool.add(A, 1, plane(20))
    assert names(tmp_path) == ["p000_t0000_c00.ome.tif"]
    assert tifffile.imread(tmp_path / "p000_t0000_c00.ome.tif")[:, 0, 0].tolist() == [10, 20, 30]
    assert spool.finish() == ["channel 1 has no z-stack"]


def test_without_a_plan_the_next_stack_closes_one_and_the_end_judges_the_last(
    tmp_path: Path,
) -> None:
    spool = Spool(tmp_path)
    for time in (0, 1):
        for z in range(3):
            spool.add(StackIndex(0, time, 0), z, plane(z + 1))
    assert spool.stacks == 1
    assert spool.finish() == []
    assert spool.stacks == 2


def test_an_unfinished_stack_is_counted_and_leaves_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, PLAN)
    spool.add(A, 0, plane(1))
    spool.add(A, 1, plane(0))
    assert spool.finish() == ["1 incomplete stack(s)"]
    assert names(tmp_path) == []


def test_the_disk_stays_bounded(tmp_path: Path) -> None:
    spool = Spool(tmp_path, PLAN, limit_bytes=2 * plane(0).nbytes)
    for z in range(3):
        spool.add(A, z, plane(1))
    incomplete, no_room = spool.finish()
    assert incomplete == "1 incomplete stack(s)"
    assert no_room.startswith("1 plane(s) for which there was no room")


def test_a_channel_without_z_stack_is_named_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path, PLAN, channel_names=("DAPI", "BF"))
    for time in range(3):
        for z in range(3):
            spool.add(StackIndex(0, time, 0), z, plane(z + 1))
        spool.add(StackIndex(0, time, 1), 0, plane(7))
    assert spool.finish() == ['channel 1 "BF" has no z-stack']
    assert len(names(tmp_path)) == 3


def test_planes_that_do_not_belong_together(tmp_path: Path) -> None:
    spool = Spool(tmp_path, PLAN)
    spool.add(A, 0, plane(1))
    with pytest.raises(OutputError, match="differ in shape or type"):
        spool.add(A, 1, plane(1).astype(np.uint8))
