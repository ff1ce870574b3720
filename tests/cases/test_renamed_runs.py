"""Runs and files that are renamed or copied together with their results, restored and not."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
import tifffile

from live_restore.engine.daemon import Daemon
from live_restore.files.naming import results_of_acquisition
from live_restore.inference.model_set import ModelSet
from live_restore.journal.journal import Journal
from live_restore.settings.load import load_settings
from live_restore.stack import StackIndex
from tests.support.fakes import fake_shelf, halve
from tests.support.foreign_files import foreign_files, projection
from tests.support.mm_files import NdTiff
from tests.support.processes import PATIENCE_S, wait_for
from tests.support.traces import Recording, recording
from tests.support.watched import stack


class Runs:
    """Runs of the daemon over one folder; counts what the network does."""

    def __init__(self, root: Path, state: Path) -> None:
        self.root, self.state = root, state
        self.network = self.restored = 0
        self.warnings: tuple[str, ...] = ()
        self.at_call: dict[int, Callable[[], Any]] = {}

    def model_set(self) -> ModelSet:
        def counted(tile: Any) -> Any:
            self.network += 1
            self.at_call.pop(self.network, lambda: None)()
            return halve(tile)

        model_set = fake_shelf(counted)
        self.network = 0  # a check of the device runs it, too
        return model_set

    def live(self, until: Callable[[], bool]) -> None:
        """Watch until something holds of the counts."""
        settings = load_settings(
            None, {"watch": {"quiet_s": 0.3, "settle_s": 0.05, "scan_interval_s": 0.3}}
        )
        model_set = self.model_set()
        with Journal(self.state / "j.sqlite", self.root, recipe=model_set.recipe) as journal:
            daemon = Daemon(self.root, settings, model_set, journal)

            def look() -> None:
                self.counts = Counter(entry.state.value for entry in journal.entries())
                if until() or monotonic() > give_up:
                    daemon.stop()

            give_up = monotonic() + PATIENCE_S / 10
            daemon.run(tick=look)
            done = daemon.progress.snapshot()
            self.restored, self.warnings = done.files_restored, done.warnings
        assert until(), self.counts

    def once(self, **output: Any) -> int:
        """Restore all that there is; return how often the network ran."""
        settings = load_settings(None, {"watch": {"quiet_s": 0.3, "settle_s": 0.05},
                                        "output": output})  # fmt: skip
        model_set = self.model_set()
        with Journal(self.state / "j.sqlite", self.root, recipe=model_set.recipe) as journal:
            daemon = Daemon(self.root, settings, model_set, journal)
            assert daemon.run(once=True) == 0
            self.counts = Counter(entry.state.value for entry in journal.entries())
            self.notes = [each.note for each in journal.acquisitions()]
            self.warnings = daemon.progress.snapshot().warnings
        return self.network


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    (tmp_path / "watched").mkdir()
    return Runs(tmp_path / "watched", tmp_path / "state")


def contents(root: Path) -> dict[str, tuple[int, int]]:
    """Return every file below a folder, with its size and time."""
    found = {}
    for path in root.rglob("*"):
        if path.is_file():
            status = path.stat()
            found[path.relative_to(root).as_posix()] = status.st_size, status.st_mtime_ns
    return found


def finished(runs: Runs, truth: Recording) -> Path:
    list(truth.replay(runs.root, []))
    return runs.root / truth.folder_name


@pytest.mark.parametrize("name", ["multipage_full", "ndtiff_full", "singleplane_full"])
def test_a_projection_beside_a_restored_run_restores_nothing_twice(
    runs: Runs, shared_data: Path, name: str
) -> None:
    folder = finished(runs, recording(shared_data, name))
    assert runs.once() >= 12
    assert runs.counts == {"done": 12}
    for what, make in foreign_files(folder.name).items():
        make(folder / what)
    before = contents(runs.root)
    assert runs.once() == 0
    assert runs.counts == {"done": 12}
    assert any("MAX_run.tif" in warning for warning in runs.warnings)
    assert contents(runs.root) == before
    assert not (folder / "restored").exists()


def rename_a_run(runs: Runs, shared_data: Path, acquisitions: str, *, lost: bool) -> None:
    """Rename a restored run together with its results, and later others to their names."""
    folder = finished(runs, recording(shared_data, "multipage_full"))
    assert runs.once(acquisitions=acquisitions) >= 12
    renamed = folder.rename(folder.with_name("cellA"))
    results_of_acquisition(folder).rename(results_of_acquisition(renamed))
    projection(renamed / "MAX_run.tif")
    if lost:
        shutil.rmtree(runs.state)
    before = contents(runs.root)
    assert runs.once(acquisitions=acquisitions) == 0
    assert contents(runs.root) == before
    assert runs.counts == {"done": 12}
    again = renamed.rename(renamed.with_name("cellB"))  # of which no report tells
    results_of_acquisition(renamed).rename(results_of_acquisition(again))
    assert runs.once(acquisitions=acquisitions) == 0
    assert runs.counts == {"done": 12}
    renamed = again
    # The pixels are the proof: other pixels under those names get results of their own.
    kept = results_of_acquisition(renamed).rename(runs.root / "other_restored")
    renamed.rename(runs.root / "first")
    other = finished(runs, recording(shared_data, "multipage_acqengj"))
    other.rename(runs.root / "other")
    before = contents(kept)
    assert runs.once(acquisitions=acquisitions) > 0
    assert before.items() <= contents(kept).items()


@pytest.mark.parametrize("lost", [False, True], ids=["known", "journal lost"])
def test_a_run_renamed_together_with_its_results_is_not_done_again(
    runs: Runs, shared_data: Path, lost: bool
) -> None:
    rename_a_run(runs, shared_data, "ome-tiff", lost=lost)


@pytest.mark.usefixtures("zarr")
def test_so_is_one_whose_results_are_growing_images(runs: Runs, shared_data: Path) -> None:
    rename_a_run(runs, shared_data, "ome-zarr", lost=True)


def test_a_file_renamed_together_with_its_result_is_not_done_again(runs: Runs) -> None:
    raw = stack(runs.root / "a.tif")
    assert runs.once() == 1
    raw.rename(runs.root / "b.tif")
    for ending in (".ome.tif", ".json"):
        (runs.root / "restored" / f"a{ending}").rename(runs.root / "restored" / f"b{ending}")
    before = contents(runs.root)
    assert runs.once() == 0
    assert contents(runs.root) == before
    assert runs.counts == {"done": 1}
    stack(runs.root / "b.tif", planes=4)  # another stack under the name
    assert runs.once() == 1
    assert (runs.root / "restored" / "b.ome.tif").stat().st_size == before["restored/b.ome.tif"][0]


def test_a_copy_beside_the_first_is_counted_for_itself(runs: Runs) -> None:
    raw = stack(runs.root / "a.tif")
    assert runs.once() == 1
    for path, copy in ((raw, "b.tif"), (runs.root / "restored/a.ome.tif", "restored/b.ome.tif"),
                       (runs.root / "restored/a.json", "restored/b.json")):  # fmt: skip
        shutil.copy2(path, runs.root / copy)
    assert runs.once() == 0
    assert runs.counts == {"done": 2}


def test_a_file_renamed_with_a_result_that_lacks_stacks_is_not_done_again(
    runs: Runs,
) -> None:
    """A run that was stopped in its seventh time point of ten."""
    planes = np.random.default_rng(1).integers(1, 200, (20, 8, 8)).astype(np.uint16)
    tifffile.imwrite(
        runs.root / "a.ome.tif", planes, photometric="minisblack", metadata=None,
        description="ImageJ=1.54f\nimages=30\nslices=3\nframes=10\nhyperstack=true\n",
    )  # fmt: skip
    assert runs.once() == 6
    counts = runs.counts
    (runs.root / "a.ome.tif").rename(runs.root / "b.ome.tif")
    for ending in (".ome.tif", ".json"):
        (runs.root / "restored" / f"a{ending}").rename(runs.root / "restored" / f"b{ending}")
    before = contents(runs.root)
    assert runs.once() == 0
    assert contents(runs.root) == before
    assert runs.counts == counts


@pytest.mark.parametrize("call", [1, 7, 12])
def test_a_run_renamed_with_its_results_while_it_is_restored(
    runs: Runs, shared_data: Path, call: int
) -> None:
    """What is in hand then has no result under the name of before, and one under the new."""
    folder = finished(runs, recording(shared_data, "multipage_full"))
    renamed = folder.with_name("cellA")

    def rename() -> None:
        # Nothing is just getting its name: a result whose report is to come is nobody's.
        before = results_of_acquisition(folder)
        wait_for(lambda: len(list(before.glob("*.json"))) == call - 1, "what was begun before")
        folder.rename(renamed)
        if call > 1:
            results_of_acquisition(folder).rename(results_of_acquisition(renamed))

    runs.at_call[call] = rename
    runs.live(lambda: runs.counts == {"done": 12})
    assert not results_of_acquisition(folder).exists()
    reports = sorted(results_of_acquisition(renamed).glob("*.json"))
    assert len(reports) == len(list(results_of_acquisition(renamed).iterdir())) / 2 == 12
    assert runs.restored == 12
    assert not [warning for warning in runs.warnings if "renamed" in warning or "gone" in warning]


def test_a_file_renamed_while_it_is_restored(runs: Runs) -> None:
    raw = stack(runs.root / "a.tif")
    runs.at_call[1] = lambda: raw.rename(runs.root / "b.tif")
    runs.live(lambda: runs.counts == {"done": 1})
    assert {path.name for path in (runs.root / "restored").iterdir()} == {"b.ome.tif", "b.json"}
    assert (runs.restored, runs.network) == (1, 2)


def test_a_file_renamed_to_a_name_that_nobody_finds_has_its_result(runs: Runs) -> None:
    raw = stack(runs.root / "a.tif")
    runs.at_call[1] = lambda: raw.rename(runs.root / "a.tif.bak")
    runs.live(lambda: runs.counts == {"done": 1})
    assert {path.name for path in (runs.root / "restored").iterdir()} == {"a.ome.tif", "a.json"}


def run_of(folder: Path, first: int) -> None:
    """Record two stacks of three planes, whose grey values begin at ``first``."""
    run = NdTiff(folder, axes_in_metadata=True)
    for time in range(2):
        for z in range(3):
            run.plane(first + 3 * time + z, time=time, z=z)
    run.finish()


def test_another_run_under_the_name_of_one_that_was_restored_is_restored(runs: Runs) -> None:
    """Of the same names, shape and plan: its pixels alone tell that the results are not its own."""
    folder = runs.root / "run_1"
    run_of(folder, 5)
    assert runs.once() == 2
    shutil.rmtree(folder)
    shutil.rmtree(runs.state)  # whose time stamps would tell as well
    run_of(folder, 50)
    assert runs.once() == 2
    assert runs.counts == {"done": 2}


def test_positions_of_different_depth_are_each_restored(runs: Runs) -> None:
    run = NdTiff(runs.root / "run_1", axes_in_metadata=True)
    depths = (5, 3)
    for time in range(2):
        for position, depth in enumerate(depths):
            for z in range(depth):
                run.plane(5 + z, time=time, position=position, z=z)
    run.finish()
    runs.once()
    assert runs.counts == {"done": 4}
    for position, depth in enumerate(depths):
        for time in range(2):
            label = StackIndex(position, time, 0).label
            restored = tifffile.imread(runs.root / "run_1_restored" / f"{label}.ome.tif")
            assert restored.shape[0] == depth
