"""SIGKILL: at random moments, and before every single step that is taken on the disk."""

from __future__ import annotations

import pytest

from tests.faults.audit import Audit, journal_rows, states
from tests.faults.daemons import Nursery, Place, exec_daemon
from tests.faults.injection import STEPS
from tests.faults.kills import run_kills
from tests.faults.player import POISON_PLANES, raw_stack, raw_stacks
from tests.support.processes import wait_for

_FORGIVING = {"journal": {"max_attempts": 10_000}}


def test_killed_at_random_moments(place: Place, nursery: Nursery) -> None:
    """Broken builds seen to fail: results written to their final names directly; ``recover`` left
    out of ``Daemon.run``; ``is_current`` always False."""
    place.settings = _FORGIVING
    place.configure()
    figures = run_kills(
        place, raw_stacks(12), 12, nursery.start, longest_life_s=0.7, seed=3
    )
    assert figures.restored == 12


@pytest.mark.slow
def test_killed_at_random_moments_as_people_start_it(place: Place) -> None:
    """As above, each daemon a command of its own; ``python -m tests.faults.kills`` runs longer."""
    place.settings = _FORGIVING
    place.configure()
    run_kills(place, raw_stacks(30), 50, exec_daemon, longest_life_s=3.0)
