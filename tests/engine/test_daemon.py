"""The daemon's own loop, beside what its parts do."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from live_restore.engine.backoff import Backoff
from live_restore.engine.daemon import Daemon
from live_restore.engine.progress import Progress
from live_restore.errors import JournalError
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.settings.load import load_settings
from live_restore.stack import Fingerprint
from tests.support.fakes import fake_shelf
from tests.support.keys import key_at
from tests.support.processes import wait_for
from tests.support.watched import stack


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    root = tmp_path / "watched"
    root.mkdir()
    journal = Journal(tmp_path / "j.sqlite", root, recipe="one")
    yield Daemon(root, load_settings(None, {}), fake_shelf(), journal)
    journal.close()


def test_what_is_set_aside_counts_as_failed_in_this_run(daemon: Daemon) -> None:
    """A script that goes by the exit code of ``--once`` must not lose it."""
    daemon._journal.record(key_at("killer.tif"), Fingerprint(10, 1), State.WAITING, stacks=1)
    for died in range(3):  # processes that died over it
        daemon._journal.recover(3)
        assert daemon._journal.lease(30.0) is not None, died
    assert daemon.run(once=True) == 1
    assert "1 failed" in daemon.summary()


def test_garbage_is_searched_for_in_what_is_new_only(daemon: Daemon) -> None:
    frozen: list[int] = []
    daemon.run(once=True, tick=lambda: frozen.append(gc.get_freeze_count()))
    assert min(frozen) > 10_000
    assert gc.get_freeze_count() == 0


def test_what_waits_for_a_full_disk_is_counted_once(tmp_path: Path) -> None:
    root = stack(tmp_path / "watched" / "a.tif").parent
    settings = load_settings(None, {"output": {"min_free_gb": 1e6}, "watch": {"quiet_s": 0.3}})
    with Journal(tmp_path / "j.sqlite", root, recipe="one") as journal:
        daemon = Daemon(root, settings, fake_shelf(), journal)
        assert daemon.run(once=True) == 1  # a script has to know
        assert daemon.summary().startswith("0 restored, 0 failed, 0 refused in this run; ")
        assert "1 waiting" in daemon.summary()


@pytest.mark.parametrize("mode", ["auto", "full"])
def test_restoring_waits_while_stacks_arrive_and_works_them_off_afterwards(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live_restore.engine.microscope_first.IdleCores", lambda: lambda: 0.0)
    root = tmp_path / "watched"
    root.mkdir()
    settings = load_settings(None, {"process": {"while_acquiring": mode}})
    with Journal(tmp_path / "j.sqlite", root, recipe="one") as journal:
        daemon = Daemon(root, settings, fake_shelf(), journal)
        thread = threading.Thread(target=daemon.run, daemon=True)
        thread.start()
        try:
            for number in range(14):
                stack(root / f"{number:02d}.tif")
                time.sleep(0.1)
            meanwhile = daemon.progress.snapshot()
            assert daemon.status().waiting == (mode == "auto")
            assert (meanwhile.files_restored == 0) == (mode == "auto")
            wait_for(lambda: daemon.progress.snapshot().files_restored == 14, "the backlog", 20)
        finally:
            daemon.stop()
            thread.join()


def test_scanning_pauses_while_the_journal_refuses(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> float:
        raise JournalError("the journal cannot be written (full)", None, "free some space")

    monkeypatch.setattr(daemon._source, "poll", refuse)
    backoff = Backoff(Progress())
    began = time.monotonic()
    assert daemon._look(False, backoff) == 0.0
    assert time.monotonic() - began >= 0.5, "the first wait of a backoff"
    daemon.stop()
    began = time.monotonic()
    daemon._look(False, backoff)
    assert time.monotonic() - began < 0.4, "a stop does not wait"
