"""NDTiff of both writers: finished data sets, and files that are being written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from live_restore.errors import StackChangedError, StackUnreadableError
from live_restore.formats.acquisition_format import Stage
from live_restore.formats.micromanager.ndtiff import NdTiffFormat
from live_restore.formats.plan import IntendedPlan
from live_restore.stack import StackIndex, VoxelSize
from tests.support.mm_files import NdTiff

BOTH = ("DAPI", "FITC")


@pytest.mark.parametrize(
    ("name", "positions_times_channels", "planes", "total", "channels", "voxel", "shape"),
    [
        ("12_bit_pycromanager_mda", (1, 4, 2), 1, 6_691_712, BOTH, (None, 1, 1), (64, 64)),
        ("labeled_positions_1", (3, 1, 1), 1, 2_576_507_235, ("DAPI",), (None, 1, 1), (512, 512)),
        ("ndtiff3.2_multichannel", (1, 8, 2), 16, 2_778_472_448, BOTH, (0.4, 1, 1), (64, 64)),
        ("ndtiffv3.0_test", (1, 5, 2), 1, 33_548_160, BOTH, (None, 1, 1), (32, 32)),
    ],
)
def test_data_sets_of_micro_manager(
    shared_data: Path,
    name: str,
    positions_times_channels: tuple[int, int, int],
    planes: int,
    total: int,
    channels: tuple[str, ...],
    voxel: tuple[float | None, ...],
    shape: tuple[int, int],
) -> None:
    """Axes, names and sums over all planes as ndstorage 0.1.18 reads them."""
    folder = shared_data / "micromanager" / "ndtiff" / name
    if not folder.is_dir():
        pytest.skip(f"no NDTiff data in {folder}")
    assert NdTiffFormat().recognises(folder, {path.name for path in folder.iterdir()})
    follower = NdTiffFormat().follow(folder)
    state = follower.poll()
    assert not state.problems
    assert state.ended
    positions, times, colours = map(range, positions_times_channels)
    expected = {(p, t, c) for p in positions for t in times for c in colours}
    assert {(key.position, key.time, key.channel) for key in state.stacks} == expected
    assert all(e.complete for e in state.stacks.values())
    assert {tuple(e.expected or ()) for e in state.stacks.values()} == {tuple(range(planes))}
    assert state.info.channel_names == channels
    assert state.info.voxel == VoxelSize(*voxel)
    assert set(state.info.exposure_ms) == {10.0}
    assert state.info.dtype == np.uint16
    assert state.info.shape_yx == shape
    assert sum(int(follower.read(key).sum(dtype=np.uint64)) for key in state.stacks) == total


def test_labels_of_positions_keep_their_order(shared_data: Path) -> None:
    """Means per position as ndstorage reads them by label."""
    folder = shared_data / "micromanager" / "ndtiff" / "labeled_positions_1"
    if not folder.is_dir():
        pytest.skip(f"no NDTiff data in {folder}")
    follower = NdTiffFormat().follow(folder)
    state = follower.poll()
    sums = {
        state.info.position_name(key.position): int(follower.read(key).sum(dtype=np.uint64))
        for key in state.stacks
    }
    assert sums == {"Pos2": 858_835_995, "Pos0": 858_835_243, "Pos1": 858_835_997}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run_1"


def key(position: int = 0, time: int = 0, channel: int = 0) -> StackIndex:
    return StackIndex(position, time, channel)


PLAN = {"Slices": 3, "Frames": 2, "Channels": 1, "Positions": 1}


def test_the_index_of_micro_manager_says_when_an_image_is_there(run: Path) -> None:
    data = NdTiff(run, PLAN)
    follower = NdTiffFormat().follow(run)
    for z in range(3):
        entry = data.image(z + 1, channel=0, z=z, time=0)
        assert len(follower.poll().stacks) == (z > 0)
        for part in (3, 20, 60, len(entry) - 14, len(entry) - 8):
            data.write_index(entry[:part])
            data.index_end -= part
            assert sum(len(e.present) for e in follower.poll().stacks.values()) == z
        data.write_index(entry)
        assert follower.poll().stacks[key()].present == tuple(range(z + 1))
    assert follower.poll().stacks[key()].complete
    assert [plane[0, 0] for plane in follower.read(key())] == [1, 2, 3]
    assert follower.poll().info.exposure_ms == (20.0,)
    assert follower.poll().info.voxel == VoxelSize(0.25, 0.1, 0.1)


def test_the_python_writer_is_followed_past_its_index(run: Path) -> None:
    data = NdTiff(run, axes_in_metadata=True)
    follower = NdTiffFormat().follow(run)
    late = b""
    for time in range(2):
        for z in range(3):
            for part in (20, 150, 200):
                data.image(10 * time + z + 1, upto=part, channel="DAPI", z=z, time=time)
                present = [len(e.present) for e in follower.poll().stacks.values()]
                assert sum(present) == 3 * time + z
            late += data.image(10 * time + z + 1, channel="DAPI", z=z, time=time)
            state = follower.poll()
            assert state.stacks[key(time=time)].present == tuple(range(z + 1))
            assert state.stacks[key()].complete == (time > 0)
    # What the index tells at last is known: nothing is taken twice.
    data.write_index(late)
    data.finish()
    state = follower.poll()
    assert state.ended
    assert [e.complete for e in state.stacks.values()] == [True, True]
    assert [plane[0, 0] for plane in follower.read(key(time=1))] == [11, 12, 13]
    anew = NdTiffFormat().follow(run)
    assert dict(anew.poll().stacks) == dict(state.stacks)


def test_eight_bits_whatever_the_tag_says(run: Path) -> None:
    for name, in_metadata in (("index", False), ("chain", True)):
        data = NdTiff(run.with_name(name), PLAN, axes_in_metadata=in_metadata, bits=8)
        for z in range(3):
            entry = data.image(z + 5, z=z)
            if not in_metadata:
                data.write_index(entry)
        follower = NdTiffFormat().follow(run.with_name(name))
        assert follower.poll().info.dtype == np.uint8
        volume = follower.read(StackIndex())
        assert volume.dtype == np.uint8
        assert volume.shape == (3, 4, 8)
        assert [plane[0, 0] for plane in volume] == [5, 6, 7]


@pytest.mark.parametrize("in_metadata", [False, True])
def test_a_run_split_over_several_files(run: Path, in_metadata: bool) -> None:
    data = NdTiff(run, PLAN, axes_in_metadata=in_metadata)
    follower = NdTiffFormat().follow(run)
    for z in range(2):
        data.plane(z + 1, z=z)
    follower.poll()
    data.finish_file()
    data.new_file()
    assert not follower.poll().ended
    data.plane(3, z=2)
    assert follower.poll().stacks[key()].complete
    assert [plane[0, 0] for plane in follower.read(key())] == [1, 2, 3]
    data.finish()
    assert follower.poll().ended


def test_the_index_may_name_a_file_that_is_listed_later(run: Path) -> None:
    data = NdTiff(run, PLAN)
    data.plane(1, z=0)
    hidden = run / "hidden"
    data.path.rename(hidden)
    follower = NdTiffFormat().follow(run)
    assert not follower.poll().stacks
    hidden.rename(data.path)
    assert follower.poll().stacks[key()].present == (0,)


def test_names_in_the_index_are_never_opened(run: Path, tmp_path: Path) -> None:
    data = NdTiff(run, PLAN)
    secret = tmp_path / "x_NDTiffStack.tif"
    inside = data.path
    secret.write_bytes(b"")
    data.path = Path("../x_NDTiffStack.tif")
    entry = data.entry({"z": 0}, 200, 64, 10)
    name = b"../x_NDTiffStack.tif"
    entry = entry.replace(b"x_NDTiffStack.tif", name).replace(
        len("x_NDTiffStack.tif").to_bytes(4, "little"), len(name).to_bytes(4, "little")
    )
    data.write_index(entry)
    data.path = inside
    data.plane(1, z=0, time=1)
    state = NdTiffFormat().follow(run).poll()
    assert set(state.stacks) == {key(time=1)}
    assert "names a file that is not there" in state.problems[0]


def test_version_2_keeps_its_images_in_a_folder_of_their_own(run: Path) -> None:
    run.mkdir()
    data = NdTiff(run / "Full resolution", PLAN, major=2)
    for z in range(3):
        data.plane(z + 1, z=z)
    data.finish()
    assert NdTiffFormat().recognises(run, {"Full resolution"})
    follower = NdTiffFormat().follow(run)
    assert follower.poll().stacks[key()].complete
    assert [plane[0, 0] for plane in follower.read(key())] == [1, 2, 3]


def test_further_axes_make_further_positions(run: Path) -> None:
    data = NdTiff(run, PLAN, axes_in_metadata=True)
    for row in range(2):
        for column in range(2):
            for z in range(3):
                data.image(1, position="A", row=row, column=column, z=z)
    state = NdTiffFormat().follow(run).poll()
    assert len(state.stacks) == 4
    assert all(e.complete for e in state.stacks.values())
    assert state.info.position_names[1] == "A column 1 row 0"


def test_an_aborted_run_ends_with_a_partial_stack(run: Path) -> None:
    data = NdTiff(run, PLAN)
    for time, depth in ((0, 3), (1, 2)):
        for z in range(depth):
            data.plane(1, z=z, time=time)
    follower = NdTiffFormat().follow(run)
    assert follower.poll().ended is False
    data.finish()
    state = follower.poll()
    assert state.stacks[key()].complete
    assert state.stacks[key(time=1)].partial


def test_blank_planes_are_found(run: Path) -> None:
    data = NdTiff(run, PLAN)
    for z in range(3):
        data.plane(int(z != 1), z=z)
    evidence = NdTiffFormat().follow(run).poll().stacks[key()]
    assert evidence.blank == (1,)
    assert not evidence.complete


def test_a_copy_that_stopped_half_way_is_not_complete(run: Path) -> None:
    """The index was copied whole; of the images only the space is there."""
    data = NdTiff(run, PLAN)
    for z in range(3):
        data.plane(z + 1, z=z)
    data.finish()
    size = data.path.stat().st_size
    with data.path.open("r+b") as stream:
        stream.truncate(size - 300)
        stream.truncate(size)
    evidence = NdTiffFormat().follow(run).poll(over=True).stacks[key()]
    assert evidence.partial
    assert evidence.present == (0,)


def test_two_runs_in_one_folder_are_refused(run: Path) -> None:
    run = run.with_name("neither's name")
    first = NdTiff(run)
    with first.path.open("rb") as reserved:  # 4 GiB
        (run / "other_NDTiffStack.tif").write_bytes(reserved.read(1000))
    with pytest.raises(StackUnreadableError, match="several acquisitions"):
        NdTiffFormat().follow(run).poll()
    first.plane(5, z=0)  # by now the index tells
    state = NdTiffFormat().follow(run).poll()
    assert state.foreign == ("other_NDTiffStack.tif",)
    assert len(state.stacks) == 1


@pytest.mark.parametrize("python", [True, False], ids=["Python", "Java"])
def test_two_cameras_under_the_same_axes_are_refused(run: Path, python: bool) -> None:
    """Which of the two images is meant, nobody can say; the other must not be lost in silence."""
    writer = NdTiff(run, PLAN, axes_in_metadata=python)
    for z in range(3):
        writer.plane(5, time=0, z=z)
        writer.plane(9, time=0, z=z)
        writer.plane(7, time=1, z=z)
    writer.finish()
    state = NdTiffFormat().follow(run).poll()
    assert state.stacks[key(time=0)].stage is Stage.REFUSED
    assert "two cameras" in state.stacks[key(time=0)].reason
    assert "two images were recorded at the same place" in state.problems[0]
    assert state.stacks[key(time=1)].complete


def test_positions_of_different_depth_are_each_whole(run: Path) -> None:
    """A script's run says nowhere how many planes it has; each position tells of itself."""
    writer = NdTiff(run, axes_in_metadata=True)
    depths = (5, 3, 4)
    for time in range(2):
        for position, depth in enumerate(depths):
            for z in range(depth):
                writer.plane(5, time=time, position=position, z=z)
    follower = NdTiffFormat().follow(run)
    state = follower.poll()
    last = key(position=2, time=1)
    assert {k for k, e in state.stacks.items() if not e.complete} == {last}
    writer.finish()
    state = follower.poll()
    assert all(evidence.complete for evidence in state.stacks.values())
    assert [len(state.stacks[key(position=p)].present) for p in range(3)] == list(depths)


def test_a_position_that_is_shorter_than_before_is_not_whole(run: Path) -> None:
    writer = NdTiff(run, axes_in_metadata=True)
    for time, depth in enumerate((4, 3)):
        for position in range(2):
            for z in range(depth):
                writer.plane(5, time=time, position=position, z=z)
    writer.finish()
    state = NdTiffFormat().follow(run).poll()
    assert {k for k, e in state.stacks.items() if e.partial} == {key(0, 1), key(1, 1)}


def test_a_folder_that_vanished_says_so(run: Path) -> None:
    with pytest.raises(StackChangedError, match="vanished"):
        NdTiffFormat().follow(run).poll()


def test_a_script_that_knows_its_plan_waits_for_no_later_stack(run: Path) -> None:
    data = NdTiff(run, axes_in_metadata=True)
    for z in range(3):
        data.image(z + 1, channel="DAPI", z=z)
    follower = NdTiffFormat().follow(run)
    assert not follower.poll().stacks[key()].complete
    assert follower.poll(plan=IntendedPlan(3)).stacks[key()].complete
    assert not follower.poll(plan=IntendedPlan(4)).stacks[key()].complete
