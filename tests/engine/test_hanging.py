"""A share that stopped answering: what hangs is shown, and a stop does not wait for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from live_restore.engine import daemon as daemons
from live_restore.engine import looker, pipeline, waits
from live_restore.engine.daemon import Daemon
from live_restore.formats.tiff.reader import TiffReader
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.settings.load import load_settings
from tests.support.fakes import fake_shelf
from tests.support.processes import wait_for
from tests.support.watched import stack


class Hanging:
    """Calls that do not return before the test ends."""

    def __init__(self) -> None:
        self.hangs, self.answered = threading.Event(), threading.Event()

    def __call__(self, *_: Any) -> Any:
        self.hangs.set()
        assert self.answered.wait(60)
        raise OSError(5, "the share is gone")


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    monkeypatch.setattr(waits, "_LONG_S", 0.05)
    for module in (looker, pipeline):
        monkeypatch.setattr(module, "PATIENCE_S", 0.3)
    made, before = Hanging(), set(threading.enumerate())
    yield made
    made.answered.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(20)


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[tuple[Daemon, Journal]]:
    root = tmp_path / "watched"
    stack(root / "a.tif")
    settings = load_settings(
        None, {"watch": {"settle_s": 0.05, "use_events": False}, "journal": {"lease_s": 0.3}}
    )
    with Journal(tmp_path / "j.sqlite", root, recipe="one") as journal:
        yield Daemon(root, settings, fake_shelf(), journal), journal


def shown(daemon: Daemon, text: str) -> bool:
    return any(text in warning for warning in daemon.progress.snapshot().warnings)


def test_a_read_that_hangs_is_shown_and_left_behind(
    watching: tuple[Daemon, Journal], hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TiffReader, "read", hanging)
    daemon, journal = watching
    thread = threading.Thread(target=daemon.run)
    thread.start()
    wait_for(lambda: shown(daemon, "reading a.tif has taken"), "the display")
    wait_for(lambda: "reading a.tif has taken" in journal.hanging(), "the status")
    daemon.stop()
    thread.join(10)
    assert not thread.is_alive()
    (entry,) = journal.entries()
    assert (entry.state, entry.attempts) == (State.WAITING, 0)


def test_a_scan_that_hangs_is_shown_and_left_behind(
    watching: tuple[Daemon, Journal], hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, _ = watching
    root, scandir = daemon.status().root, os.scandir

    def of_the_share(path: Any = ".") -> Any:
        return hanging() if Path(path).is_relative_to(root) else scandir(path)

    monkeypatch.setattr(os, "scandir", of_the_share)
    ticks: list[int] = []
    thread = threading.Thread(target=lambda: daemon.run(tick=lambda: ticks.append(1)))
    thread.start()
    wait_for(lambda: shown(daemon, "looking into the folder has taken"), "the display")
    before = len(ticks)
    wait_for(lambda: len(ticks) > before, "a display that goes on")
    daemon.stop()
    thread.join(10)
    assert not thread.is_alive()


def test_what_a_look_raises_is_raised_where_it_was_asked_for() -> None:
    def look() -> float:
        raise LookupError("of the look")

    with looker.Looker(look) as made, pytest.raises(LookupError, match="of the look"):
        made.look(lambda: None, lambda: False)
    assert daemons.Looker is looker.Looker
