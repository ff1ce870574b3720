"""Leases of results beside them: one holder, whatever the clocks say, and none for ever."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from live_restore.errors import StackBusyError
from live_restore.files import shared_lease as module
from live_restore.files.shared_lease import SharedLease, SharedLeases


class Clock:
    """A computer's own clock."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Be another computer from now on."""

    def be(name: str) -> None:
        monkeypatch.setattr(module, "system_identity", lambda: name)
        monkeypatch.setattr(socket, "gethostname", lambda: name)

    return be


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_one_holds_it_and_the_other_is_told_who(
    tmp_path: Path, elsewhere: Callable[[str], None]
) -> None:
    result = tmp_path / "restored" / "cell.ome.tif"
    first, second = SharedLeases(30.0), SharedLeases(30.0)
    elsewhere("left-pc")
    lease = first.take(result)
    elsewhere("right-pc")
    with pytest.raises(StackBusyError, match="is being restored by left-pc"):
        second.take(result)
    lease.require()
    first.end(lease)
    assert files(result.parent) == []
    second.end(second.take(result))
    first.close()
    second.close()


def test_it_is_judged_by_the_clock_of_whoever_looks(
    tmp_path: Path, elsewhere: Callable[[str], None]
) -> None:
    """Time stamps of a share, and clocks that are days off, say nothing."""
    result = tmp_path / "cell.ome.tif"
    elsewhere("left-pc")
    left = SharedLeases(30.0)
    lease = left.take(result)
    os.utime(lease.path, (0, 0))
    elsewhere("right-pc")
    clock = Clock(1e9)
    right = SharedLeases(30.0, clock)
    for _ in range(5):  # it beats, seldom
        with pytest.raises(StackBusyError):
            right.take(result)
        clock.now += 59.0
        lease.beat()
    with pytest.raises(StackBusyError):
        right.take(result)
    clock.now += 61.0  # and no more
    os.utime(lease.path)
    taken = right.take(result)
    taken.require()
    with pytest.raises(StackBusyError, match="right-pc took over"):
        lease.require()
    left.end(lease)  # whoever was taken over removes no more than his own
    taken.require()
    right.end(taken)
    assert files(tmp_path) == []
    left.close()
    right.close()


def test_of_two_who_take_over_only_one_gets_it(
    tmp_path: Path, elsewhere: Callable[[str], None]
) -> None:
    result = tmp_path / "cell.ome.tif"
    elsewhere("dead-pc")
    dead = SharedLeases(30.0)
    dead.take(result)
    dead.close()
    clock = Clock(0.0)
    takers = []
    for name in ("left-pc", "right-pc"):
        elsewhere(name)
        takers.append(SharedLeases(30.0, clock))
        with pytest.raises(StackBusyError, match="dead-pc"):
            takers[-1].take(result)
    clock.now = 61.0
    left, right = takers
    elsewhere("left-pc")
    lease = left.take(result)
    elsewhere("right-pc")
    with pytest.raises(StackBusyError, match="-pc"):
        right.take(result)
    left.end(lease)
    assert files(tmp_path) == [], "what the dead left is gone, too"
    left.close()
    right.close()


def test_who_saw_an_old_listing_of_the_share_takes_nothing_from_whoever_was_first(
    tmp_path: Path, elsewhere: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = tmp_path / "cell.ome.tif"
    elsewhere("left-pc")
    left = SharedLeases(30.0)
    left.take(result)
    held = [path.read_bytes() for path in tmp_path.iterdir()]
    elsewhere("right-pc")
    right = SharedLeases(30.0)
    monkeypatch.setattr(module, "_highest", lambda _: None)
    with pytest.raises(StackBusyError, match="just now"):
        right.take(result)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == held
    monkeypatch.undo()
    left.close()
    right.close()


def left_by_the_dead(result: Path) -> None:
    """Let a process of this computer die with a lease."""
    take_and_die = (
        "import os, pathlib, sys; from live_restore.files.shared_lease import SharedLeases; "
        "SharedLeases(3600.0).take(pathlib.Path(sys.argv[1])); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", take_and_die, str(result)], check=False, timeout=60)
    assert len(files(result.parent)) == 1


def test_what_the_dead_left_is_swept_and_what_somebody_holds_is_not(tmp_path: Path) -> None:
    result = tmp_path / "cell.ome.tif"
    left_by_the_dead(result)
    leases = SharedLeases(3600.0)
    leases.sweep(result)
    assert files(tmp_path) == []
    leases.sweep(result)
    assert files(tmp_path) == [], "nothing is made where nothing is"
    lease = leases.take(result)
    leases.sweep(result)
    assert files(tmp_path) == [lease.path.name]
    lease.require()
    leases.end(lease)
    leases.sweep(tmp_path / "gone" / "cell.ome.tif")
    assert files(tmp_path) == []
    leases.close()


def test_a_process_of_this_computer_that_died_is_not_waited_for(tmp_path: Path) -> None:
    result = tmp_path / "cell.ome.tif"
    left_by_the_dead(result)
    leases = SharedLeases(3600.0)
    leases.end(leases.take(result))
    leases.close()
    assert files(tmp_path) == []


def test_it_beats_by_itself(tmp_path: Path) -> None:
    leases = SharedLeases(0.15)
    lease = leases.take(tmp_path / "cell.ome.tif")
    before = lease.path.read_bytes()
    deadline = time.monotonic() + 10
    while lease.path.read_bytes() == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    leases.end(lease)
    leases.close()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"lease_s": -1}', b'{"lease_s": "x"}', b"\0" * 4000]
)
def test_a_damaged_lease_holds_for_a_while_and_not_for_ever(tmp_path: Path, content: bytes) -> None:
    result = tmp_path / "cell.ome.tif"
    own = SharedLeases(30.0)
    lease = own.take(result)
    own.close()
    lease.path.write_bytes(content)
    clock = Clock(0.0)
    other = SharedLeases(30.0, clock)
    with pytest.raises(StackBusyError):
        other.take(result)
    clock.now = 7300.0
    taken = other.take(result)
    assert isinstance(taken, SharedLease)
    other.end(taken)
    other.close()


def test_the_name_is_short_and_hidden(tmp_path: Path) -> None:
    leases = SharedLeases(30.0)
    lease = leases.take(tmp_path / f"{'x' * 240}.ome.tif")
    assert lease.path.name.startswith(".x")
    assert len(lease.path.name) < 80
    leases.end(lease)
    leases.close()
