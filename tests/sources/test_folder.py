"""The folder source on real folders, with a clock that only the test moves."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from live_restore.errors import JournalError, LiveRestoreError, StackBusyError
from live_restore.formats.file_format import Arriving, Complete
from live_restore.formats.tiff.tiff_format import TiffFormat
from live_restore.journal.states import State
from live_restore.sources.events import watch_events
from tests.support.keys import key_at
from tests.support.processes import wait_for
from tests.support.watched import Scene, stack

posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX file system")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    root = tmp_path / "watched"
    root.mkdir()
    made = Scene(root, tmp_path / "state" / "j.sqlite")
    yield made
    made.journal.close()


W, A, F, R = State.WAITING, State.ARRIVING, State.FAILED, State.REFUSED
INCOMPLETE = State.INCOMPLETE


def test_complete_stacks_are_named_in_order_of_their_last_write(scene: Scene) -> None:
    for age, name in enumerate(["b.tif", "a.tif", "sub/deep/c.tif"]):
        path = stack(scene.root / name)
        os.utime(path, (1e9 + age, 1e9 + age))
    scene.settle()
    assert [e.key.path.as_posix() for e in scene.journal.entries()] == [
        "b.tif", "a.tif", "sub/deep/c.tif",
    ]  # fmt: skip
    assert set(scene.states().values()) == {W}
    assert scene.unsettled() == 0


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


def test_what_is_being_written_is_told_and_what_was_there_is_not(scene: Scene) -> None:
    old = stack(scene.root / "old.tif")
    os.utime(old, (1e9, 1e9))
    scene.poll()
    assert scene.arrivals == [], "a copy of last year's is no microscope at work"
    new = stack(scene.root / "new.tif")
    scene.poll(3.0)
    scene.poll(0.1)
    assert scene.arrivals == [1003.0]
    with new.open("ab") as file:
        file.write(b"more")
    scene.poll(0.1)
    assert len(scene.arrivals) == 2
    scene.settle()
    assert len(scene.arrivals) == 2


def test_sub_folders_can_be_left_out(scene: Scene) -> None:
    scene.restart(watch={"recursive": False})
    stack(scene.root / "a.tif")
    stack(scene.root / "sub" / "b.tif")
    scene.settle()
    scene.source.hint(scene.root / "sub")
    scene.settle()
    assert scene.states() == {"a.tif": W}


def test_what_is_no_input_is_not_looked_at(scene: Scene) -> None:
    for name in (".hidden.tif", "notes.txt", ".git/a.tif", "restored/a.ome.tif",
                 "sub/restored/b.tif", ".a.tif.1-2.live-restore-part"):  # fmt: skip
        stack(scene.root / name)
        scene.source.hint(scene.root / name)
    scene.source.hint(scene.root.parent / "outside.tif")
    scene.source.hint(scene.root / "restored")
    scene.source.hint(scene.root / ".git")
    scene.settle()
    assert scene.states() == {}


def test_reports_beside_results_are_not_told_as_files_that_nobody_looks_at(scene: Scene) -> None:
    scene.restart(output={"template": "{folder}/{name}_restored.ome.tif"})
    for name in ("a.tif", "a_restored.ome.tif"):
        stack(scene.root / name)
    for name in ("a_restored.json", "b_restored.json", "a.json"):
        (scene.root / name).write_text("{}")
    scene.settle()
    of_a_run = scene.root / "run_1_restored"  # which has been renamed
    stack(of_a_run / "p000_t0000_c00.ome.tif")
    (of_a_run / "p001.reports").mkdir()
    for report in ("p000_t0000_c00.json", "p001.reports/p001_t0000_c00.json"):
        (of_a_run / report).write_text("{}")
    scene.settle()
    (others,) = scene.source.passed_by()
    assert (others.count, others.example) == (2, Path("a.json"))


@posix
def test_links_pipes_and_folders_are_left_alone(scene: Scene) -> None:
    outside = stack(scene.root.parent / "outside.tif")
    (scene.root / "link.tif").symlink_to(outside)
    (scene.root / "loop").symlink_to(scene.root)
    (scene.root / "dangling.tif").symlink_to(scene.root / "absent")
    os.mkfifo(scene.root / "pipe.tif")
    (scene.root / "folder.tif").mkdir()
    stack(scene.root / "folder.tif" / "a.tif")
    for path in scene.root.iterdir():
        scene.source.hint(path)
    scene.source.hint(scene.root / "loop" / "folder.tif" / "a.tif")
    scene.poll()
    scene.poll(0.3)
    scene.settle()
    assert scene.states() == {"folder.tif/a.tif": W}
    assert scene.unsettled() == 0


def test_own_results_are_never_inputs(scene: Scene) -> None:
    image = np.ones((3, 8, 8), np.uint16)
    software = "live-restore 1.0 (result 0123456789abcdef)"
    tifffile.imwrite(scene.root / "copied.tif", image, photometric="minisblack", software=software)
    scene.settle()
    assert scene.states() == {}
    assert scene.unsettled() == 0


def test_bad_files_are_named_and_told(scene: Scene) -> None:
    (scene.root / "text.tif").write_text("this is no image at all")
    tifffile.imwrite(scene.root / "flat.tif", np.ones((8, 8), np.uint16))
    stack(scene.root / "good.tif")
    scene.settle()
    assert scene.states() == {"text.tif": F, "flat.tif": R, "good.tif": W}
    assert sorted(scene.bad) == [(Path("flat.tif"), R), (Path("text.tif"), F)]
    assert scene.entry("flat.tif").reason
    scene.restart()
    scene.settle()
    assert len(scene.bad) == 2


def test_nothing_is_decided_before_it_has_settled(scene: Scene) -> None:
    stack(scene.root / "a.tif")
    scene.poll()
    scene.poll(0.2)
    assert scene.states() == {}
    assert scene.source.undecided() == 1
    scene.poll(0.1)
    assert scene.states() == {"a.tif": W}


def test_a_growing_file_is_waited_for(scene: Scene) -> None:
    path = scene.root / "a.tif"
    whole = stack(path, 6).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    scene.poll()
    for part in range(3, 6):
        scene.poll(0.5, times=2)
        assert scene.states() == {"a.tif": A}
        path.write_bytes(whole[: len(whole) * part // 6])
    scene.poll(0.1)
    path.write_bytes(whole)
    scene.poll(0.1)
    scene.poll(0.3)
    assert scene.states() == {"a.tif": W}


def test_what_is_replaced_while_it_is_looked_into_is_looked_at_anew(scene: Scene) -> None:
    path = stack(scene.root / "a.tif")

    class Late(TiffFormat):
        def inspect(self, path: Path) -> Arriving | Complete | None:
            if not looks:
                stack(path, 5)
            looks.append(path.name)
            return super().inspect(path)

    looks: list[str] = []
    scene.format = Late()
    scene.restart()
    scene.poll()
    scene.poll(0.3)
    assert looks == ["a.tif"]
    assert W not in scene.states().values()
    scene.settle()
    assert scene.states() == {"a.tif": W}
    assert scene.entry("a.tif").fingerprint.size == path.stat().st_size


def test_an_undeclared_file_needs_a_longer_quiet(scene: Scene) -> None:
    stack(scene.root / "a.tif", declared=False)
    scene.poll()
    scene.poll(1.0)
    assert scene.states() == {"a.tif": A}
    assert scene.source.undecided() == 1
    scene.poll(1.1)
    assert scene.states() == {"a.tif": W}


class Slow(TiffFormat):
    """Takes its time with large.tif, during which others are written."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self.meanwhile = meanwhile

    def inspect(self, path: Path) -> Arriving | Complete | None:
        if path.name == "large.tif":
            self.meanwhile()
        return super().inspect(path)


def test_quiet_is_time_between_looks_at_that_file(scene: Scene) -> None:
    """While a large neighbour is looked into, a growing file must not pass as quiet."""
    growing = scene.root / "z.tif"

    def meanwhile() -> None:
        scene.now += 10
        stack(growing, 4, declared=False)

    scene.format = Slow(meanwhile)
    scene.restart()
    stack(scene.root / "large.tif")
    scene.poll()
    stack(growing, 3, declared=False)
    os.utime(growing, (1, 1))
    scene.poll(0.5)
    scene.poll(0.1)
    scene.poll(0.1)
    assert scene.states().get("z.tif") in (None, A)
    assert scene.states()["large.tif"] is W


def test_a_slow_scan_does_not_make_a_file_quiet(scene: Scene) -> None:
    """What was read from the folder before a large file was looked into is old by then."""
    growing = scene.root / "z.tif"

    def meanwhile() -> None:
        scene.now += 10
        stack(growing, 4, declared=False)

    scene.format = Slow(meanwhile)
    scene.restart()
    scene.poll()
    scene.now += 0.5
    scene.source.hint(stack(growing, declared=False))
    scene.poll()
    scene.poll(0.5)
    assert scene.states() == {"z.tif": A}
    large = stack(scene.root / "large.tif")
    os.utime(large, (1, 1))
    scene.source.hint(large)
    scene.poll(0.7)
    scene.poll(0.3)  # now the scan is due, and the large file has settled
    assert scene.states()["large.tif"] is W
    assert scene.states()["z.tif"] is A


def test_stopped_early_it_becomes_incomplete_and_is_taken_up_again(scene: Scene) -> None:
    path = scene.root / "a.tif"
    whole = stack(path).read_bytes()
    path.write_bytes(whole[:-100])
    scene.poll()
    scene.poll(1)
    assert scene.states() == {"a.tif": A}
    assert scene.source.undecided() == 0
    scene.poll(60)
    assert scene.states() == {"a.tif": INCOMPLETE}
    assert scene.unsettled() == 0
    assert "unchanged for 60 s" in scene.entry("a.tif").reason
    scene.restart()
    scene.poll()
    assert scene.states() == {"a.tif": INCOMPLETE}
    path.write_bytes(whole)
    scene.settle()
    assert scene.states() == {"a.tif": W}


def test_advice_about_blank_planes_can_be_followed(scene: Scene) -> None:
    image = np.ones((3, 8, 8), np.uint16)
    image[1] = 0
    path = scene.root / "a.tif"
    tifffile.imwrite(path, image, photometric="minisblack", metadata={"axes": "ZYX"})
    scene.poll()
    scene.poll(1)
    assert scene.source.undecided() == 0
    scene.poll(60)
    assert scene.states() == {"a.tif": INCOMPLETE}
    scene.restart(files={"blank_planes": "restore"})
    scene.poll()
    assert scene.states() == {"a.tif": W}


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


def test_without_any_event_the_scan_finds_it(scene: Scene) -> None:
    scene.poll()
    stack(scene.root / "a.tif")
    scene.poll(1.9)
    assert scene.unsettled() == 0
    scene.poll(0.2)
    scene.poll(0.3)
    assert scene.states() == {"a.tif": W}


def test_an_event_is_faster_than_the_scan(scene: Scene) -> None:
    scene.poll()
    path = stack(scene.root / "a.tif")
    scene.source.hint(path)
    assert scene.source.poll() <= 0.1
    scene.poll(0.3)
    assert scene.states() == {"a.tif": W}


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


class Busy(TiffFormat):
    """Another program holds every file."""

    looks = 0
    held = True

    def inspect(self, path: Path) -> Arriving | Complete | None:
        self.looks += 1
        if self.held:
            raise StackBusyError("is in use by another program", path, "close it there")
        return super().inspect(path)


def test_a_busy_file_is_waited_for_without_bothering_it(scene: Scene) -> None:
    busy = Busy()
    scene.format = busy
    scene.restart()
    stack(scene.root / "a.tif")
    scene.poll(0.1, times=100)
    assert 3 <= busy.looks <= 8
    assert scene.states() == {"a.tif": A}
    assert "in use" in scene.entry("a.tif").reason
    assert scene.source.undecided() == 0  # else watch --once would wait for ever
    busy.held = False
    scene.settle()
    assert scene.states() == {"a.tif": W}


def test_a_lost_file_is_found_again_after_a_restart(scene: Scene) -> None:
    stack(scene.root / "a.tif")
    scene.settle()
    entry = scene.journal.lease(30)
    assert entry is not None
    scene.journal.lose(entry, "vanished")
    scene.restart()
    scene.settle()
    assert scene.states() == {"a.tif": W}


def test_reconsidered_it_is_named_again(scene: Scene) -> None:
    stack(scene.root / "a.tif")
    scene.settle()
    entry = scene.journal.lease(30)
    assert entry is not None
    scene.journal.finish(entry, F, reason="changed")
    scene.settle()
    assert scene.states() == {"a.tif": F}
    scene.source.reconsider(key_at("a.tif"))
    scene.settle()
    assert scene.states() == {"a.tif": W}


@posix
def test_names_of_every_kind(scene: Scene) -> None:
    names = [b"a b.tif", b"\xc3\xa4.tif", b"line\nline.tif", b"\xff.tif", b"[x].tif", b"{x}.TIF"]
    for name in names:
        stack(scene.root / "a.tif").rename(scene.root / os.fsdecode(name))
    scene.settle()
    assert {os.fsencode(e.key.path) for e in scene.journal.entries()} == set(names)


# Files that grow plane by plane ---------------------------------------------------------------


def append_plane(path: Path) -> None:
    tifffile.imwrite(path, np.ones((8, 8), np.uint16), append=True, metadata=None)


def test_a_file_that_grows_with_long_pauses_is_named_early_once_at_most(scene: Scene) -> None:
    path = scene.root / "a.tif"
    named = set()
    for _ in range(8):
        append_plane(path)
        for _ in range(32):
            scene.poll(0.1)
            if scene.states().get("a.tif") is W:
                named.add(scene.entry("a.tif").fingerprint)
    scene.poll(0.5, times=24)
    assert scene.states() == {"a.tif": W}
    named.add(scene.entry("a.tif").fingerprint)
    assert len(named) <= 2, "restored once per plane"


def test_what_it_was_restored_too_early_for_is_remembered_when_it_is_reconsidered(
    scene: Scene,
) -> None:
    path = scene.root / "a.tif"
    for _ in range(3):
        append_plane(path)
    scene.settle()
    append_plane(path)
    entry = scene.journal.lease(30)
    assert entry is not None
    scene.journal.lose(entry, "changed")
    scene.source.reconsider(key_at("a.tif"))
    scene.poll()
    scene.poll(3)
    assert scene.states() != {"a.tif": W}
    scene.poll(20)
    assert scene.states() == {"a.tif": W}


def test_a_file_written_anew_is_not_taken_for_one_that_grows(scene: Scene) -> None:
    path = stack(scene.root / "a.tif", 5, declared=False)
    scene.settle()
    scene.now += 30
    stack(path, 4, declared=False)
    scene.settle()
    scene.now += 300
    stack(path, 9, declared=False)
    scene.poll(0.1)
    scene.now += 61  # more than stall_s: nobody waits that long between two planes
    stack(path, 10, declared=False)
    scene.settle()
    assert scene.states() == {"a.tif": W}


# Large, deep and long-lived folders -----------------------------------------------------------


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


# Raw files where results go -------------------------------------------------------------------


def test_raw_files_where_results_go_are_pointed_out_once(scene: Scene) -> None:
    image = np.ones((3, 8, 8), np.uint16)
    ours = "live-restore 1.0 (result 0123456789abcdef)"
    for folder in ("restored", "sub/restored"):
        (scene.root / folder).mkdir(parents=True)
        tifffile.imwrite(
            scene.root / folder / "a.ome.tif", image, photometric="minisblack", software=ours
        )
    scene.settle()
    assert scene.warnings == []
    scene.restart()
    stack(scene.root / "other" / "restored" / "raw.tif")
    scene.settle()
    scene.settle()
    (warning,) = scene.warnings
    assert warning.startswith(f"{Path('other/restored')} is where results go")
    assert "raw.tif" in warning
    assert "output.template" in warning
    assert scene.states() == {}


# File events ----------------------------------------------------------------------------------


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


def test_a_hint_from_another_thread_ends_the_wait(scene: Scene) -> None:
    timer = threading.Timer(0.05, scene.source.hint, [scene.root / "a.tif"])
    timer.start()
    began = time.monotonic()
    scene.source.wait(30)
    timer.join()
    assert time.monotonic() - began < 20, "it slept through the hint"


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
