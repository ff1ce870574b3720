"""Disks that fill, refuse and go, files that change, while the pipeline works."""

from __future__ import annotations

import shutil
import time
from typing import Any

import numpy as np
import pytest
import tifffile

from live_restore.engine import backoff as patience_module
from live_restore.engine.file_job import FileJob
from live_restore.errors import (
    DiskFullError,
    JournalError,
    LiveRestoreError,
    OutputError,
)
from live_restore.files.naming import TEMPORARY_SUFFIX
from live_restore.journal.entry import Entry
from live_restore.journal.states import State
from tests.support.fakes import fake_shelf, halve
from tests.support.keys import key_at
from tests.support.pipeline import PATIENCE_S, Bench, Gate
from tests.support.processes import wait_for


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
