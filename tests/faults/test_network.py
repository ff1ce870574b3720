"""A runtime that fails: for a while, for one stack, for want of memory."""

from __future__ import annotations

import pytest

from tests.faults.audit import Audit, journal_rows
from tests.faults.daemons import Nursery, Place
from tests.faults.player import POISON_PLANES, at_once, raw_stack, raw_stacks
from tests.faults.test_arrivals import wait_until_done
from tests.support.processes import wait_for

pytestmark = pytest.mark.slow

# As ONNX Runtime 1.23 says it.
_FAILED = (
    "CUDA failure 719: unspecified launch failure ; GPU=0 ; expr=cudaStreamSynchronize(stream)"
)
_OUT_OF_MEMORY = "Failed to allocate memory for requested buffer of size 1073741824"


def test_a_device_that_fails_for_a_while(place: Place, nursery: Nursery) -> None:
    """Broken build seen to fail: ``RuntimeFailureError`` as the end of a stack."""
    place.configure(journal={"max_attempts": 1000})
    stacks = raw_stacks(4)
    daemon = nursery.start(place)
    place.break_({"at": "run", "do": _FAILED})
    for stack in stacks:
        at_once(place.root / stack.name, stack.content)
    wait_for(lambda: "unspecified launch failure" in place.told(), "the failure")
    place.break_()
    wait_until_done(place, len(stacks))
    assert daemon.stop() == 0
    Audit(place).at_rest(stacks)


def test_a_stack_over_which_the_runtime_fails_is_set_aside(place: Place, nursery: Nursery) -> None:
    """Three attempts, and the others go on.

    Broken build seen to fail: ``runtime_errors`` without ``RuntimeException`` (it ends after one
    attempt, as an error that nobody expected).
    """
    good = raw_stacks(4)
    poison = raw_stack("s001 poison.tif", 999, (POISON_PLANES, 48, 56))
    for stack in (*good[:2], poison, *good[2:]):
        at_once(place.root / stack.name, stack.content)
    place.break_({"at": "run", "do": _FAILED, "planes": POISON_PLANES})
    daemon = nursery.start(place)
    wait_until_done(place, len(good))
    wait_for(lambda: any(r["state"] == "failed" for r in journal_rows(place)), "the verdict")
    assert daemon.stop() == 0
    Audit(place).at_rest(good, {poison.name: "failed"})
    (row,) = [r for r in journal_rows(place) if r["state"] == "failed"]
    assert (row["attempts"], "unspecified launch failure" in row["reason"]) == (3, True)


def test_too_little_memory_means_smaller_tiles(place: Place, nursery: Nursery) -> None:
    """Broken build seen to fail: ``tile_failure`` that does not know memory by its words."""
    stacks = raw_stacks(3)
    place.break_({"at": "run", "do": _OUT_OF_MEMORY, "over": 6000})
    for stack in stacks:
        at_once(place.root / stack.name, stack.content)
    assert nursery.start(place, "--once").wait() == 0, place.told()
    Audit(place).at_rest(stacks)
