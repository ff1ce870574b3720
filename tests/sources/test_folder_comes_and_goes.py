"""What changes, vanishes, moves or comes back while a folder is watched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from live_restore.errors import JournalError
from live_restore.journal.states import State
from tests.support.watched import Scene, Slow, stack

W, A, F = State.WAITING, State.ARRIVING, State.FAILED
INCOMPLETE = State.INCOMPLETE


def test_a_settled_file_that_changes_is_new(scene: Scene) -> None:
    path = stack(scene.root / "a.tif")
    scene.settle()
    first = scene.entry("a.tif").fingerprint
    stack(path, 5)
    scene.settle()
    assert scene.states() == {"a.tif": W}
    assert scene.entry("a.tif").fingerprint != first


def test_a_file_that_vanishes_is_forgotten(scene: Scene) -> None:
    path = stack(scene.root / "a.tif", declared=False)
    scene.poll()
    scene.poll(1)
    assert scene.states() == {"a.tif": A}
    path.unlink()
    scene.poll(1)
    assert scene.states() == {}
    assert scene.unsettled() == 0


def test_what_vanished_while_nobody_watched_is_forgotten(scene: Scene) -> None:
    path = stack(scene.root / "a.tif", declared=False)
    scene.poll()
    scene.poll(1)
    scene.restart()
    path.unlink()
    scene.poll()
    assert scene.states() == {}


def test_a_file_that_vanishes_between_listing_and_look(scene: Scene) -> None:
    path = stack(scene.root / "large.tif")
    scene.format = Slow(path.unlink)
    scene.restart()
    scene.settle()
    assert scene.states() == {}


def test_a_renamed_file_is_named_once(scene: Scene) -> None:
    stack(scene.root / "a.tif.part")
    scene.settle()
    assert scene.states() == {}
    (scene.root / "a.tif.part").rename(scene.root / "a.tif")
    scene.settle()
    assert scene.states() == {"a.tif": W}


def test_a_folder_that_is_moved_in(scene: Scene) -> None:
    outside = stack(scene.root.parent / "run" / "deep" / "a.tif").parents[1]
    scene.poll()
    outside.rename(scene.root / "run")
    scene.source.hint(scene.root / "run")
    scene.poll(0.1)
    scene.poll(0.3)
    assert scene.states() == {"run/deep/a.tif": W}


@pytest.mark.parametrize("what", ["list", "enter"])
def test_a_folder_that_cannot_be_looked_into(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    stack(scene.root / "closed" / "a.tif")
    stack(scene.root / "open.tif")
    listing = os.scandir
    closed = [True]

    class Entry:
        name = "a.tif"

        def is_dir(self, **_: bool) -> bool:
            return False

        def is_file(self, **_: bool) -> bool:
            return True

    class Listing(list[Entry]):
        def __enter__(self) -> Listing:
            return self

        def __exit__(self, *_: object) -> None: ...

    def scandir(path: Path) -> Any:
        if closed[0] and Path(path).name == "closed":
            if what == "list":
                raise PermissionError(13, "Permission denied")
            return Listing([Entry()])
        return listing(path)

    status = Path.lstat

    def lstat(path: Path) -> os.stat_result:
        if closed[0] and path.parent.name == "closed":
            raise PermissionError(13, "Permission denied")
        return status(path)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(Path, "lstat", lstat)
    scene.settle()
    assert scene.states() == {"open.tif": W}
    closed[0] = False
    scene.settle()
    assert scene.states() == {"open.tif": W, "closed/a.tif": W}


def test_a_root_that_goes_and_comes_back(scene: Scene) -> None:
    stack(scene.root / "a.tif")
    scene.settle()
    scene.root.rename(scene.root.with_name("elsewhere"))
    scene.settle()
    assert scene.states() == {"a.tif": W}
    scene.root.with_name("elsewhere").rename(scene.root)
    stack(scene.root / "b.tif")
    scene.settle()
    assert scene.states() == {"a.tif": W, "b.tif": W}


def test_a_lost_file_is_found_again_after_a_restart(scene: Scene) -> None:
    stack(scene.root / "a.tif")
    scene.settle()
    entry = scene.journal.lease(30)
    assert entry is not None
    scene.journal.lose(entry, "vanished")
    scene.restart()
    scene.settle()
    assert scene.states() == {"a.tif": W}


def test_a_share_that_goes_and_comes_back_is_forgotten_meanwhile_but_not_restored_twice(
    scene: Scene,
) -> None:
    stack(scene.root / "good.tif")
    (scene.root / "bad.tif").write_text("this is no image at all")
    whole = stack(scene.root / "short.tif").read_bytes()
    (scene.root / "short.tif").write_bytes(whole[:-100])
    scene.settle()
    scene.poll(61)
    entry = scene.journal.lease(30)
    assert entry is not None
    scene.journal.finish(entry, State.DONE, result="x")
    expected = {"good.tif": State.DONE, "bad.tif": F, "short.tif": INCOMPLETE}
    assert scene.states() == expected
    scene.root.rename(scene.root.with_name("away"))
    scene.poll(3)
    assert not scene.source._files._settled
    assert len(scene.source._tree.unreadable) == 1
    scene.root.with_name("away").rename(scene.root)
    scene.settle()
    assert scene.states() == expected
    assert not scene.source._tree.unreadable
    assert len(scene.bad) == 1


def test_a_full_disk_under_the_journal_loses_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(150):
        stack(scene.root / f"{number}.tif")
    scene.poll()

    @contextmanager
    def full() -> Iterator[None]:
        raise JournalError("full")
        yield

    with monkeypatch.context() as patch:
        patch.setattr(scene.journal, "batch", full)
        scene.now += 3
        for _ in range(3):
            with pytest.raises(JournalError):
                scene.source.poll()
    assert scene.states() == {}
    (scene.root / "bad.tif").write_text("this is no image at all")
    scene.settle()
    assert len(scene.states()) == 151
    assert len(scene.bad) == 1


def test_lost_while_its_share_was_away_it_is_found_when_it_comes_back(scene: Scene) -> None:
    """The share may be back before the next scan: nothing says that it was ever away."""
    path = stack(scene.root / "a.tif")
    scene.settle()
    entry = scene.journal.lease(30)
    assert entry is not None
    away = path.rename(scene.root.with_name("away.tif"))
    scene.journal.lose(entry, "the file vanished")
    scene.source.reconsider(entry.key)
    scene.source.poll()
    away.rename(path)
    scene.settle()
    assert scene.states() == {"a.tif": State.WAITING}
