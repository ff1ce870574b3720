"""Separate image files: folders per position, old names, and what only looks like a run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from live_restore.errors import StackIncompleteError
from live_restore.formats.micromanager.separate_images import MmSeriesFormat
from live_restore.formats.table import acquisition_format_for, make_acquisition_formats
from live_restore.stack import StackIndex, VoxelSize

SUMMARY = {
    "Slices": 3,
    "Frames": 2,
    "Channels": 2,
    "Positions": 1,
    "ChNames": ["DAPI", "FITC"],
    "z-step_um": -0.5,
    "Interval_ms": 1500,
}
IMAGE = {"PixelSizeUm": 0.2, "Exposure-ms": 30, "ChannelIndex": 0, "SliceIndex": 0}


def new_name(p: int, t: int, c: int, z: int) -> str:
    return f"img_channel{c:03}_position{p:03}_time{t:09}_z{z:03}.tif"


def write_plane(folder: Path, name: str, value: int = 7, dtype: str = "u2", **options: Any) -> Path:
    path = folder / name
    image = np.full((5, 6), value, dtype)
    tifffile.imwrite(path, image, photometric="minisblack", metadata=None, **options)
    return path


def write_metadata(
    folder: Path,
    summary: dict[str, Any] = SUMMARY,
    image: dict[str, Any] = IMAGE,
    end: bool = False,
) -> None:
    text = '{\n"Summary": ' + json.dumps(summary, indent=2)
    text += f',\n"Coords-{folder.name}/img.tif": {{\n  "Frame": 0\n}}'
    text += ',\n"Metadata-img.tif": ' + json.dumps(image, indent=2)
    (folder / "metadata.txt").write_text(text + ("\n}\n" if end else ""))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run_1"
    folder.mkdir()
    return folder


def key(position: int = 0, time: int = 0, channel: int = 0) -> StackIndex:
    return StackIndex(position, time, channel)


def test_without_a_position_list(run: Path) -> None:
    write_metadata(run)
    follower = MmSeriesFormat().follow(run)
    for z in range(3):
        write_plane(run, new_name(0, 0, 1, z), value=z + 1)
        assert follower.poll().stacks[key(channel=1)].complete == (z == 2)
    state = follower.poll()
    assert state.ended is False
    assert state.info.voxel == VoxelSize(0.5, 0.2, 0.2)
    assert state.info.time_increment_s == 1.5
    assert state.info.exposure_ms == (30.0,)
    assert [plane[0, 0] for plane in follower.read(key(channel=1))] == [1, 2, 3]
    write_metadata(run, end=True)
    assert follower.poll().ended is True


def test_a_file_counts_when_it_is_whole(run: Path) -> None:
    write_metadata(run, {**SUMMARY, "Slices": 1})
    path = write_plane(run, new_name(0, 0, 0, 0), byteorder=">")
    whole = path.read_bytes()
    follower = MmSeriesFormat().follow(run)
    for upto in range(len(whole)):
        path.write_bytes(whole[:upto])
        assert not follower.poll().stacks, upto
    path.write_bytes(whole)
    state = follower.poll()
    assert state.stacks[key()].complete
    assert not state.problems
    np.testing.assert_array_equal(follower.read(key()), np.full((1, 5, 6), 7, np.uint16))


def test_names_of_micro_manager_1_4(run: Path) -> None:
    positions = [{"Label": "B"}, {"Label": "A"}]
    summary = {**SUMMARY, "Positions": 2, "InitialPositionList": positions}
    for label in "AB":
        folder = run / label
        folder.mkdir()
        write_metadata(folder, summary, end=True)
        for z in range(3):
            value = 10 * "AB".index(label) + z + 1
            write_plane(folder, f"img_000000001_FITC_{z:03}.tif", value=value)
    follower = MmSeriesFormat().follow(run)
    state = follower.poll()
    assert set(state.stacks) == {key(0, 1, 1), key(1, 1, 1)}
    assert all(e.complete for e in state.stacks.values())
    assert state.info.position_names == ("B", "A")
    assert follower.read(key(1, 1, 1))[0, 0, 0] == 1
    assert follower.read(key(0, 1, 1))[0, 0, 0] == 11
    assert state.ended


def test_runs_beside_each_other_are_no_positions(tmp_path: Path) -> None:
    formats = make_acquisition_formats()
    for name in ("run_1", "run_2"):
        folder = tmp_path / name
        folder.mkdir()
        write_metadata(folder)
        write_plane(folder, new_name(0, 0, 0, 0))
    text = (tmp_path / "run_1" / "metadata.txt").read_text()
    (tmp_path / "run_1" / "metadata.txt").write_text(text.replace("Coords-run_1/", "Coords-"))
    (tmp_path / "run_2" / "metadata.txt").write_text(text.replace("Coords-run_1/", "Coords-"))
    assert acquisition_format_for(tmp_path, formats) is None
    found = acquisition_format_for(tmp_path / "run_1", formats)
    assert found is not None
    assert found.name == "mm-series"


def test_a_position_is_no_run(run: Path) -> None:
    formats = make_acquisition_formats()
    position = run / "Pos0"
    position.mkdir()
    assert acquisition_format_for(run, formats) is None
    write_metadata(position, {**SUMMARY, "StagePositions": [{"Label": "Pos0"}]})
    found = acquisition_format_for(run, formats)
    assert found is not None
    assert found.name == "mm-series"
    assert acquisition_format_for(position, formats) is None


def test_a_run_that_was_aborted(run: Path) -> None:
    write_metadata(run, end=True)
    for z in range(2):
        write_plane(run, new_name(0, 0, 0, z))
    follower = MmSeriesFormat().follow(run)
    evidence = follower.poll().stacks[key()]
    assert evidence.partial
    assert evidence.reason == "2 of 3 planes"
    assert follower.read(key()).shape == (2, 5, 6)


def test_gaps_and_blank_planes_are_not_read(run: Path) -> None:
    write_metadata(run, end=True)
    for z in (0, 2):
        write_plane(run, new_name(0, 0, 0, z))
        write_plane(run, new_name(0, 0, 1, z), value=z)
    write_plane(run, new_name(0, 0, 1, 1))
    follower = MmSeriesFormat().follow(run)
    assert follower.poll().stacks[key(channel=1)].blank == (0,)
    with pytest.raises(StackIncompleteError, match="missing between"):
        follower.read(key())
    with pytest.raises(StackIncompleteError, match="zeros"):
        follower.read(key(channel=1))
    with pytest.raises(StackIncompleteError, match="no plane"):
        follower.read(key(time=5))


def test_odd_files_are_left_out_by_name(run: Path) -> None:
    write_metadata(run)
    write_plane(run, new_name(0, 0, 0, 0), compression="zlib")
    tifffile.imwrite(run / new_name(0, 0, 0, 1), np.ones((2, 5, 6), "u2"), photometric="minisblack")
    tifffile.imwrite(run / new_name(0, 0, 0, 2), np.ones((5, 6, 3), "u1"), photometric="rgb")
    (run / new_name(0, 0, 1, 0)).write_bytes(b"GIF89a" * 9)
    write_plane(run, new_name(0, 1, 0, 0), dtype="i4")
    write_plane(run, new_name(0, 1, 0, 1))
    (run / "img_notes.tif").write_bytes(b"")
    state = MmSeriesFormat().follow(run).poll()
    assert state.stacks[key(time=1)].present == (1,)
    assert len(state.problems) == 5


def test_a_hostile_summary_is_only_labels(run: Path) -> None:
    summary = {**SUMMARY, "StagePositions": [{"Label": "../../x"}, 3, {"Label": ["y"]}]}
    write_metadata(run, {**summary, "ChNames": ["../../y", 5, None]})
    write_plane(run, new_name(0, 0, 0, 0))
    info = MmSeriesFormat().follow(run).poll().info
    assert info.position_names == ("../../x", "", "")
    assert info.channel_names == ("../../y", "", "")


def test_a_locked_file_is_tried_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Windows says while the writer holds a file for itself alone."""
    write_metadata(run)
    for z in range(3):
        write_plane(run, new_name(0, 0, 0, z))
    follower = MmSeriesFormat().follow(run)
    opens = os.open

    def refuse(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith("z001.tif"):
            raise PermissionError(13, "used by another process", str(path))
        return opens(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    assert follower.poll().stacks[key()].present == (0, 2)
    monkeypatch.undo()
    state = follower.poll()
    assert state.stacks[key()].complete
    assert not state.problems
