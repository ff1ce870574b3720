"""Data sets under a watched folder, with recorded runs and a clock that only the test moves."""

from __future__ import annotations

import json
import os
import shutil
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from live_restore.formats.acquisition_format import AcquisitionState
from live_restore.formats.micromanager.ndtiff import NdTiffFollower
from live_restore.journal.states import State
from live_restore.sources.run_clock import END_HELD_S
from live_restore.stack import Fingerprint, StackIndex
from tests.formats.test_ome_zarr import multiscales, v3_array, v3_group, write_chunks
from tests.support.data_sets import RUN, counts, replay, states
from tests.support.mm_files import NdTiff
from tests.support.traces import recording
from tests.support.watched import Scene


def restore_all(scene: Scene) -> None:
    """Claim and finish all that waits, as the pipeline does."""
    while (entry := scene.journal.lease(30)) is not None:
        scene.journal.finish(entry, State.DONE, result=str(scene.root))


def run_without_plan(folder: Path) -> NdTiff:
    """Begin a script's run: nothing in it says how many planes were planned."""
    run = NdTiff(folder, axes_in_metadata=True)
    for time_point in range(2):
        for z in range(3):
            run.plane(10 + z, time=time_point, z=z)
    return run


@pytest.mark.parametrize("name", ["multipage_abort", "singleplane_full", "pymmcore_zarr"])
def test_a_stack_waits_as_soon_as_it_is_complete(
    scene: Scene, shared_data: Path, name: str
) -> None:
    truth = recording(shared_data, name)
    for step in truth.replay(scene.root, truth.interesting_steps(seed=4, count=4)):
        scene.poll(0.3, times=2)
        told = states(scene, truth.folder_name)
        waiting = {stack_index for stack_index, state in told.items() if state is State.WAITING}
        assert waiting == truth.complete_at(step), step
        assert set(told.values()) <= {State.WAITING, State.ARRIVING}
    assert scene.arrivals, "nobody is told that planes arrive"
    scene.poll(END_HELD_S, times=2)
    told = states(scene, truth.folder_name)
    partial = {stack_index for stack_index, state in told.items() if state is State.INCOMPLETE}
    assert partial == {p for p, s in truth.stacks.items() if s.state == "partial"}
    assert State.ARRIVING not in told.values()
    assert not scene.source.undecided()


def test_a_run_whose_writer_died_ends_as_incomplete(scene: Scene, shared_data: Path) -> None:
    truth = recording(shared_data, "multipage_abort")
    first = min(s.step for s in truth.stacks.values() if s.step is not None)
    replay(truth, scene.root, until=first + 6)
    scene.poll()
    scene.poll(0.3)
    scene.poll(59)
    assert counts(scene, truth.folder_name) == {"waiting": 1, "arriving": 1}
    scene.poll(3)
    assert counts(scene, truth.folder_name) == {"waiting": 1, "incomplete": 1}
    (entry,) = [e for e in scene.journal.entries() if e.state is State.INCOMPLETE]
    assert "of 15 planes; the run is over, not restored" in entry.reason
    scene.restart()
    scene.poll(0.3, times=3)
    assert counts(scene, truth.folder_name) == {"waiting": 1, "incomplete": 1}


def test_who_waits_no_longer_decides_after_a_short_quiet(scene: Scene, shared_data: Path) -> None:
    truth = recording(shared_data, "multipage_abort")
    first = min(s.step for s in truth.stacks.values() if s.step is not None)
    replay(truth, scene.root, until=first + 6)
    scene.source.poll(hurry=True)
    assert scene.source.undecided()
    for _ in range(8):
        scene.now += 0.3
        scene.source.poll(hurry=True)
    assert counts(scene, truth.folder_name) == {"waiting": 1, "incomplete": 1}
    assert not scene.source.undecided()


def test_partial_stacks_are_restored_where_the_settings_say_so(
    tmp_path: Path, shared_data: Path
) -> None:
    truth = recording(shared_data, "singleplane_abort")
    root = tmp_path / "data"
    replay(truth, root)
    scene = Scene(root, tmp_path / "j.sqlite", {"files": {"partial_stacks": "restore"}})
    scene.poll(0.3, times=3)
    assert State.INCOMPLETE not in states(scene, truth.folder_name).values()
    scene.poll(END_HELD_S, times=2)
    assert set(states(scene, truth.folder_name).values()) == {State.WAITING}
    (entry,) = [e for e in scene.journal.entries() if e.reason]
    assert entry.reason.startswith("partial: ")
    scene.journal.close()


def test_a_restart_finds_all_as_it_was(scene: Scene, shared_data: Path) -> None:
    truth = recording(shared_data, "ndtiff_noz")
    replay(truth, scene.root)
    scene.poll(0.3, times=2)
    scene.poll(END_HELD_S, times=2)
    restore_all(scene)
    before = scene.journal.entries()
    assert counts(scene, truth.folder_name) == {"done": 4, "refused": 4}
    scene.restart()
    scene.poll(0.3, times=2)
    scene.poll(END_HELD_S, times=2)
    assert scene.journal.entries() == before


@pytest.mark.parametrize("watched", [True, False], ids=["watched", "while nobody watches"])
def test_a_run_that_is_recorded_anew_under_its_name_is_new(
    scene: Scene, shared_data: Path, watched: bool
) -> None:
    truth = recording(shared_data, "multipage_full")
    replay(truth, scene.root)
    scene.poll(0.3, times=2)
    scene.poll(END_HELD_S)
    restore_all(scene)
    assert counts(scene, truth.folder_name) == {"done": 12}
    shutil.rmtree(scene.root / truth.folder_name)
    if watched:
        scene.poll(30)
    time.sleep(0.02)  # written after the old results, by the clock of the files
    replay(truth, scene.root)
    if not watched:
        scene.restart()
    scene.poll(2.5)
    scene.poll(0.3, times=2)
    assert counts(scene, truth.folder_name) == {"waiting": 12}


@pytest.mark.parametrize("same", [True, False])
def test_a_run_newer_than_its_results_is_known_by_its_pixels(
    scene: Scene, shared_data: Path, same: bool
) -> None:
    """One large file that is still being written is newer than every result made from it."""
    truth = recording(shared_data, "multipage_full")
    replay(truth, scene.root)
    scene.poll(0.3, times=2)
    results = scene.root / f"{truth.folder_name}_restored"
    results.mkdir()
    while (entry := scene.journal.lease(30)) is not None:
        scene.journal.finish(
            entry, State.DONE, result=str(results / f"{entry.key.path.name}.ome.tif")
        )
    checksum = zlib.crc32(truth.stacks[StackIndex(0, 0, 0)].pixels.tobytes())
    report = {"stacks": [{"raw_crc32": checksum if same else checksum ^ 1}]}
    (results / "p000_t0000_c00.json").write_text(json.dumps(report))
    later_ns = time.time_ns() + 10**9
    for path in (scene.root / truth.folder_name).iterdir():
        os.utime(path, ns=(later_ns, later_ns))
    scene.restart()
    scene.poll(0.3, times=3)
    assert counts(scene, truth.folder_name) == ({"done": 12} if same else {"waiting": 12})


def test_a_run_that_goes_on_after_all_is_followed(scene: Scene, shared_data: Path) -> None:
    truth = recording(shared_data, "multipage_full")
    steps = sorted(s for stack in truth.stacks.values() for s in stack.plane_steps.values())
    for step in truth.replay(scene.root, [steps[7], len(truth)]):
        scene.poll(0.3, times=3)
        if step == steps[7]:
            scene.poll(61)
            assert counts(scene, truth.folder_name) == {"waiting": 1, "incomplete": 1}
            scene.poll(20)
    scene.poll(20)
    assert counts(scene, truth.folder_name) == {"waiting": 12}


def test_without_a_plan_a_pause_completes_what_is_as_large_as_the_rest(scene: Scene) -> None:
    run = run_without_plan(scene.root / RUN)
    scene.poll(0.3, times=3)
    assert states(scene, RUN) == {
        StackIndex(0, 0, 0): State.WAITING,
        StackIndex(0, 1, 0): State.ARRIVING,
    }
    scene.poll(2.5)
    assert set(states(scene, RUN).values()) == {State.WAITING}
    run.plane(20, time=2, z=0)
    scene.poll(2.5, times=3)
    assert states(scene, RUN)[StackIndex(0, 2, 0)] is State.ARRIVING
    run.plane(21, time=2, z=1)
    run.finish()
    scene.poll(0.3)
    scene.poll(END_HELD_S, times=2)
    assert states(scene, RUN)[StackIndex(0, 2, 0)] is State.INCOMPLETE


def test_z_as_the_outer_loop_is_not_taken_for_single_planes(scene: Scene) -> None:
    run = NdTiff(scene.root / RUN, axes_in_metadata=True)
    for z in range(3):
        for time_point in range(2):
            run.plane(10 + z, time=time_point, z=z)
        scene.poll(2.5, times=2)
        assert set(states(scene, RUN).values()) == {State.ARRIVING}


def test_chunks_of_several_planes_are_waited_for(scene: Scene) -> None:
    folder, chunks = scene.root / "run.ome.zarr", (1, 1, 3, 5, 6)
    v3_group(folder, multiscales=multiscales())
    v3_array(folder / "0", chunks)
    write_chunks(folder / "0", chunks)
    scene.poll(0.3, times=3)
    assert set(states(scene, folder.name).values()) == {State.ARRIVING}
    chunk = folder / "0" / "c" / "1" / "1" / "0" / "0" / "0"
    for _ in range(3):  # written again, as by who adds plane after plane to a chunk
        scene.poll(1.5)
        os.utime(chunk, ns=(time.time_ns(), time.time_ns()))
        assert set(states(scene, folder.name).values()) == {State.ARRIVING}
    scene.poll(1.5, times=3)
    assert set(states(scene, folder.name).values()) == {State.WAITING}


def test_a_stack_that_could_not_be_read_is_not_tried_for_ever(
    scene: Scene, shared_data: Path
) -> None:
    truth = recording(shared_data, "multipage_full")
    replay(truth, scene.root)
    scene.poll(0.3, times=3)
    entry = scene.journal.lease(30)
    assert entry is not None
    scene.journal.lose(entry, "it looks different from there")
    scene.source.reconsider(entry.key)
    scene.poll(2.5, times=4)
    assert counts(scene, truth.folder_name) == {"waiting": 11, "failed": 1}
    scene.restart()
    scene.poll(0.3, times=3)
    assert counts(scene, truth.folder_name) == {"waiting": 12}


def test_the_fingerprint_is_the_planes_and_when_they_came(scene: Scene, shared_data: Path) -> None:
    truth = recording(shared_data, "multipage_full")
    began = time.time_ns()
    replay(truth, scene.root)
    scene.poll(0.3, times=2)
    for entry in scene.journal.entries():
        assert entry.fingerprint == Fingerprint(5 * 48 * 64 * 2, entry.fingerprint.mtime_ns)
        assert began - 10**9 < entry.fingerprint.mtime_ns <= time.time_ns()
        assert entry.stacks == 1


def test_a_stack_that_a_follower_gives_up_does_not_end_the_looking(
    scene: Scene, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_without_plan(scene.root / RUN)
    scene.poll(0.3, times=3)
    poll = NdTiffFollower.poll

    def gives_up(self: NdTiffFollower, *, over: bool = False, **plan: Any) -> AcquisitionState:
        state = poll(self, over=over, **plan)
        return replace(state, stacks={} if over else state.stacks)

    monkeypatch.setattr(NdTiffFollower, "poll", gives_up)
    scene.poll(2.5, times=2)
    monkeypatch.undo()
    run.finish()
    scene.poll(2.5, times=3)
    assert set(states(scene, RUN).values()) == {State.WAITING}
