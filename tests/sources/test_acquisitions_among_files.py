"""What lies in and beside a data set, and what of it is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import tifffile

from live_restore.journal.states import State
from live_restore.sources.run_clock import END_HELD_S
from tests.formats.test_ome_zarr import v3_group
from tests.support.data_sets import RUN, counts, replay, states
from tests.support.mm_files import NdTiff
from tests.support.traces import recording
from tests.support.watched import Scene, stack


def test_no_file_of_a_data_set_is_taken_for_a_run_of_its_own(
    scene: Scene, shared_data: Path
) -> None:
    truth = recording(shared_data, "singleplane_full")
    folder = scene.root / truth.folder_name
    for _ in truth.replay(scene.root, list(range(0, len(truth) + 1, 3))):
        for path in folder.rglob("*.tif"):
            scene.source.hint(path)
        scene.poll(0.4)
    scene.poll(END_HELD_S, times=2)
    assert {e.key.acquisition.as_posix() for e in scene.journal.entries()} == {truth.folder_name}
    assert all(e.key.index is not None for e in scene.journal.entries())


def test_an_event_of_a_file_does_not_hide_its_data_set(scene: Scene, shared_data: Path) -> None:
    truth = recording(shared_data, "multipage_full")
    scene.poll()
    replay(truth, scene.root)
    for path in (scene.root / truth.folder_name).glob("*.tif"):
        scene.source.hint(path)
    scene.poll(0.3, times=4)  # the next scan comes later
    assert counts(scene, truth.folder_name) == {"waiting": 12}
    assert len(scene.journal.entries()) == 12


def test_files_found_before_their_data_set_was_recognised_are_forgotten(
    scene: Scene, shared_data: Path
) -> None:
    truth = recording(shared_data, "singleplane_full")
    replay(truth, scene.root)
    (folder,) = {p.parent for p in scene.root.rglob("metadata.txt") if "Pos0" in str(p)}
    texts = {p: p.read_bytes() for p in scene.root.rglob("metadata.txt")}
    for path in texts:
        path.unlink()
    scene.settle()
    scene.settle()
    assert State.REFUSED in scene.states().values()  # single planes
    for path, text in texts.items():
        path.write_bytes(text)
    scene.poll(2.5, times=3)
    assert all(e.key.index is not None for e in scene.journal.entries())
    assert folder.parent.name == truth.folder_name


def test_results_are_no_input_whatever_lies_among_them(scene: Scene, shared_data: Path) -> None:
    truth = recording(shared_data, "multipage_full")
    replay(truth, scene.root)
    results = scene.root / f"{truth.folder_name}_restored"
    stack(results / "p000_t0000_c00.ome.tif")
    scene.source.hint(results / "p000_t0000_c00.ome.tif")
    scene.settle()
    scene.source.hint(results / "p000_t0000_c00.ome.tif")
    scene.settle()
    assert {e.key.acquisition.as_posix() for e in scene.journal.entries()} == {truth.folder_name}
    stack(scene.root / "cells_restored" / "a.tif")  # no data set beside it: somebody's own folder
    scene.poll(2.5)
    scene.settle()
    assert scene.states()["cells_restored/a.tif"] is State.WAITING


def test_an_event_wakes_the_data_set_it_is_in(scene: Scene, shared_data: Path) -> None:
    truth = recording(shared_data, "multipage_full")
    last = max(s.step for s in truth.stacks.values() if s.step is not None)
    for step in truth.replay(scene.root, [last - 1, last]):
        if step == last:
            scene.source.hint(scene.root / truth.folder_name / "anything.tif")
            scene.poll(0.11)
            break
        scene.poll(0.3, times=2)
        scene.poll(30)
        scene.poll(0.0)
    assert counts(scene, truth.folder_name) == {"waiting": 12}


def test_what_is_not_one_data_set_is_said_once(scene: Scene) -> None:
    v3_group(scene.root / "plate.zarr", plate={"wells": []})
    scene.poll(0.3, times=3)
    (entry,) = scene.journal.entries()
    assert (entry.key.path, entry.state) == (Path("plate.zarr"), State.REFUSED)
    assert "plate" in entry.reason
    scene.poll(2.5, times=3)
    assert scene.bad == [(Path("plate.zarr"), State.REFUSED)]
    assert not scene.source.undecided()


def test_an_empty_run_is_shown(scene: Scene) -> None:
    NdTiff(scene.root / RUN).finish()
    scene.poll(0.3, times=2)
    scene.poll(61)
    scene.poll(2.5)
    (entry,) = scene.journal.entries()
    assert (entry.key.path, entry.state) == (Path(RUN), State.REFUSED)
    assert "holds no planes" in entry.reason


def test_a_data_set_stays_one_when_a_picture_is_put_into_it(
    scene: Scene, shared_data: Path
) -> None:
    truth = recording(shared_data, "multipage_full")
    replay(truth, scene.root)
    scene.poll(0.3, times=3)
    tifffile.imwrite(scene.root / truth.folder_name / "note.tif", np.ones((8, 8), np.uint8))
    scene.poll(2.5, times=3)
    assert {e.key.acquisition.as_posix() for e in scene.journal.entries()} == {truth.folder_name}
    assert counts(scene, truth.folder_name) == {"waiting": 12}


def test_a_data_set_that_is_taken_away_waits_no_more(scene: Scene, shared_data: Path) -> None:
    truth = recording(shared_data, "multipage_noz")
    replay(truth, scene.root)
    scene.poll(0.3, times=2)
    scene.poll(END_HELD_S, times=2)
    assert scene.journal.lease(30) is not None
    shutil.rmtree(scene.root / truth.folder_name)
    scene.poll(30)
    assert counts(scene, truth.folder_name) == {"running": 1}


def test_a_channel_without_z_stack_is_told_once(scene: Scene, shared_data: Path) -> None:
    truth = recording(shared_data, "multipage_noz")
    replay(truth, scene.root)
    scene.settle()
    scene.poll(END_HELD_S, times=3)
    refused = [index for index, state in states(scene, truth.folder_name).items()
               if state is State.REFUSED]  # fmt: skip
    assert len(refused) > 1
    assert [line for line in scene.warnings if "has no z-stack" in line] == [
        f"{truth.folder_name}: channel {refused[0].channel} has no z-stack; "
        "there is nothing to restore in 3-D"
    ]
