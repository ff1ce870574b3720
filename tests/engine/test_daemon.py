"""The daemon's own loop, beside what its parts do."""

from __future__ import annotations

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
