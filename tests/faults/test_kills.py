"""SIGKILL: at random moments, and before every single step that is taken on the disk."""

from __future__ import annotations

import signal

import pytest

from tests.faults.audit import Audit, journal_rows
from tests.faults.daemons import Nursery, Place, exec_daemon
from tests.faults.injection import STEPS
from tests.faults.kills import run_kills
from tests.faults.player import POISON_PLANES, raw_stack, raw_stacks

_FORGIVING = {"journal": {"max_attempts": 10_000}}


def test_killed_at_random_moments(place: Place, nursery: Nursery) -> None:
    """Broken builds seen to fail: results written to their final names directly; ``recover`` left
    out of ``Daemon.run``."""
    place.settings = _FORGIVING
    place.configure()
    figures = run_kills(place, raw_stacks(8), 10, nursery.start, longest_life_s=0.4, seed=3)
    assert (figures.kills, figures.restored) == (10, 8)


@pytest.mark.slow
def test_killed_at_random_moments_as_people_start_it(place: Place) -> None:
    """As above, each daemon a command of its own; ``python -m tests.faults.kills`` runs longer."""
    place.settings = _FORGIVING
    place.configure()
    run_kills(place, raw_stacks(30), 50, exec_daemon, longest_life_s=1.5)


def steps_of_publishing(place: Place, nursery: Nursery) -> list[str]:
    """Return every step that a daemon takes with one stack, in order."""
    stack = raw_stack("first.tif", 100)
    (place.root / stack.name).write_bytes(stack.content)
    assert nursery.start(place, "--once", record=True).wait() == 0
    Audit(place).at_rest([stack])
    lines = place.record.read_text().splitlines()
    return [step for step, _, name in (line.partition(" ") for line in lines)
            if step in STEPS and "first" in name]  # fmt: skip


@pytest.mark.slow
def test_killed_before_every_step_of_publishing(place: Place, nursery: Nursery) -> None:
    """Each daemon finishes the stack over which the last one died, and dies a step later in the
    next. Broken builds seen to fail: ``publishing`` that yields the final name; ``is_current``
    that is always False (made twice); ``remove_leftovers`` never called.
    """
    place.settings = _FORGIVING
    place.configure()
    steps = steps_of_publishing(place, nursery)
    assert set(steps) == set(STEPS)
    stacks = [raw_stack("first.tif", 100), *raw_stacks(len(steps))]
    audit = Audit(place)
    for number in range(len(steps)):
        stack = stacks[number + 1]
        place.break_({"at": "any", "do": "kill", "name": f"*{stack.name[:4]}*", "after": number})
        (place.root / stack.name).write_bytes(stack.content)
        assert nursery.start(place).wait() == -signal.SIGKILL, steps[number]
        audit.at_any_moment(stacks[: number + 2])
    place.break_()
    assert nursery.start(place, "--once").wait() == 0
    audit.at_rest(stacks)


@pytest.mark.slow
def test_a_stack_that_kills_is_set_aside_and_the_others_are_restored(
    place: Place, nursery: Nursery
) -> None:
    """Three strikes, in the middle of a hundred good ones; ``--once`` then reports the failure.

    Broken builds seen to fail: ``lease`` without its ``alone`` rule, and no waiting after what was
    leased alone (neighbours are set aside, too); ``recover`` that never sets aside.
    """
    good = raw_stacks(100)
    poison = raw_stack("s050 poison.tif", 999, (POISON_PLANES, 48, 56))
    for stack in [*good[:50], poison, *good[50:]]:
        (place.root / stack.name).write_bytes(stack.content)
    place.break_({"at": "run", "do": "kill", "planes": POISON_PLANES})
    deaths = 0
    while (code := nursery.start(place, "--once").wait()) == -signal.SIGKILL:
        deaths += 1
        assert deaths <= 3
    assert (code, deaths) == (1, 3), place.told()
    Audit(place).at_rest(good, {poison.name: "failed"})
    (row,) = [r for r in journal_rows(place) if r["state"] == "failed"]
    assert "died 3 times" in row["reason"]
    assert poison.content == (place.root / poison.name).read_bytes()
