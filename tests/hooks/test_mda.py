"""pymmcore-plus: what the acquisition's thread pays, and what comes of unsaved runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from live_restore import LiveRestore
from live_restore.errors import StackChangedError, UsageError
from live_restore.hooks import mda
from live_restore.hooks.mda import MdaFollower

useq = pytest.importorskip("useq", reason="pip install 'live-restore[micromanager]'")


class Signal:
    def __init__(self) -> None:
        self.slots: list[Callable[..., None]] = []

    def connect(self, slot: Callable[..., None]) -> None:
        self.slots.append(slot)

    def disconnect(self, slot: Callable[..., None]) -> None:
        self.slots.remove(slot)

    def emit(self, *values: Any) -> None:
        for slot in self.slots:
            slot(*values)


class Run:
    """A runner whose signals a test emits, and the work that piles up behind it."""

    def __init__(self, folder: Path, output: Path | None = None) -> None:
        self.events = SimpleNamespace(
            sequenceStarted=Signal(), frameReady=Signal(), sequenceFinished=Signal()
        )
        self.tasks: list[Callable[[], None]] = []
        self.said: list[str] = []
        self.told: list[tuple[str, Path]] = []
        self.follower = MdaFollower(self, output, folder, self.tasks.append, self.said.append)
        self.follower.connect(
            lambda path: self.told.append(("begin", path)),
            lambda path: self.told.append(("end", path)),
        )

    def is_running(self) -> bool:
        return True

    def work(self) -> None:
        while self.tasks:
            self.tasks.pop(0)()


META = {"image_infos": [{"pixel_size_um": 0.2}]}
SEQUENCE = useq.MDASequence(
    axis_order="tpcz",
    time_plan={"interval": 0, "loops": 4},
    channels=[
        {"config": "DAPI"},
        {"config": "FITC", "acquire_every": 2},
        {"config": "Cy5", "do_stack": False},
    ],
    z_plan={"range": 2, "step": 1},
)


def test_channels_that_skip_planes_and_time_points(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.events.sequenceStarted.emit(SEQUENCE, META)
    for event in SEQUENCE:
        run.events.frameReady.emit(np.ones((4, 5), np.uint16), event, {})
    run.work()
    (folder,) = tmp_path.iterdir()
    # DAPI at four time points, FITC at two: all whole before anybody said that the run is over.
    expected = [f"p000_t000{t}_c00.ome.tif" for t in range(4)]
    expected += ["p000_t0000_c01.ome.tif", "p000_t0002_c01.ome.tif"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(expected)
    run.events.sequenceFinished.emit(SEQUENCE)
    run.work()
    assert run.told == [("begin", folder), ("end", folder)]
    assert run.said == [f'{folder}: not restored: channel 2 "Cy5" has no z-stack']


def test_the_acquisition_only_queues_and_memory_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)
    image = np.ones((512, 512), np.uint16)
    monkeypatch.setattr(mda, "HELD_BYTES", 10 * image.nbytes)
    run.events.sequenceStarted.emit(SEQUENCE, META)
    first = next(iter(SEQUENCE))
    costs = []
    for _ in range(1000):
        began = time.thread_time()
        run.events.frameReady.emit(image, first, {})
        costs.append(time.thread_time() - began)
    assert sorted(costs)[-10] < 0.001, "and not the garbage collection of a large process alone"
    assert list(tmp_path.iterdir()) == []
    assert len(run.tasks) == 1 + 10
    run.events.sequenceFinished.emit(SEQUENCE)
    run.work()
    assert "990 plane(s) that came faster than the disk takes them" in run.said[0]


def test_a_saved_run_is_followed_where_its_writer_puts_it(tmp_path: Path) -> None:
    run = Run(tmp_path, tmp_path / "run.zarr")
    assert run.events.frameReady.slots == []
    (tmp_path / "run.ome.zarr").mkdir()
    run.events.sequenceStarted.emit(SEQUENCE, META)
    run.events.sequenceFinished.emit(SEQUENCE)
    run.work()
    assert run.told == [("begin", tmp_path / "run.ome.zarr"), ("end", tmp_path / "run.ome.zarr")]
    run.follower.disconnect()
    assert run.events.sequenceStarted.slots == []


def test_a_saved_run_that_was_not_there_when_it_began(tmp_path: Path) -> None:
    run = Run(tmp_path, tmp_path / "run.ome.zarr")
    run.events.sequenceStarted.emit(SEQUENCE, META)
    with pytest.raises(StackChangedError, match=r"give live\.follow the output"):
        run.work()
    (tmp_path / "run.ome.zarr").mkdir()
    run.events.sequenceFinished.emit(SEQUENCE)
    run.work()
    assert run.told == [("begin", tmp_path / "run.ome.zarr"), ("end", tmp_path / "run.ome.zarr")]


def test_an_ome_tiff_is_named_only_when_its_writer_has_closed_it(tmp_path: Path) -> None:
    run = Run(tmp_path, tmp_path / "run.ome.tiff")
    run.events.sequenceStarted.emit(SEQUENCE, META)
    run.work()
    assert run.told == []
    (tmp_path / "run").mkdir()  # one file for each of several positions
    run.events.sequenceFinished.emit(SEQUENCE)
    run.work()
    assert run.told == [("begin", tmp_path / "run"), ("end", tmp_path / "run")]


def test_a_run_that_outlives_the_block_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path)
    with LiveRestore() as live:
        live.follow(SimpleNamespace(mda=run), tmp_path / "run.ome.zarr")
    assert "`.join()` it before the block ends; restore" in capsys.readouterr().err


def test_an_output_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"run\.h5: cannot be followed; give run_mda"):
        Run(tmp_path, tmp_path / "run.h5")
