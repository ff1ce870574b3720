"""A disk that is full: work is kept, tried again, said once, and goes on by itself."""

from __future__ import annotations

import errno
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from live_restore.engine.disk_space import DiskSpace
from live_restore.engine.progress import Progress
from live_restore.errors import DiskFullError, OutputError
from tests.faults.audit import Audit, journal_rows, states
from tests.faults.daemons import Nursery, Place
from tests.faults.player import RawStack, raw_stacks
from tests.faults.test_arrivals import wait_until_done
from tests.support import small_disks
from tests.support.processes import wait_for

SAID = "the disk of results refuses"


def arrive(place: Place, stacks: list[RawStack]) -> None:
    for stack in stacks:
        (place.root / stack.name).write_bytes(stack.content)


def test_full_at_every_step(place: Place, nursery: Nursery) -> None:
    """Opening, writing, syncing, renaming, syncing the folder; one word for all of it.

    Broken builds seen to fail: ``disk_errors`` that lets ``OSError`` pass (the stack fails);
    ``Backoff`` that says it every time.
    """
    steps = ("open", "write", "sync", "replace", "sync_folder")
    stacks = raw_stacks(3 * len(steps))
    daemon = nursery.start(place)
    audit = Audit(place)
    for number, step in enumerate(steps):
        done = 3 * number
        place.break_({"at": step, "do": errno.ENOSPC})
        arrive(place, stacks[done : done + 3])

        def refused() -> bool:
            reasons = [r["reason"] for r in journal_rows(place) if r["state"] != "done"]
            return any("free some space" in reason for reason in reasons)

        wait_for(refused, f"the refusal at {step}")
        audit.at_any_moment(stacks[: done + 3])
        assert "done" not in {states(place)[s.name] for s in stacks[done : done + 3]}
        place.break_()
        wait_until_done(place, done + 3)
    assert daemon.stop() == 0
    audit.at_rest(stacks)
    assert place.told().count(SAID) == 1, place.told()
    assert "not restored" not in place.told()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    with small_disks.small_disk(tmp_path / "small", 4096) as disk:
        yield disk


@pytest.fixture
def ballast(small_disk: Path) -> Path:
    """A file that takes all that a disk has left."""
    return small_disk / "ballast"


def fill(ballast: Path, leave: int = 0) -> None:
    free = shutil.disk_usage(ballast.parent).free - leave
    with ballast.open("wb") as file:
        file.write(bytes(free))


@pytest.mark.slow
@pytest.mark.parametrize("min_free_gb", [0.0, 0.001])
def test_a_small_disk_that_fills_up(
    tmp_path: Path, nursery: Nursery, small_disk: Path, ballast: Path, min_free_gb: float
) -> None:
    """With ``min_free_gb`` nothing is begun any more; without, the disk itself refuses.

    Broken builds seen to fail: ``DiskSpace.require`` that never refuses (the ballast leaves no room
    for the acquisition's next file); ``DiskFullError`` ending a stack for good.
    """
    place = Place(tmp_path, {"output": {"min_free_gb": min_free_gb}})
    place.root.rmdir()
    place.root = small_disk / "data"
    place.root.mkdir()
    stacks = raw_stacks(6)
    arrive(place, stacks)
    fill(ballast, leave=0 if min_free_gb == 0 else 900_000)
    daemon = nursery.start(place)
    wait_for(lambda: SAID in place.told(), "the word")
    assert "done" not in states(place).values()
    audit = Audit(place)
    audit.at_any_moment(stacks)
    if min_free_gb:
        assert shutil.disk_usage(small_disk).free >= 850_000
    ballast.unlink()
    wait_until_done(place, len(stacks))
    assert daemon.stop() == 0
    audit.at_rest(stacks)
    assert place.told().count(SAID) == 1


@pytest.mark.slow
def test_the_disk_of_journal_and_log_fills_up(
    tmp_path: Path, nursery: Nursery, small_disk: Path, ballast: Path
) -> None:
    """The journal waits, the log gives up in silence; both go on.

    Broken build seen to fail: ``JournalFile`` that takes a full disk for a broken journal.
    """
    place = Place(tmp_path)
    place.state.rmdir()
    place.state = small_disk / "state"
    place.state.mkdir()
    stacks = raw_stacks(6)
    daemon = nursery.start(place)
    arrive(place, stacks[:3])
    wait_until_done(place, 3)
    fill(ballast)
    arrive(place, stacks[3:])
    wait_for(lambda: "the journal refuses" in place.told(), "the word")
    ballast.unlink()
    wait_until_done(place, len(stacks))
    assert daemon.stop() == 0
    Audit(place).at_rest(stacks)
    assert place.told().count("the journal refuses") == 1
    assert "Traceback" not in place.told()


@pytest.mark.slow
def test_without_retry_a_full_disk_fails_this_run_only(place: Place, nursery: Nursery) -> None:
    """``--once`` must end, say so with its exit code, and leave the work waiting."""
    stacks = raw_stacks(2)
    arrive(place, stacks)
    place.break_({"at": "sync", "do": errno.ENOSPC})
    assert nursery.start(place, "--once").wait() == 1
    assert set(states(place).values()) == {"waiting"}
    place.break_()
    assert nursery.start(place, "--once").wait() == 0
    Audit(place).at_rest(stacks)


# Room, by itself ------------------------------------------------------------------------------


class Disk:
    """Free space and a clock that a test moves."""

    def __init__(self, folder: Path, free_gb: float, min_free_gb: float = 2.0) -> None:
        self.folder, self.free_gb, self.now = folder, free_gb, 0.0
        self.progress = Progress()
        self.disk_space = DiskSpace(
            self.progress, min_free_gb, lambda _: int(self.free_gb * 1e9), lambda: self.now
        )

    def looks(self) -> list[float]:
        """Return when the disk is looked at during a minute and a half, for which it is full."""
        at = []
        for _ in range(900):
            if not self.disk_space.is_resting(self.folder):
                at.append(round(self.now, 1))
                with pytest.raises(DiskFullError):
                    self.disk_space.require(self.folder)
            self.now += 0.1
        return at


def test_waits_grow_to_ten_seconds(tmp_path: Path) -> None:
    """Broken build seen to fail: a ``refused`` that always rests for half a second."""
    at = Disk(tmp_path, 1.9).looks()
    gaps = [round(b - a, 1) for a, b in itertools.pairwise(at)]
    assert gaps == pytest.approx([0.5, 1, 2, 4, 8, *[10] * (len(gaps) - 5)], abs=0.11)


def test_a_disk_with_room_is_no_obstacle(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 2.1)
    disk.disk_space.require(tmp_path / "not" / "made" / "yet", 10**7)
    assert not disk.disk_space.is_resting(tmp_path)


def test_a_result_too_large_is_refused_alone(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 3.0)
    with pytest.raises(OutputError, match="would leave less than 2 GB") as caught:
        disk.disk_space.require(tmp_path, int(1.5e9))
    assert not isinstance(caught.value, DiskFullError)
    assert not disk.disk_space.is_resting(tmp_path)
    disk.disk_space.require(tmp_path, int(0.5e9))


def test_after_a_result_waits_begin_anew(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 1.0)
    disk.looks()
    disk.now += 10
    disk.free_gb = 3.0
    disk.disk_space.require(tmp_path)
    disk.disk_space.accepted(tmp_path)
    disk.free_gb = 1.0
    assert disk.looks()[1] - disk.looks()[0] < 1


def test_a_full_disk_does_not_stop_another(tmp_path: Path) -> None:
    """Broken build seen to fail: one pause for all disks."""
    full, other = tmp_path / "full", Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("only one disk here")
    disk_space = DiskSpace(Progress(), 2.0, lambda p: 10**9 if p == tmp_path else 10**10)
    with pytest.raises(DiskFullError):
        disk_space.require(full)
    disk_space.require(other)
    assert disk_space.is_resting(full)
    assert not disk_space.is_resting(other)
