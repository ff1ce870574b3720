"""Frames that lie in one row: which is which plane, by the useq sequence beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live_restore.formats.zarr.ome_zarr import OmeZarrFormat
from live_restore.formats.zarr.useq_frames import frame_order
from live_restore.stack import StackIndex, VoxelSize
from tests.support.ome_zarr_files import (
    multiscales,
    v3_array,
    v3_group,
    write_json,
)


def test_frames_in_one_row_are_told_by_the_sequence(tmp_path: Path) -> None:
    """What pymmcore-plus writes where a channel has no z-stack; it tells the length at the end."""
    sequence = {
        "axis_order": ["t", "p", "c", "z"],
        "stage_positions": [{"x": 0}, {"x": 1, "name": "cell"}],
        "channels": [{"config": "A"}, {"config": "B", "do_stack": False}],
        "time_plan": {"interval": 1.5, "loops": 2},
        "z_plan": {"range": 1.0, "step": 0.5},
    }
    v3_group(tmp_path, multiscales=multiscales("tyx"))
    group = json.loads((tmp_path / "zarr.json").read_text())
    group["attributes"]["pymmcore_plus"] = {"summary_metadata": {"mda_sequence": sequence}}
    group["attributes"]["ome_writers"] = {}
    write_json(tmp_path / "zarr.json", group)
    v3_array(tmp_path / "0", (1, 5, 6), shape=(1, 5, 6))
    follower = OmeZarrFormat().follow(tmp_path)
    frames = np.random.default_rng(5).integers(1, 99, (16, 5, 6)).astype("u2")
    (tmp_path / "0" / "c").mkdir()
    for number, frame in enumerate(frames):
        assert len(follower.poll().stacks) == -(-number // 4) * 2 - (number % 4 in (1, 2, 3))
        path = tmp_path / "0" / "c" / str(number) / "0" / "0"
        path.parent.mkdir(parents=True)
        path.write_bytes(frame.tobytes())
    state = follower.poll()
    assert not state.problems
    assert all(e.complete for e in state.stacks.values())
    assert state.info.stacks_planned == len(state.stacks) == 8
    assert state.info.voxel == VoxelSize(0.5, 0.11, 0.1)
    assert state.info.time_increment_s == 1.5
    assert state.info.position_names == ("", "cell")
    key = StackIndex(1, 1, 0)
    np.testing.assert_array_equal(follower.read(key), frames[12:15])
    single = StackIndex(0, 1, 1)
    assert state.stacks[single].expected == (1,)
    np.testing.assert_array_equal(follower.read(single), frames[11:12])
    v3_array(tmp_path / "0", (1, 5, 6), shape=(16, 5, 6))
    group["attributes"]["ome_writers"] = {"frame_metadata": [{}] * 16}
    write_json(tmp_path / "zarr.json", group)
    assert follower.poll().ended


@pytest.mark.parametrize(
    ("plan", "slices"),
    [
        (None, 1),
        ({"bottom": 1, "top": 3, "step": 0.5}, 5),
        ({"below": 1, "above": 2, "step": 0.1}, 31),
        ({"absolute": [5, 7]}, 2),
        ({"unknown": 1}, None),
        ({"range": 1e9, "step": 1e-9}, None),
        (3, None),
    ],
)
def test_plans_for_z(plan: object, slices: int | None) -> None:
    order = frame_order({"axis_order": "tpcz", "z_plan": plan}, ())
    assert (order.plan.slices if order else None) == slices


@pytest.mark.parametrize(
    "odd",
    [
        {"grid_plan": {"rows": 2}},
        {"stage_positions": [{"sequence": {"z_plan": {}}}]},
        {"stage_positions": 3},
        {"axis_order": None},
        {"axis_order": "ttz"},
        {"time_plan": [{"loops": 3}]},
    ],
)
def test_sequences_that_are_not_understood_are_left_alone(odd: dict[str, Any]) -> None:
    assert frame_order({"axis_order": "tpcz", **odd}, ()) is None
