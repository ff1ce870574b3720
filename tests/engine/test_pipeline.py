"""The pipeline from journal to results, with real files and a network that halves."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from live_restore.engine.file_job import FileJob
from live_restore.errors import (
    StackBusyError,
)
from live_restore.journal.states import State
from tests.support.fakes import Floats, fake_shelf, halve
from tests.support.pipeline import PATIENCE_S, Bench, Gate
from tests.support.processes import wait_for


def test_what_waits_is_restored(bench: Bench) -> None:
    paths = [bench.stack(f"{n}.tif") for n in range(5)]
    before = [p.read_bytes() for p in paths]
    bench.run()
    for number, path in enumerate(paths):
        assert bench.state(path.name) is State.DONE
        assert bench.entry(path.name).result == str(bench.result(f"{number}.ome.tif"))
        restored = tifffile.imread(bench.result(f"{number}.ome.tif"))
        raw = tifffile.imread(path)
        assert (restored.shape, restored.dtype) == (raw.shape, raw.dtype)
        assert restored.max() < raw.max()
        assert bench.report(f"{number}.json")["stacks"][0]["restored"] is True
    assert [p.read_bytes() for p in paths] == before
    snapshot = bench.progress.snapshot()
    assert (snapshot.files_restored, snapshot.stacks_restored, snapshot.files_failed) == (5, 5, 0)
    assert snapshot.current == ""


def test_one_bad_among_good(bench: Bench) -> None:
    bench.stack("1.tif")
    damaged = bench.stack("2.tif")
    damaged.write_bytes(b"II*\0" + b"\xff" * 500)
    bench.wait_in_journal(damaged)
    bench.stack("3.tif", np.full((3, 8, 8), 7))
    bench.stack("4.tif")
    bench.run()
    assert [bench.state(f"{n}.tif").value for n in range(1, 5)] == [
        "done", "failed", "refused", "done",
    ]  # fmt: skip
    assert bench.entry("2.tif").reason
    assert "constant" in bench.entry("3.tif").reason
    assert not bench.result("3.ome.tif").exists()
    snapshot = bench.progress.snapshot()
    assert (snapshot.files_failed, snapshot.files_refused) == (1, 1)


def test_an_unexpected_error_is_that_files_alone(bench: Bench) -> None:
    def surprise(tile: Floats) -> Floats:
        if tile.shape[2] == 5:
            raise ZeroDivisionError("surprise\nin two lines")
        return halve(tile)

    bench.model_set = fake_shelf(surprise)
    bench.stack("1.tif")
    bench.stack("2.tif", np.random.default_rng(1).integers(1, 99, (5, 8, 8)))
    bench.stack("3.tif")
    bench.run()
    assert [bench.state(f"{n}.tif").value for n in (1, 2, 3)] == ["done", "failed", "done"]
    reason = bench.entry("2.tif").reason
    assert reason.startswith("unexpected ZeroDivisionError: surprise")
    assert "report it" in reason
    assert "\n" not in reason
    assert sorted(p.name for p in (bench.root / "restored").iterdir()) == [
        "1.json", "1.ome.tif", "3.json", "3.ome.tif",
    ]  # fmt: skip


@pytest.mark.parametrize("newest_first", [False, True])
def test_the_settings_say_which_end_is_restored_first(bench: Bench, newest_first: bool) -> None:
    bench.settings = {"watch": {"newest_first": newest_first}}
    for n in (1, 2, 3):
        bench.stack(f"{n}.tif")
    bench.run()
    order = sorted((1, 2, 3), key=lambda n: bench.entry(f"{n}.tif").finished_at or 0.0)
    assert order == ([3, 2, 1] if newest_first else [1, 2, 3])


def test_a_busy_file_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = FileJob.open
    tries: list[Path] = []

    def busy(path: Path, *how: Any, **more: Any) -> Any:
        tries.append(path)
        if len(tries) < 3:
            raise StackBusyError("is in use", path, "close it there")
        return opened(path, *how, **more)

    monkeypatch.setattr(FileJob, "open", staticmethod(busy))
    bench.stack("a.tif")
    bench.start()
    wait_for(lambda: bench.state("a.tif") is State.DONE, "the retry", PATIENCE_S)
    assert len(tries) == 3


def test_a_file_in_hand_is_not_leased_again(bench: Bench) -> None:
    """Its source may find more stacks of it meanwhile: two jobs would write into one result."""
    gate = Gate()
    bench.model_set = fake_shelf(gate)
    path = bench.stack("a.tif")
    bench.start()
    assert gate.entered.wait(PATIENCE_S)
    os.utime(path, (1e9, 1e9))
    bench.wait_in_journal(path)
    time.sleep(0.5)
    assert bench.state("a.tif") is State.WAITING, "it waits for what is in hand"
    gate.open.set()
    wait_for(lambda: bench.state("a.tif") is State.DONE, "the second time", PATIENCE_S)


def test_what_is_assumed_is_a_note_and_no_warning(bench: Bench) -> None:
    path = bench.root / "a.tif"
    tifffile.imwrite(path, np.arange(240, dtype=np.uint16).reshape(3, 8, 10), metadata=None,
                     photometric="minisblack")  # fmt: skip
    bench.wait_in_journal(path)
    bench.run()
    told = bench.progress.snapshot()
    assert told.warnings == ()
    assert any("nothing declares what planes are" in note for note in told.notes)


def test_skipped_channels_stay_as_they_are(bench: Bench) -> None:
    bench.model_set = fake_shelf(skip=("1",))
    image = np.random.default_rng(1).integers(10, 200, (2, 3, 8, 8))
    path = bench.stack("a.tif", image, "CZYX")
    bench.run()
    raw, restored = tifffile.imread(path), tifffile.imread(bench.result("a.ome.tif"))
    assert np.array_equal(restored[1], raw[1])
    assert not np.array_equal(restored[0], raw[0])
    assert [s["restored"] for s in bench.report("a.json")["stacks"]] == [True, False]
    assert 'no model for channel "1"' in bench.report("a.json")["stacks"][1]["reason"]


def test_a_file_of_skipped_channels_only_is_refused(bench: Bench) -> None:
    bench.model_set = fake_shelf(skip=("*",))
    bench.stack("a.tif")
    bench.run()
    assert bench.state("a.tif") is State.REFUSED
    assert "no model for any of its channels" in bench.entry("a.tif").reason


def test_a_constant_stack_among_others_costs_them_nothing(bench: Bench) -> None:
    image = np.random.default_rng(1).integers(10, 200, (3, 3, 8, 8))
    image[1] = 42
    bench.stack("a.tif", image, "TZYX")
    bench.run()
    restored = tifffile.imread(bench.result("a.ome.tif"))
    assert (restored[1] == 42).all()
    report = bench.report("a.json")
    assert [s["restored"] for s in report["stacks"]] == [True, False, True]
    assert "constant" in report["stacks"][1]["reason"]
    assert any("constant" in w for w in bench.progress.snapshot().warnings)


def test_a_stack_that_fails_in_mid_file_publishes_nothing(bench: Bench) -> None:
    seen: list[int] = []

    def third_fails(tile: Floats) -> Floats:
        seen.append(1)
        return tile * np.float32(np.nan if len(seen) == 3 else 0.5)

    bench.model_set = fake_shelf(third_fails)
    bench.stack("a.tif", np.random.default_rng(1).integers(10, 200, (6, 3, 8, 8)), "TZYX")
    bench.stack("b.tif")
    bench.run()
    assert (bench.state("a.tif"), bench.state("b.tif")) == (State.FAILED, State.DONE)
    assert "not finite" in bench.entry("a.tif").reason
    assert sorted(p.name for p in bench.result("").iterdir()) == ["b.json", "b.ome.tif"]


def test_a_result_that_is_there_is_not_made_again(bench: Bench) -> None:
    path = bench.stack("a.tif")
    bench.run()
    first = bench.result("a.ome.tif").stat().st_mtime_ns
    bench.wait_in_journal(path)
    bench.run()
    assert bench.state("a.tif") is State.DONE
    assert bench.entry("a.tif").result == str(bench.result("a.ome.tif"))
    assert bench.result("a.ome.tif").stat().st_mtime_ns == first
    assert bench.progress.snapshot().files_restored == 1


@pytest.mark.parametrize(("age_s", "counts"), [(0, True), (3600, False), (-3600, False)])
def test_the_shown_delay_is_of_files_that_arrived_in_this_run(
    bench: Bench, age_s: float, counts: bool
) -> None:
    path = bench.stack("a.tif")
    written_at = time.time() - age_s
    os.utime(path, (written_at, written_at))
    bench.progress.started_at = time.time() - 60
    bench.wait_in_journal(path)
    bench.run()
    delay_s = bench.progress.snapshot().delay_s
    assert (delay_s is not None) == counts
    assert delay_s is None or 0 <= delay_s < 20


@pytest.mark.skipif(os.name != "posix", reason="names are always text there")
def test_names_of_every_kind(bench: Bench) -> None:
    names = ["a b.tif", "ä [x] {y}.tif", "two\nlines.tif", os.fsdecode(b"\xff.tif"), "[bold].tif"]
    for name in names:
        bench.stack(name)
    bench.run()
    assert {e.state for e in bench.journal.entries()} == {State.DONE}
    for name in names:
        assert bench.result(name.replace(".tif", ".ome.tif")).exists()
        assert bench.result(name.replace(".tif", ".json")).exists()


def test_memory_does_not_grow_with_the_backlog(bench: Bench) -> None:
    """No more files are claimed than the stages and their queues can hold."""
    most = [0]

    def count(tile: Floats) -> Floats:
        most[0] = max(most[0], bench.journal.counts()[State.RUNNING])
        return halve(tile)

    bench.model_set = fake_shelf(count)
    for n in range(20):
        bench.stack(f"{n}.tif")
    bench.run()
    assert 2 <= most[0] <= 7


def test_the_newest_waits_for_no_more_than_the_one_in_hand(bench: Bench) -> None:
    gate = Gate()
    bench.model_set = fake_shelf(gate)
    bench.settings = {"watch": {"newest_first": True}}
    for n in range(5):
        bench.stack(f"{n}.tif")
    bench.start()
    assert gate.entered.wait(PATIENCE_S)
    time.sleep(0.3)  # time enough to claim more, if it would
    bench.stack("newest.tif")
    gate.open.set()
    wait_for(lambda: bench.journal.counts()[State.DONE] == 6, "the end", PATIENCE_S)
    order = sorted(bench.journal.entries(), key=lambda e: e.finished_at or 0.0)
    assert [e.key.path.name for e in order][:2] == ["4.tif", "newest.tif"]
