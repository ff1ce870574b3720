"""Large, deep and long-lived folders: what looking may cost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from live_restore.errors import LiveRestoreError
from live_restore.formats.file_format import Arriving, Complete
from live_restore.formats.tiff.tiff_format import TiffFormat
from live_restore.journal.states import State
from live_restore.sources.events import watch_events
from tests.support.systems import posix
from tests.support.watched import Scene, stack

W = State.WAITING


def test_scans_of_many_files_are_rare_while_nothing_arrives(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans: list[float] = []
    walk = scene.source._tree.files

    def costly(top: Path) -> Iterator[Any]:
        scans.append(scene.now)
        scene.worked += 0.1
        return walk(top)

    monkeypatch.setattr(scene.source._tree, "files", costly)
    scene.poll(1.0, times=100)
    assert len(scans) == 4  # 0.1 s in 30 s
    stack(scene.root / "growing.tif", declared=False)
    scene.poll(1.0, times=30)  # found by the next scan at the latest
    scans.clear()
    scene.root.joinpath("growing.tif").write_bytes(b"II*\0")
    scene.source.hint(scene.root / "growing.tif")
    scene.poll(0.1)
    scene.poll(1.0, times=31)
    assert len(scans) > 1, "while something arrives, scans are as frequent as the settings say"


def test_a_slow_scan_is_not_all_that_is_done(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scans: list[float] = []
    listing = os.scandir

    def slow(path: Path) -> Any:
        scans.append(scene.now)
        scene.now += 1
        return listing(path)

    monkeypatch.setattr(os, "scandir", slow)
    for _ in range(30):
        scene.poll(1)
    assert len(scans) == 2


@posix  # Windows has no paths that long
def test_a_chain_of_nested_folders_does_not_end_the_walk(scene: Scene) -> None:
    stack(scene.root / "good.tif")
    chain = [scene.root]
    try:
        for _ in range(1200):
            chain.append(chain[-1] / "d")
            chain[-1].mkdir()
        scene.settle()
        assert scene.states() == {"good.tif": W}
        try:
            stop = watch_events(scene.root, True, scene.source.hint)
        except LiveRestoreError as error:
            assert "scanned instead" in str(error)  # noqa: PT017 - not on every Python
        else:
            stop()
    finally:  # too deep for those who clean up
        for folder in reversed(chain[1:]):
            folder.rmdir()


def test_a_stop_is_seen_in_the_middle_of_a_scan(scene: Scene) -> None:
    for number in range(20):
        stack(scene.root / f"{number}.tif")
    scene.poll()
    looked: list[Path] = []

    def inspect(path: Path) -> None:
        looked.append(path)
        scene.stopping = len(looked) == 3

    scene.format = Looking(inspect)
    scene.restart()
    scene.poll()
    scene.poll(3)
    assert len(looked) == 3
    scene.stopping = False
    scene.settle()
    assert len(scene.states()) == 20


class Looking(TiffFormat):
    """Tells which files are looked into."""

    def __init__(self, tell: Callable[[Path], None]) -> None:
        super().__init__()
        self.tell = tell

    def inspect(self, path: Path) -> Arriving | Complete | None:
        self.tell(path)
        return super().inspect(path)


def test_many_files_cost_few_transactions(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(250):
        stack(scene.root / f"{number}.tif")
    scene.poll()
    batches: list[int] = []
    batch = scene.journal.batch
    monkeypatch.setattr(scene.journal, "batch", lambda: (batches.append(1), batch())[1])
    scene.settle()
    assert len(scene.states()) == 250
    assert len(batches) <= 5


def test_a_new_name_is_found_without_a_walk_through_all_that_is_old(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without events, over so many files that a walk may happen once in minutes only."""
    for day in range(5):
        stack(scene.root / f"day {day}" / "old.tif")
    scene.settle()
    walk, walks = scene.source._tree.files, 0

    def costly(top: Path) -> Iterator[Any]:
        nonlocal walks
        walks += 1
        scene.worked += 1.0  # 300 s of rest
        return walk(top)

    monkeypatch.setattr(scene.source._tree, "files", costly)
    scene.poll(2.1, times=3)  # walks once more, and lists twice what is new
    assert walks == 1
    for number, folder in enumerate(("day 4", "day 0", "new/deep")):
        new = stack(scene.root / folder / f"new {number}.tif")
        scene.poll(2.1)
        scene.poll(0.3)
        assert scene.states()[new.relative_to(scene.root).as_posix()] is W, folder
    assert walks == 1


def test_a_name_given_within_one_tick_of_the_clock_of_files_is_found(scene: Scene) -> None:
    """The time stamp of a folder does not tell two names apart that it got within 2 s (FAT)."""
    scene.settle()
    before = scene.root.stat()
    scene.source._budget.next_scan = scene.now + 1000
    stack(scene.root / "first.tif")
    os.utime(scene.root, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    scene.poll(2.1)
    stack(scene.root / "second.tif")
    os.utime(scene.root, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    scene.poll(2.1, times=2)
    scene.poll(0.3)
    assert scene.states() == {"first.tif": W, "second.tif": W}


def test_looking_at_what_is_undecided_has_a_budget(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5,000 empty files had 69 % of a core, for ten minutes."""
    for number in range(50):
        (scene.root / f"{number}.tif").touch()
    looks = 0
    observe = scene.source._files.observe

    def costly(seen: Any, **anew: Any) -> None:
        nonlocal looks
        looks += 1
        scene.worked += 0.001
        observe(seen, **anew)

    monkeypatch.setattr(scene.source._files, "observe", costly)
    scene.poll()
    scene.worked, began = 0.0, scene.now
    scene.poll(0.1, times=300)
    assert scene.worked / (scene.now - began) < 0.05
    assert looks > 200


def test_looking_into_many_files_does_not_keep_others_waiting(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished night was copied here; what is recorded now is looked at all the same."""
    monkeypatch.setattr(time, "thread_time", lambda: scene.worked)

    def look(path: Path) -> None:
        scene.worked += 0.5

    scene.format = Looking(look)
    scene.restart()
    for number in range(4):
        stack(scene.root / f"{number}.tif")
    scene.settle()
    stack(scene.root / "new.tif")
    scene.poll(2.5)
    scene.settle()
    assert scene.states()["new.tif"] is W


def test_an_interval_longer_than_set_is_reported_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack(scene.root / "old.tif")
    scene.settle()
    assert scene.warnings == []
    listing = os.scandir

    def slow(path: Path) -> Any:
        scene.now += 1
        return listing(path)

    monkeypatch.setattr(os, "scandir", slow)
    for number in range(40):
        stack(scene.root / f"{number}.tif")
        scene.poll(2.5)
    (told,) = scene.warnings
    assert "without file events, new files are found after" in told
