"""The pipeline with a real journal, real TIFFs and a fake network."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from live_restore.engine import backoff as patience_module
from live_restore.engine.file_job import FileJob
from live_restore.engine.jobs import Jobs
from live_restore.engine.outcome import OutcomeRecorder
from live_restore.engine.pipeline import Pipeline
from live_restore.engine.progress import Progress
from live_restore.errors import (
    DiskFullError,
    InferenceError,
    JournalError,
    LiveRestoreError,
    OutputError,
    RuntimeFailureError,
    StackBusyError,
)
from live_restore.files import publish as publish_module
from live_restore.files.naming import TEMPORARY_SUFFIX
from live_restore.files.shared_lease import SharedLeases
from live_restore.formats.table import make_acquisition_formats, make_formats
from live_restore.inference.model_set import ModelSet
from live_restore.journal.entry import Entry
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.settings.load import load_settings
from live_restore.stack import StackKey
from tests.support.fakes import Floats, fake_shelf, fingerprint_of, halve
from tests.support.keys import key_at
from tests.support.processes import wait_for

PATIENCE_S = 20.0


@dataclass
class Bench:
    """A folder, a journal and a pipeline that a test starts and stops."""

    root: Path
    journal: Journal
    model_set: ModelSet = field(default_factory=fake_shelf)
    progress: Progress = field(default_factory=Progress)
    reconsidered: list[StackKey] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    pipeline: Pipeline | None = None
    jobs: Jobs | None = None

    def stack(self, name: str, image: np.ndarray | None = None, axes: str = "ZYX") -> Path:
        """Write a stack and let it wait in the journal."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if image is None:
            image = np.random.default_rng(len(name)).integers(10, 200, (3, 8, 10))
        tifffile.imwrite(
            path, image.astype(np.uint16), photometric="minisblack", metadata={"axes": axes}
        )
        return self.wait_in_journal(path)

    def wait_in_journal(self, path: Path) -> Path:
        source = path.relative_to(self.root)
        self.journal.record(key_at(source), fingerprint_of(path), State.WAITING, stacks=1)
        return path

    def start(
        self, *, retry: bool = True, stop_asked: Callable[[], bool] = lambda: False
    ) -> Pipeline:
        settings = load_settings(
            None, {"journal": {"retry_s": 0.05, "lease_s": 0.3}, **self.settings}
        )
        self.jobs = jobs = Jobs(
            self.root, make_formats(), make_acquisition_formats(), self.model_set, settings
        )
        self.pipeline = Pipeline(
            self.journal,
            jobs,
            self.model_set,
            settings,
            self.progress,
            self.reconsidered.append,
            retry=retry,
            stop_asked=stop_asked,
        )
        self.pipeline.start()
        return self.pipeline

    def stop(self) -> None:
        if self.pipeline is not None:
            self.pipeline.stop()
            self.pipeline = None
        if self.jobs is not None:
            self.jobs.close()

    def run(self) -> None:
        """Restore all that waits."""
        pipeline = self.start(retry=False)
        wait_for(lambda: pipeline.idle() or pipeline.crash is not None, "the pipeline", PATIENCE_S)
        self.stop()
        assert pipeline.crash is None, pipeline.crash

    def entry(self, name: str) -> Entry:
        return next(e for e in self.journal.entries() if e.key.path == Path(name))

    def state(self, name: str) -> State:
        return self.entry(name).state

    def result(self, name: str) -> Path:
        return self.root / "restored" / name

    def report(self, name: str) -> dict[str, Any]:
        return dict(json.loads(self.result(name).read_text(encoding="utf-8")))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    root = tmp_path / "watched"
    root.mkdir()
    with Journal(tmp_path / "state" / "j.sqlite", root, recipe="r" * 64) as journal:
        made = Bench(root, journal)
        yield made
        made.stop()


class Gate:
    """A network that waits until it is let go."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()

    def __call__(self, tile: Floats) -> Floats:
        self.entered.set()
        assert self.open.wait(PATIENCE_S)
        return halve(tile)


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


def test_an_error_while_publishing_is_that_files_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = FileJob.begin

    def surprise(job: Any, *arguments: Any) -> Any:
        if job.file_stacks.path.name == "2.tif":
            raise KeyError("surprise")
        return begin(job, *arguments)

    monkeypatch.setattr(FileJob, "begin", surprise)
    for n in (1, 2, 3):
        bench.stack(f"{n}.tif")
    bench.run()
    assert [bench.state(f"{n}.tif").value for n in (1, 2, 3)] == ["done", "failed", "done"]


def test_an_output_that_is_refused_is_tried_again(bench: Bench) -> None:
    """A file where the folder should be: refused for root, too."""
    blocked = bench.root / "restored"
    blocked.write_bytes(b"in the way")
    bench.stack("a.tif")
    pipeline = bench.start()
    wait_for(lambda: bool(bench.entry("a.tif").reason), "the first refusal", PATIENCE_S)
    wait_for(lambda: key_at("a.tif") in pipeline._deferrals, "a deferral", PATIENCE_S)
    assert bench.state("a.tif") in (State.WAITING, State.RUNNING)
    assert bench.entry("a.tif").attempts <= 1
    assert bench.progress.snapshot().files_failed == 0
    blocked.unlink()
    wait_for(lambda: bench.state("a.tif") is State.DONE, "the retry", PATIENCE_S)
    wait_for(lambda: key_at("a.tif") not in pipeline._deferrals, "its end", PATIENCE_S)


def test_it_is_put_off_before_it_waits_again(bench: Bench) -> None:
    """Else the reader could lease it in between, and ask the disk again at once."""
    (bench.root / "restored").write_bytes(b"in the way")
    give_back, put_off = bench.journal.give_back, []

    def watched(entry: Entry, *arguments: Any, **options: Any) -> None:
        assert bench.pipeline is not None
        put_off.append(entry.key in bench.pipeline._deferrals)
        give_back(entry, *arguments, **options)

    bench.journal.give_back = watched  # type: ignore[method-assign]
    bench.stack("a.tif")
    bench.start()
    wait_for(lambda: bool(put_off), "the refusal", PATIENCE_S)
    assert put_off[0]


def test_without_retry_what_the_disk_refused_waits_and_counts_as_failed(bench: Bench) -> None:
    (bench.root / "restored").write_bytes(b"in the way")
    bench.stack("a.tif")
    bench.stack("sub/b.tif")
    bench.run()
    assert bench.state("a.tif") is State.WAITING
    assert bench.state("sub/b.tif") is State.DONE
    assert bench.progress.snapshot().files_failed == 1


def test_a_disk_that_fills_in_mid_file(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from live_restore.outputs.ome_tiff import OmeTiffWriter

    write, left = OmeTiffWriter.write, [2]

    def full(self: OmeTiffWriter, *arguments: Any) -> None:
        if left[0] == 0:
            left[0] = -1
            raise OSError(28, "No space left on device")
        left[0] -= left[0] > 0
        write(self, *arguments)

    monkeypatch.setattr(OmeTiffWriter, "write", full)
    bench.stack("a.tif", np.random.default_rng(1).integers(1, 99, (6, 3, 8, 8)), "TZYX")
    bench.stack("b.tif")
    bench.start()
    for name in ("a.tif", "b.tif"):
        wait_for(lambda name=name: bench.state(name) is State.DONE, name, PATIENCE_S)  # type: ignore[misc]
    assert left[0] == -1
    assert any("free some space" in w for w in bench.progress.snapshot().warnings)
    assert not [p for p in bench.result("").iterdir() if p.name.endswith(TEMPORARY_SUFFIX)]


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


def test_a_file_replaced_while_it_is_restored(bench: Bench) -> None:
    gate = Gate()
    bench.model_set = fake_shelf(gate)
    path = bench.stack("a.tif")
    pipeline = bench.start(retry=False)
    assert gate.entered.wait(PATIENCE_S)
    other = path.with_suffix(".new")
    tifffile.imwrite(other, np.ones((9, 8, 8), np.uint16), photometric="minisblack")
    other.replace(path)
    gate.open.set()
    wait_for(pipeline.idle, "the end", PATIENCE_S)
    assert bench.state("a.tif") is State.FAILED
    assert "changed while it was being restored" in bench.entry("a.tif").reason
    assert bench.reconsidered == [key_at("a.tif")]
    assert not bench.result("a.ome.tif").exists()
    # Once the new file is restored, nothing has failed in this run.
    bench.stack("a.tif")
    pipeline.notify()
    wait_for(lambda: bench.state("a.tif") is State.DONE, "the new file", PATIENCE_S)
    wait_for(lambda: bench.progress.snapshot().files_failed == 0, "a clean count", PATIENCE_S)


def test_a_file_that_is_moved_away_while_it_is_restored(bench: Bench) -> None:
    gate = Gate()
    bench.model_set = fake_shelf(gate)
    path = bench.stack("a.tif")
    pipeline = bench.start(retry=False)
    assert gate.entered.wait(PATIENCE_S)
    path.rename(bench.root.parent / "archived.tif")
    gate.open.set()
    wait_for(pipeline.idle, "the end", PATIENCE_S)
    assert bench.state("a.tif") is State.DONE
    assert bench.result("a.ome.tif").exists()
    assert any("moved or deleted" in w for w in bench.progress.snapshot().warnings)


def test_what_is_assumed_is_a_note_and_no_warning(bench: Bench) -> None:
    path = bench.root / "a.tif"
    tifffile.imwrite(path, np.arange(240, dtype=np.uint16).reshape(3, 8, 10), metadata=None,
                     photometric="minisblack")  # fmt: skip
    bench.wait_in_journal(path)
    bench.run()
    told = bench.progress.snapshot()
    assert told.warnings == ()
    assert any("nothing declares what planes are" in note for note in told.notes)


@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_that_went_before_it_was_read(bench: Bench, replaced: bool) -> None:
    path = bench.stack("a.tif")
    bench.stack("b.tif")
    path.unlink()
    if replaced:
        tifffile.imwrite(path, np.ones((9, 8, 8), np.uint16), photometric="minisblack")
    bench.run()
    assert (bench.state("a.tif"), bench.state("b.tif")) == (State.FAILED, State.DONE)
    assert bench.reconsidered == [key_at("a.tif")]
    assert bench.entry("a.tif").fingerprint.size == -1


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


def test_stopped_in_mid_stack_it_is_given_back(bench: Bench) -> None:
    gate = Gate()
    bench.model_set = fake_shelf(gate)
    bench.stack("a.tif", np.random.default_rng(1).integers(10, 200, (4, 3, 8, 8)), "TZYX")
    bench.stack("b.tif")
    pipeline = bench.start()
    assert gate.entered.wait(PATIENCE_S)
    stopper = threading.Thread(target=pipeline.stop)
    stopper.start()
    wait_for(pipeline._stopping.is_set, "the stop", PATIENCE_S)
    gate.open.set()
    stopper.join(PATIENCE_S)
    bench.pipeline = None
    assert {(e.state, e.attempts) for e in bench.journal.entries()} == {(State.WAITING, 0)}
    assert not (bench.root / "restored").exists() or not list(bench.result("").iterdir())
    bench.run()
    assert {e.state for e in bench.journal.entries()} == {State.DONE}


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


def test_leftovers_of_a_killed_process_are_removed(bench: Bench) -> None:
    left = bench.result(f".a.ome.tif.{publish_module._host()}-{os.getpid()}-00{TEMPORARY_SUFFIX}")
    left.parent.mkdir()
    left.touch()
    bench.stack("a.tif")
    bench.run()
    assert not left.exists()


def test_what_was_in_hand_at_a_crash_is_worked_on_alone(bench: Bench) -> None:
    """Else a stack that kills would take its neighbours into the grave with it."""
    for n in range(4):
        bench.stack(f"{n}.tif")
    for _ in range(3):  # three files were in hand when the program died
        assert bench.journal.lease(30)
    bench.journal.recover(3)
    running: list[int] = []

    def count(tile: Floats) -> Floats:
        time.sleep(0.1)  # long enough for the reader to claim another, if it would
        running.append(bench.journal.counts()[State.RUNNING])
        return halve(tile)

    bench.model_set = fake_shelf(count)
    bench.run()
    assert running[:3] == [1, 1, 1]
    assert {e.state for e in bench.journal.entries()} == {State.DONE}


def test_what_was_in_hand_at_a_crash_waits_for_what_is_in_hand_now(bench: Bench) -> None:
    """It comes second here: the first is still in hand when it is looked at."""
    bench.stack("first.tif")
    bench.stack("suspect.tif")
    assert bench.journal.lease(30, {key_at("first.tif")})
    bench.journal.recover(3)
    running: list[int] = []

    def count(tile: Floats) -> Floats:
        time.sleep(0.2)  # long enough for the reader to claim another, if it would
        running.append(bench.journal.counts()[State.RUNNING])
        return halve(tile)

    bench.model_set = fake_shelf(count)
    bench.run()
    assert set(running) == {1}
    assert {e.state for e in bench.journal.entries()} == {State.DONE}


def test_a_stack_too_large_for_a_full_disk_lets_a_smaller_one_go_first(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = FileJob.begin
    tried: list[str] = []

    def full(job: Any, *arguments: Any) -> Any:
        tried.append(job.file_stacks.path.name)
        if job.file_stacks.path.name == "large.tif":
            raise DiskFullError("the disk is full", None, "free some space")
        return begin(job, *arguments)

    monkeypatch.setattr(FileJob, "begin", full)
    bench.settings = {"journal": {"retry_s": 30.0}}  # put off far longer than the disk is
    bench.stack("large.tif")
    bench.start()
    wait_for(lambda: bool(bench.entry("large.tif").reason), "the refusal", PATIENCE_S)
    bench.stack("small.tif")
    wait_for(lambda: bench.state("small.tif") is State.DONE, "the smaller one", PATIENCE_S)
    assert tried[:2] == ["large.tif", "small.tif"]


def test_the_heartbeat_keeps_the_claim(bench: Bench) -> None:
    gate = Gate()
    bench.model_set = fake_shelf(gate)
    bench.stack("a.tif")
    renewed: list[float] = []
    renew = bench.journal.renew
    bench.journal.renew = lambda *told: (renewed.append(told[0]), renew(*told))[1]  # type: ignore[method-assign]
    bench.start()
    assert gate.entered.wait(PATIENCE_S)
    wait_for(lambda: len(renewed) >= 3, "three heartbeats", PATIENCE_S)
    gate.open.set()
    wait_for(lambda: bench.state("a.tif") is State.DONE, "the end", PATIENCE_S)


@pytest.mark.parametrize("method", ["lease", "finish"])
def test_a_broken_journal_ends_the_pipeline_loudly(bench: Bench, method: str) -> None:
    bench.stack("a.tif", np.random.default_rng(1).integers(10, 200, (6, 3, 8, 8)), "TZYX")
    bench.stack("b.tif")
    failure = LiveRestoreError("the journal cannot be written (malformed)")

    def fail(*_: object, **__: object) -> None:
        raise failure

    setattr(bench.journal, method, fail)
    pipeline = bench.start()
    wait_for(lambda: pipeline.crash is not None, "the crash", PATIENCE_S)
    bench.stop()
    assert pipeline.crash is failure
    delattr(bench.journal, method)
    bench.journal.recover(3)
    bench.run()
    assert {e.state for e in bench.journal.entries()} == {State.DONE}


@pytest.mark.parametrize("method", ["lease", "finish", "renew", "give_back", "lose"])
def test_a_journal_whose_disk_is_full_is_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(patience_module, "_FIRST_WAIT_S", 0.05)
    bench.stack("a.tif")
    if method == "give_back":
        (bench.root / "restored").write_bytes(b"in the way")
    if method == "lose":
        (bench.root / "a.tif").unlink()
    left, refused = [3], []
    real = getattr(bench.journal, method)

    def full(*arguments: Any, **options: Any) -> Any:
        if left[0]:
            left[0] -= 1
            refused.append(method)
            raise JournalError("the journal cannot be written (full)", None, "free some space")
        return real(*arguments, **options)

    monkeypatch.setattr(bench.journal, method, full)
    bench.model_set = fake_shelf(lambda tile: (time.sleep(0.2), halve(tile))[1])
    pipeline = bench.start()
    expected = {"give_back": State.WAITING, "lose": State.FAILED}.get(method, State.DONE)
    wait_for(lambda: not left[0] and bench.state("a.tif") is expected, "the end", PATIENCE_S)
    assert pipeline.crash is None
    assert len(refused) == 3
    told = [w for w in bench.progress.snapshot().warnings if "(full); free some space" in w]
    assert len(told) == 1


def test_a_stop_does_not_wait_for_a_full_disk(bench: Bench) -> None:
    bench.stack("a.tif")

    def full(*_: Any, **__: Any) -> None:
        raise JournalError("the journal cannot be written (full)")

    bench.journal.finish = full  # type: ignore[method-assign]
    pipeline = bench.start()
    wait_for(lambda: bool(bench.progress.snapshot().warnings), "the refusal", PATIENCE_S)
    began = time.monotonic()
    bench.stop()
    assert time.monotonic() - began < 2
    assert pipeline.crash is None
    del bench.journal.finish
    bench.journal.recover(3)
    bench.run()
    assert bench.state("a.tif") is State.DONE
    assert bench.progress.snapshot().files_restored == 1


def test_a_stop_that_is_asked_is_seen_without_being_told(bench: Bench) -> None:
    asked: list[bool] = []
    gate = Gate()
    bench.model_set = fake_shelf(gate)
    bench.stack("a.tif", np.random.default_rng(1).integers(10, 200, (9, 3, 8, 8)), "TZYX")
    bench.start(stop_asked=lambda: bool(asked))
    assert gate.entered.wait(PATIENCE_S)
    asked.append(True)
    gate.open.set()
    wait_for(lambda: bench.state("a.tif") is State.WAITING, "the giving back", PATIENCE_S)
    time.sleep(0.2)
    assert bench.state("a.tif") is State.WAITING


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


def test_a_file_that_is_refused_by_the_disk_does_not_block_the_rest(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.stack("1.tif")
    bench.stack("2.tif")
    begin = FileJob.begin

    def refuse_first(job: Any, *arguments: Any) -> Any:
        if job.file_stacks.path.name == "1.tif":
            raise OutputError("no space", job.file_stacks.path, "free some")
        return begin(job, *arguments)

    monkeypatch.setattr(FileJob, "begin", refuse_first)
    bench.start()
    wait_for(lambda: bench.state("2.tif") is State.DONE, "the second", PATIENCE_S)
    bench.stop()
    assert bench.state("1.tif") is State.WAITING


def shelves_on(*functions: Callable[[Floats], Floats]) -> ModelSet:
    """Return a shelf whose models are warm on as many devices."""
    first, *others = (fake_shelf(function) for function in functions)
    return replace(first, beside=tuple(others))


def test_every_device_restores_a_stack_at_the_same_time(bench: Bench) -> None:
    met = threading.Barrier(2, timeout=PATIENCE_S)  # broken, and the stack failed, if one is alone
    devices: set[int] = set()

    def on(device: int) -> Callable[[Floats], Floats]:
        def run(tile: Floats) -> Floats:
            devices.add(device)
            met.wait()
            return halve(tile)

        return run

    bench.model_set = shelves_on(on(0), on(1))
    images = np.random.default_rng(0).integers(10, 200, (4, 3, 8, 10))
    bench.stack("lapse.tif", images, "TZYX")
    for number in range(4):
        bench.stack(f"{number}.tif")
    bench.run()
    assert devices == {0, 1}
    assert all(entry.state is State.DONE for entry in bench.journal.entries())
    alone = fake_shelf().rules[0][1]
    assert alone is not None
    written = tifffile.imread(bench.result("lapse.ome.tif"))
    for stack, image in zip(written, images.astype(np.uint16), strict=True):
        assert np.array_equal(stack, alone.restore(image).volume)


def test_a_stack_that_fails_on_one_device_leaves_the_others_theirs(bench: Bench) -> None:
    def fail(tile: Floats) -> Floats:
        raise InferenceError("no", None)

    bench.model_set = shelves_on(fail, halve)
    for number in range(6):
        bench.stack(f"{number}.tif")
    bench.run()
    states = [entry.state for entry in bench.journal.entries()]
    assert set(states) == {State.DONE, State.FAILED}


def test_the_watched_folder_may_go(bench: Bench) -> None:
    bench.stack("a.tif")
    shutil.rmtree(bench.root)
    bench.run()
    assert bench.state("a.tif") is State.FAILED


@pytest.mark.parametrize("instead", ["nothing", "an empty folder"])
def test_a_share_that_goes_while_a_stack_is_restored(bench: Bench, instead: str) -> None:
    """Its result must not be made where the share was: it would be hidden, and count as done."""
    gate = Gate()
    bench.model_set = fake_shelf(gate)
    bench.stack("a.tif")
    bench.start()
    assert gate.entered.wait(PATIENCE_S)
    away = bench.root.with_name("away")
    bench.root.rename(away)
    if instead == "an empty folder":
        bench.root.mkdir()
    gate.open.set()
    wait_for(lambda: bool(bench.entry("a.tif").reason), "the refusal", PATIENCE_S)
    bench.stop()
    assert bench.state("a.tif") is not State.DONE
    assert not bench.root.exists() or list(bench.root.iterdir()) == []
    assert [p.name for p in away.iterdir()] == ["a.tif"]


def test_a_runtime_that_fails_for_a_while_costs_no_stack(bench: Bench) -> None:
    left = [2]

    def fails_twice(tile: Floats) -> Floats:
        if left[0]:
            left[0] -= 1
            raise RuntimeFailureError("CUDA failure 999: unknown error")
        return halve(tile)

    bench.model_set = fake_shelf(fails_twice)
    bench.stack("a.tif")
    bench.start()
    wait_for(lambda: bench.state("a.tif") is State.DONE, "the third attempt", PATIENCE_S)


def test_a_stack_over_which_the_runtime_always_fails_is_set_aside(bench: Bench) -> None:
    def fails(tile: Floats) -> Floats:
        if tile.shape[2] == 5:
            raise RuntimeFailureError("CUDA failure 999: unknown error")
        return halve(tile)

    bench.model_set = fake_shelf(fails)
    bench.stack("1.tif")
    bench.stack("2.tif", np.random.default_rng(1).integers(1, 99, (5, 8, 8)))
    bench.stack("3.tif")
    bench.start()
    wait_for(lambda: bench.state("2.tif") is State.FAILED, "the third attempt", PATIENCE_S)
    wait_for(lambda: bench.state("3.tif") is State.DONE, "the next", PATIENCE_S)
    assert bench.entry("2.tif").attempts == 3
    assert "CUDA failure 999" in bench.entry("2.tif").reason


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


@pytest.mark.parametrize("dies", ["before it is recorded", "between publishing and release"])
def test_whoever_dies_with_a_result_that_is_there_leaves_no_lease_for_good(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    """What the journal calls done, nobody comes back for."""

    class DeathError(BaseException):
        pass

    def die(*_: object) -> None:
        raise DeathError

    bench.settings = {"output": {"shared": True}}
    bench.stack("cell.tif")
    with monkeypatch.context() as patched:
        if dies == "before it is recorded":
            patched.setattr(OutcomeRecorder, "good", die)
        else:
            patched.setattr(SharedLeases, "end", die)
        pipeline = bench.start()
        wait_for(lambda: pipeline.crash is not None, "its death", PATIENCE_S)
        bench.stop()
    assert bench.result("cell.json").exists()
    assert bench.state("cell.tif") is not State.DONE
    bench.journal.recover(3)
    bench.run()
    assert bench.state("cell.tif") is State.DONE
    assert sorted(path.name for path in bench.result("").iterdir()) == ["cell.json", "cell.ome.tif"]
