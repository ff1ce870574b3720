"""Events of the file system, as they come and as the system refuses them."""

from __future__ import annotations

import queue
import time
from pathlib import Path

import pytest

from live_restore.errors import LiveRestoreError
from live_restore.sources.events import watch_events
from tests.support.processes import wait_for
from tests.support.watched import stack


def test_events_name_files_and_moved_folders(tmp_path: Path) -> None:
    root = tmp_path / "watched"
    (root / "sub").mkdir(parents=True)
    outside = stack(tmp_path / "run" / "b.tif").parent
    hints: set[Path] = set()
    stop = watch_events(root, True, hints.add)
    try:
        stack(root / "sub" / "a.tif")
        outside.rename(root / "run")
        (root / "sub" / "a.tif").rename(root / "sub" / "c.tif")
        expected = {root / "sub" / "c.tif", root / "run"}
        wait_for(lambda: expected <= hints, "events", 10)
    finally:
        stop()
    assert root not in hints
    assert root / "sub" not in hints


def test_events_come_while_others_follow_without_a_pause(tmp_path: Path) -> None:
    came: list[float] = []
    stop = watch_events(tmp_path, True, lambda _: came.append(time.monotonic()))
    try:
        until = time.monotonic() + 0.6
        while time.monotonic() < until:
            (tmp_path / "plane.tif").write_bytes(bytes(100))
            time.sleep(0.01)
        assert came, "nothing was told before the last one"
    finally:
        stop()


def test_events_that_the_system_refuses(tmp_path: Path) -> None:
    with pytest.raises(LiveRestoreError, match=r"file events are not available.*scanned instead"):
        watch_events(tmp_path / "absent", True, lambda _: None)


def test_events_of_a_share_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As watchdog has it on Windows, where it gives up after 2 s."""
    from watchdog.observers.api import BaseObserver

    def give_up(_: object) -> None:
        raise queue.Empty

    monkeypatch.setattr(BaseObserver, "start", give_up)
    with pytest.raises(LiveRestoreError, match=r"the disk does not answer.*scanned instead"):
        watch_events(tmp_path, True, lambda _: None)
