"""Raw data that cannot be read for a while, and shares that go and come back."""

from __future__ import annotations

import errno
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.audit import Audit, states
from tests.faults.daemons import Nursery, Place
from tests.faults.player import Player, at_once, raw_stack, raw_stacks
from tests.faults.test_arrivals import wait_until_done
from tests.support.processes import wait_for

pytestmark = pytest.mark.slow


def test_reading_that_fails_for_a_while(place: Place, nursery: Nursery) -> None:
    """EIO and EACCES at opening and in the middle of reading; a folder that cannot be listed.

    Permissions go through the seam, since they do not hold for the super-user.

    Broken builds seen to fail: ``_not_now`` that calls every refusal damage; ``Walk.files`` that
    lets ``OSError`` pass.
    """
    stacks = raw_stacks(8)
    daemon = nursery.start(place)
    faults = [("read-open", errno.EIO), ("read-open", errno.EACCES), ("read", errno.EIO),
              ("list", errno.EACCES)]  # fmt: skip
    for number, (step, code) in enumerate(faults):
        there = 2 * number
        # An event would name the file without any listing.
        place.break_({"at": step, "do": code}, hints="none" if step == "list" else "all")
        for stack in stacks[there : there + 2]:
            at_once(place.root / stack.name, stack.content)
        time.sleep(0.5)
        assert list(states(place).values()).count("done") == there
        place.break_()
        wait_until_done(place, there + 2)
    assert daemon.stop() == 0
    Audit(place).at_rest(stacks)


def test_a_share_that_goes_and_comes_back(place: Place, nursery: Nursery) -> None:
    """Renamed away under the daemon three times, in the middle of its work.

    Broken builds seen to fail: results published without asking for the raw file's folder (they
    are made where the share was); ``lose`` that keeps the old fingerprint (the stack is not found
    anew).
    """
    stacks = [raw_stack(f"s{n:03d}.tif", n, (8, 256, 256)) for n in range(16)]
    away = place.root.with_name("away")
    daemon = nursery.start(place)
    for absence in range(3):
        batch = stacks[5 * absence : 5 * absence + 5]
        for stack in batch:
            at_once(place.root / stack.name, stack.content)
        wait_until_done(place, 5 * absence + 1)
        place.root.rename(away)
        time.sleep(0.7)
        assert daemon.poll() is None
        assert not place.root.exists(), "something was made where the share was"
        away.rename(place.root)
        wait_until_done(place, 5 * absence + 5)
    at_once(place.root / stacks[15].name, stacks[15].content)
    wait_until_done(place, 16)
    assert daemon.stop() == 0
    Audit(place).at_rest(stacks)


def test_a_mount_that_goes_and_comes_back(place: Place, nursery: Nursery) -> None:
    """As a network share does: an empty folder of the local disk is there meanwhile.

    Broken build seen to fail: ``RawFolder.require`` that only asks whether there is a folder.
    """
    share = place.root.with_name("share")
    share.mkdir()
    mount = ["mount", "--bind", str(share), str(place.root)]
    if not shutil.which("mount") or subprocess.run(mount, check=False).returncode:
        pytest.skip("mounting a file system is not allowed here")
    stacks = [raw_stack(f"s{n:03d}.tif", n, (8, 256, 256)) for n in range(12)]
    try:
        daemon = nursery.start(place)
        with Player(place.root, [(s, at_once) for s in stacks[:10]]) as player:
            player.wait()
        wait_until_done(place, 2)
        subprocess.run(["umount", "-l", str(place.root)], check=True)
        time.sleep(1.0)
        assert list(place.root.iterdir()) == [], "something was made under the mount point"
        subprocess.run(mount, check=True)
        wait_until_done(place, 10)
        for stack in stacks[10:]:
            at_once(place.root / stack.name, stack.content)
        wait_until_done(place, 12)
        assert daemon.stop() == 0
        Audit(place).at_rest(stacks)
    finally:
        subprocess.run(["umount", "-l", str(place.root)], check=False)


def test_a_folder_that_goes_for_good(place: Place, nursery: Nursery) -> None:
    """Moved elsewhere in the tree with its stacks: each is restored where it is now, once."""
    stacks = raw_stacks(6)
    day, kept = place.root / "day", place.root / "kept"
    day.mkdir()
    daemon = nursery.start(place)
    for stack in stacks:
        at_once(day / stack.name, stack.content)
    wait_for(lambda: "done" in states(place).values(), "the first result")
    day.rename(kept)
    moved = {f"kept/{s.name}" for s in stacks}
    wait_for(
        lambda: {n for n, state in states(place).items() if state == "done"} >= moved, "the rest"
    )
    assert daemon.stop() == 0
    assert not day.exists()
    names = {p.name for p in Path(kept / "restored").iterdir()}
    assert names == {f"{Path(s.name).stem}{e}" for s in stacks for e in (".ome.tif", ".json")}
    Audit(place, kept).at_any_moment(stacks)
