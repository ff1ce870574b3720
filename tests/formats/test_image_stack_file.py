"""Image stack files of real microscopes, and of runs that went wrong."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from live_restore.errors import StackChangedError, StackIncompleteError, StackUnreadableError
from live_restore.formats.micromanager.image_stack_file import MmStackFormat
from live_restore.stack import StackIndex, VoxelSize
from tests.support.mm_files import StackFile
from tests.support.small_runs import stack_run


def unpacked(shared_data: Path, folder: Path) -> Path:
    source = shared_data / "micromanager" / "mmstack_1.4"
    if not source.is_dir():
        pytest.skip(f"no Micro-Manager 1.4 data in {source}")
    for packed in source.glob("*.gz"):
        (folder / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    return folder


def test_micro_manager_1_4_with_four_positions(shared_data: Path, tmp_path: Path) -> None:
    """Sums as tifffile 2026.3.3 reads them: 337,822,080 in each of the four files."""
    folder = unpacked(shared_data, tmp_path)
    assert MmStackFormat().recognises(folder, {path.name for path in folder.iterdir()})
    follower = MmStackFormat().follow(folder)
    state = follower.poll()
    info = state.info
    assert not state.problems
    assert state.ended
    assert info.channel_names == ("Cy5", "DAPI")
    assert info.position_names == (
        "1-Pos_000_000",
        "1-Pos_001_000",
        "1-Pos_001_001",
        "1-Pos_000_001",
    )
    assert info.voxel == VoxelSize(5.0, 1.0, 1.0)
    assert info.time_increment_s == 5.0
    assert info.exposure_ms == (25.0, 50.0)
    assert info.stacks_planned == 16
    places = {(key.position, key.time, key.channel) for key in state.stacks}
    assert places == {(p, t, c) for p in range(4) for t in range(2) for c in range(2)}
    assert all(e.complete and tuple(e.expected or ()) == (0, 1) for e in state.stacks.values())
    for position in range(4):
        stacks = [follower.read(key) for key in state.stacks if key.position == position]
        assert {stack.shape for stack in stacks} == {(2, 64, 64)}
        assert sum(int(stack.sum(dtype=np.uint64)) for stack in stacks) == 337_822_080


def test_a_camera_plane_is_a_stack_of_one(shared_data: Path) -> None:
    folder = shared_data / "micromanager" / "mmstack_zyla"
    if not folder.is_dir():
        pytest.skip(f"no Zyla data in {folder}")
    follower = MmStackFormat().follow(folder)
    state = follower.poll()
    (key,) = state.stacks
    assert state.stacks[key].complete
    assert tuple(state.stacks[key].expected or ()) == (0,)
    assert state.info.voxel == VoxelSize(None, 0.108, 0.108)
    assert state.info.shape_yx == (914, 914)
    assert int(follower.read(key).sum(dtype=np.uint64)) == 113_296_610


KEY = StackIndex(0, 0, 0)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run_1"
    folder.mkdir()
    return folder


def stack_file(run: Path, position: str = "Pos0", part: str = "", slices: int = 3) -> StackFile:
    return StackFile(run / f"run_1_MMStack_{position}{part}.ome.tif", slices=slices)


def test_a_record_counts_when_its_image_is_whole(run: Path) -> None:
    file = stack_file(run)
    follower = MmStackFormat().follow(run)
    for z in range(3):
        file.record(0, z, 0, 0)
        assert follower.poll().stacks.get(KEY, None) is None or z > 0
        size = file.image_bytes
        for part in (50, 150, size - 2):
            file.image(z + 1, upto=part)
            state = follower.poll()
            assert len(state.stacks[KEY].present if state.stacks else ()) == z, part
        file.image(z + 1)
        assert follower.poll().stacks[KEY].present == tuple(range(z + 1))
    assert follower.poll().stacks[KEY].complete
    assert [plane[0, 0] for plane in follower.read(KEY)] == [1, 2, 3]


def test_several_files_of_one_position_are_one_run(run: Path) -> None:
    first, second = stack_file(run), stack_file(run, part="_1")
    follower = MmStackFormat().follow(run)
    first.plane(0, 0, 0, 0, value=1)
    first.plane(0, 1, 0, 0, value=2)
    first.finish()
    assert not follower.poll().ended
    second.plane(0, 2, 0, 0, value=3)
    state = follower.poll()
    assert state.stacks[KEY].complete
    assert not state.ended
    assert [plane[0, 0] for plane in follower.read(KEY)] == [1, 2, 3]
    second.finish()
    assert follower.poll().ended


def test_padded_blank_planes_are_not_data(run: Path) -> None:
    file = stack_file(run)
    file.plane(0, 0, 0, 0, value=1)
    file.plane(0, 1, 0, 0, value=0)
    file.plane(0, 2, 0, 0, value=0)
    file.finish()
    follower = MmStackFormat().follow(run)
    evidence = follower.poll().stacks[KEY]
    assert evidence.partial
    assert evidence.blank == (1, 2)
    with pytest.raises(StackIncompleteError, match="nothing but zeros"):
        follower.read(KEY)


def test_a_record_whose_image_never_came_holds_nothing_up(run: Path) -> None:
    file = stack_file(run)
    file.plane(0, 0, 0, 0, value=1)
    file.record(0, 1, 0, 0)
    file.skip_image()
    file.plane(0, 2, 0, 0, value=3)
    evidence = MmStackFormat().follow(run).poll().stacks[KEY]
    assert evidence.present == (0, 2)
    assert not evidence.complete


def test_position_names_are_labels_only(run: Path) -> None:
    names = ["../../x", "/etc", "C:\\x", ""]
    file = StackFile(
        run / "run_1_MMStack_Pos0.ome.tif",
        slices=1,
        summary={"StagePositions": [{"Label": name} for name in names]},
    )
    file.plane(0, 0, 0, 0, value=1)
    state = MmStackFormat().follow(run).poll()
    assert state.info.position_names == tuple(names)
    assert state.stacks[KEY].complete


def test_colour_and_odd_sizes_are_left_out_by_name(run: Path) -> None:
    file = stack_file(run)
    file.plane(0, 0, 0, 0, value=1)
    file.plane(0, 1, 0, 0, value=1, samples=3)
    file.plane(0, 2, 0, 0, value=1, width=6)
    state = MmStackFormat().follow(run).poll()
    assert state.stacks[KEY].present == (0,)
    assert len(state.problems) == 2
    assert "RGB" in state.problems[0]
    assert "6 x 4" in state.problems[1]


def test_files_of_two_runs_in_one_folder_are_refused(run: Path) -> None:
    run = run.rename(run.with_name("neither's name"))
    stack_file(run)
    StackFile(run / "other_MMStack_Pos0.ome.tif", slices=1)
    with pytest.raises(StackUnreadableError, match="2 acquisitions"):
        MmStackFormat().follow(run).poll()
    assert not MmStackFormat().recognises(run, {path.name for path in run.iterdir()})
    (run / "run_1_MMStack_Pos0_metadata.txt").touch()  # by now one of them is certain
    (run / "DisplaySettings.json").touch()
    assert MmStackFormat().recognises(run, {path.name for path in run.iterdir()})
    assert MmStackFormat().follow(run).poll().foreign == ("other_MMStack_Pos0.ome.tif",)


def test_files_of_another_run_in_a_folder_of_its_own_name_are_passed_by(run: Path) -> None:
    StackFile(run / "other_MMStack_Pos0.ome.tif", slices=1).plane(0, 0, 0, 0, value=1)
    follower = MmStackFormat().follow(run)
    assert follower.poll().stacks[KEY].complete  # nothing else is there yet
    stack_file(run, slices=1).plane(0, 0, 0, 0, value=2)
    with pytest.raises(StackChangedError, match="of its own name by now"):
        follower.poll()
    follower = MmStackFormat().follow(run)
    state = follower.poll()
    assert follower.read(KEY).max() == 2
    assert state.foreign == ("other_MMStack_Pos0.ome.tif",)


def test_a_folder_of_single_files_of_other_runs_is_no_run(run: Path) -> None:
    run = run.rename(run.with_name("for the figure"))
    stack_file(run, slices=1).plane(0, 0, 0, 0, value=1)
    (run / "run_1_MMStack_Pos0_metadata.txt").touch()
    names = {path.name for path in run.iterdir()}
    assert MmStackFormat().recognises(run, names)
    assert not MmStackFormat().recognises(run, {*names, "cell.tif"})
    assert MmStackFormat().goes_on(run, {*names, "cell.tif"})


def test_one_damaged_file_does_not_stop_the_others(run: Path) -> None:
    (run / "run_1_MMStack_Pos1.ome.tif").write_bytes(b"GIF89a" * 100)
    stack_file(run, slices=1).plane(0, 0, 0, 0, value=1)
    state = MmStackFormat().follow(run).poll()
    assert state.stacks[KEY].complete
    assert "not a TIFF file" in state.problems[0]


def test_an_index_that_names_one_plane_many_times_fills_no_memory(run: Path) -> None:
    file = stack_file(run, slices=100_000)
    file.plane(0, 0, 0, 0, value=1)
    at = struct.unpack_from("<I", file.path.read_bytes(), file.map_at + 8 + 16)[0]
    with file.path.open("r+b") as stream:
        stream.truncate(file.end)
        stream.seek(file.map_at + 8)
        stream.write(b"".join(struct.pack("<5I", 0, z, 0, 0, at) for z in range(file.capacity)))
    follower = MmStackFormat().follow(run)
    state = follower.poll()
    assert any("overlap" in problem for problem in state.problems)
    assert not state.stacks[KEY].complete
    assert len(state.stacks[KEY].present) < 200


def test_a_torn_summary_waits(run: Path) -> None:
    file = stack_file(run, slices=1)
    file.plane(0, 0, 0, 0, value=1)
    whole = file.path.read_bytes()
    follower = MmStackFormat().follow(run)
    for upto in (0, 8, 39, 60):
        file.path.write_bytes(whole[:upto].ljust(len(whole), b"\0"))
        state = follower.poll()
        assert not state.stacks
        assert not state.problems
    file.path.write_bytes(whole)
    assert follower.poll().stacks[KEY].complete
    assert json.loads(whole[40 : 40 + struct.unpack_from("<I", whole, 36)[0]])["Slices"] == 1


def test_a_copy_of_a_file_beside_it_is_passed_by(tmp_path: Path) -> None:
    run = tmp_path / "run_1"
    run.mkdir()
    stack_run(run)
    original = run / "run_1_MMStack_Pos0.ome.tif"
    shutil.copy(original, run / "run_1_MMStack_Pos0 - Copy.ome.tif")
    state = MmStackFormat().follow(run).poll()
    assert [evidence.complete for evidence in state.stacks.values()] == [True, True]
    (told,) = state.problems
    assert "a copy of" in told
