"""Every way in which stacks arrive, with and without file events."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.faults.audit import Audit, states
from tests.faults.daemons import Nursery, Place
from tests.faults.player import (
    Player,
    at_once,
    interrupted,
    paused,
    pre_allocated,
    raw_stack,
    raw_stacks,
    renamed_into_place,
    slowly,
)
from tests.support.processes import wait_for

pytestmark = pytest.mark.slow


def wait_until_done(place: Place, number: int) -> None:
    """Wait until so many are restored, at least."""
    wait_for(lambda: list(states(place).values()).count("done") >= number, f"{number} results")


def test_every_way_to_arrive(place: Place, nursery: Nursery) -> None:
    """Broken builds seen to fail: planes of zeros taken for data; a stall that nobody notices;
    this program's own results taken for raw data."""
    place.configure(watch={"stall_s": 4.0})
    ways = [at_once, slowly, paused, pre_allocated, renamed_into_place]
    stacks = raw_stacks(len(ways))
    broken_off = raw_stack("broken off.tif", 50)
    with Player(place.root, [*zip(stacks, ways, strict=True)]) as player:
        interrupted(place.root / broken_off.name, broken_off.content)
        daemon = nursery.start(place)
        player.wait()
        assert player.early == []
        wait_until_done(place, len(stacks))
        # Its own result among the raw files, as when somebody sorts them by hand.
        own = place.root / "restored" / "s000.ome.tif"
        (place.root / "a result.tif").write_bytes(own.read_bytes())
        burst = [raw_stack(f"burst {n}.tif", 60 + n) for n in range(10)]
        for stack in burst:
            at_once(place.root / stack.name, stack.content)
        wait_until_done(place, len(stacks) + len(burst))
        wait_for(lambda: states(place)[broken_off.name] == "incomplete", "the end of patience")
        assert daemon.stop() == 0
    Audit(place).at_rest([*stacks, *burst], {broken_off.name: "incomplete"})


@pytest.mark.parametrize("hints", ["none", "odd", "ghosts"])
def test_events_that_get_lost_or_lie(place: Place, nursery: Nursery, hints: str) -> None:
    """No event, every other one, and events for files that are not there.

    Broken builds seen to fail: ``poll`` that scans only once; ``_look`` that lets
    ``FileNotFoundError`` pass.
    """
    place.break_(hints=hints)
    stacks = raw_stacks(6)
    daemon = nursery.start(place)
    at_once(place.root / stacks[0].name, stacks[0].content)
    wait_until_done(place, 1)  # the first scan, which would find all of them, is over
    with Player(place.root, [(s, at_once) for s in stacks[1:]], gap_s=0.1) as player:
        fleeting = place.root / "fleeting.tif"
        for number in itertools.count():
            fleeting.write_bytes(stacks[0].content[: 100 * number])
            fleeting.unlink()
            if len(player.arrived) == len(stacks) - 1:
                break
        player.wait()
        wait_until_done(place, len(stacks))
    assert daemon.stop() == 0
    found = states(place)
    assert found.pop(fleeting.name, "arriving") in ("arriving", "failed")
    assert set(found) == {s.name for s in stacks}
    Audit(place).at_any_moment(stacks)


def test_a_second_daemon_is_refused_and_harms_nothing(place: Place, nursery: Nursery) -> None:
    """Killed, the first one leaves the folder to the next.

    Broken build seen to fail: ``JournalFile`` without its lock.
    """
    stacks = raw_stacks(8)
    first = nursery.start(place)
    for stack in stacks:
        at_once(place.root / stack.name, stack.content)
    wait_until_done(place, 1)
    assert nursery.start(place, "--once").wait() == 2
    assert "already watched" in place.told()
    first.kill()
    assert nursery.start(place, "--once").wait() == 0
    Audit(place).at_rest(stacks)


def test_a_clock_that_jumps(place: Place, nursery: Nursery) -> None:
    """A day ahead, two days back: what is waited for is measured by another clock.

    Broken build seen to fail: ``FolderSource`` given ``time.time`` as its clock.
    """
    stacks = raw_stacks(9)
    daemon = nursery.start(place)
    for number, clock_s in enumerate((86400.0, -86400.0, 0.0)):
        place.break_(clock_s=clock_s, hints="none")  # events would hide that no scan is due
        for stack in stacks[3 * number : 3 * number + 3]:
            slowly(place.root / stack.name, stack.content, seconds=0.3, pieces=3)
        wait_until_done(place, 3 * number + 3)
    assert daemon.stop() == 0
    Audit(place).at_rest(stacks)
    assert not any(Path(p).name.startswith(".") for p in (place.root / "restored").iterdir())
