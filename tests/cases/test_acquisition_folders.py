"""Acquisition folders in everyday use: files put beside a run's own, and what stays as it was.

Cases from public bug trackers (NDStorage#191, bioformats#2309, bioformats#1870, pycro-manager#756).
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from live_restore.journal.states import State
from live_restore.sources.run_clock import END_HELD_S
from live_restore.stack import StackIndex
from tests.support.foreign_files import foreign_files, projection, z_stack
from tests.support.mm_files import NdTiff, StackFile
from tests.support.traces import recording
from tests.support.watched import Scene, stack

KINDS = ("multipage_full", "ndtiff_full", "pycromanager_ndtiff", "singleplane_full",
         "singleplane_abort", "pymmcore_zarr")  # fmt: skip


def show(path: Path) -> bool:
    """Return whether a person is told of it: text is no data."""
    return path.suffix != ".txt"


def waiting(scene: Scene, folder: str) -> set[StackIndex]:
    found = scene.journal.stacks_in(Path(folder))
    return {index for index, entry in found.items() if entry.state is State.WAITING}


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", KINDS)
def test_files_thrown_into_a_run_at_random_moments_change_nothing(
    scene: Scene, shared_data: Path, name: str, seed: int
) -> None:
    truth = recording(shared_data, name)
    folder = scene.root / truth.folder_name
    rng = random.Random(f"{name} {seed}")
    thrown = foreign_files(truth.folder_name)
    moments = {what: rng.randint(2, len(truth)) for what in thrown}
    moments[rng.choice(list(thrown))] = 1  # before anything of the run
    steps = truth.interesting_steps(seed=seed, count=3)
    for step in truth.replay(scene.root, sorted({*steps, *moments.values()})):
        for what in [each for each, at in moments.items() if at == step and folder.is_dir()]:
            thrown.pop(what)(folder / what)
            scene.source.hint(folder / what)
        if step in steps:
            scene.poll(2.1)
            scene.poll(0.3)
            if name != "pycromanager_ndtiff":  # which says later what is whole
                assert waiting(scene, truth.folder_name) == truth.complete_at(step), step
    for what, make in thrown.items():
        make(folder / what)
    scene.poll(END_HELD_S, times=3)
    assert waiting(scene, truth.folder_name) == truth.complete_at(len(truth))
    assert {e.key.acquisition.as_posix() for e in scene.journal.entries()} == {truth.folder_name}
    (known,) = scene.journal.acquisitions()
    assert "passed by" in known.note
    before = scene.journal.entries()
    scene.restart()
    scene.poll(END_HELD_S, times=3)
    assert scene.journal.entries() == before


@pytest.mark.parametrize("what", foreign_files("x"))
@pytest.mark.parametrize("name", KINDS[:4])
def test_each_is_reported_once_and_in_status(
    scene: Scene, shared_data: Path, name: str, what: str
) -> None:
    truth = recording(shared_data, name)
    list(truth.replay(scene.root, []))
    folder = scene.root / truth.folder_name
    what = what.replace("x_MM", f"{folder.name}_MM").replace("x_ND", f"{folder.name}_ND")
    scene.poll(0.3, times=3)
    foreign_files(folder.name)[what](folder / what)
    scene.poll(2.5, times=20)
    told = [line for line in scene.warnings if what in line]
    assert len(told) == (1 if show(folder / what) else 0)
    assert all(line.startswith(f"{folder.name}: ") for line in told)
    (known,) = scene.journal.acquisitions()
    assert (what in known.note) == show(folder / what)
    assert scene.bad == []


def test_what_was_an_acquisition_stays_one_although_nothing_would_tell_now(scene: Scene) -> None:
    """An aborted run in a folder with a name of its own: only the journal knows."""
    folder = scene.root / "cell A"
    folder.mkdir()
    run = StackFile(folder / "run_1_MMStack_Pos0.ome.tif", slices=2)
    for z in range(2):
        run.plane(0, z, 0, 0, value=z + 1)
    scene.poll(0.3, times=3)
    assert waiting(scene, "cell A") == {StackIndex()}
    before = scene.journal.entries()
    z_stack(folder / "other.ome.tif")
    scene.restart()
    scene.poll(2.5, times=3)
    assert scene.journal.entries() == before
    # Another folder under the name, with nothing of a run in it, is no acquisition.
    shutil.rmtree(folder)
    stack(folder / "a.tif")
    scene.restart()
    scene.settle()
    assert scene.states()["cell A/a.tif"] is State.WAITING


def test_a_copy_of_a_position_is_not_taken_for_one(scene: Scene, shared_data: Path) -> None:
    truth = recording(shared_data, "singleplane_full")
    list(truth.replay(scene.root, []))
    folder = scene.root / truth.folder_name
    shutil.copytree(folder / "Pos0", folder / "Pos0 - Copy")
    projection(folder / "img_channel000_position000_time000000000_z000.tif")
    scene.poll(0.3, times=3)
    assert waiting(scene, truth.folder_name) == truth.complete_at(len(truth))
    assert any("Pos0 - Copy" in line for line in scene.warnings)


def test_two_cameras_under_the_same_axes_are_refused_and_reported(scene: Scene) -> None:
    run = NdTiff(scene.root / "run_1", axes_in_metadata=True)
    for time in range(2):
        for z in range(3):
            run.plane(5, time=time, z=z)
            run.plane(9, time=time, z=z)
    scene.poll(0.3, times=3)
    run.finish()
    scene.poll(END_HELD_S, times=3)
    found = scene.journal.stacks_in(Path("run_1"))
    assert {entry.state for entry in found.values()} == {State.REFUSED}
    assert all("two cameras" in entry.reason for entry in found.values())
    assert any("two images were recorded at the same place" in line for line in scene.warnings)


def test_what_waited_when_a_run_was_renamed_waits_no_more(scene: Scene, shared_data: Path) -> None:
    truth = recording(shared_data, "multipage_full")
    list(truth.replay(scene.root, []))
    scene.poll(0.3, times=3)
    whole = truth.complete_at(len(truth))
    assert waiting(scene, truth.folder_name) == whole
    (scene.root / truth.folder_name).rename(scene.root / "cellA")
    scene.restart()  # nobody has seen it go
    scene.poll(2.5, times=3)
    assert waiting(scene, "cellA") == whole
    assert scene.journal.stacks_in(Path(truth.folder_name)) == {}
