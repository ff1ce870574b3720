"""Mutated inputs of every kind: a valid result or one line of our own, soon, in little memory."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from tests.fuzz.runner import CASE_S, MEMORY, run
from tests.fuzz.seeds import BEYOND, SEEDS

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the memory of a process is limited as Linux does it"
)

WORKSHOP = ["torch"] if importlib.util.find_spec("torch") else []
DAEMON = [kind for kind in SEEDS if kind not in BEYOND and kind != "torch"]


def check(kinds: list[str], first: int, count: int) -> None:
    """Run cases; each that fails can be run again by its number."""
    outcomes = run(kinds, first, count)
    failed = {kind: outcome.failures for kind, outcome in outcomes.items() if outcome.failures}
    assert not failed, f"python -m tests.fuzz.runner --first NUMBER KIND; {failed}"
    for outcome in outcomes.values():
        assert outcome.cases == count
        assert outcome.slowest_s <= CASE_S
        assert outcome.most_bytes <= MEMORY


def test_some_of_every_kind() -> None:
    check(DAEMON, 0, 12)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", DAEMON + WORKSHOP)
def test_many(kind: str) -> None:
    check([kind], 12, 2000)
