"""When a stack of a data set counts as finished: a table of what is known, and what follows."""

from __future__ import annotations

from typing import Any

import pytest

from live_restore.formats.acquisition_format import StackEvidence, Stage
from live_restore.journal.states import State
from live_restore.sources.completeness import decide_stack


def evidence(stage: Stage, *present: int, **more: Any) -> StackEvidence:
    return StackEvidence(stage, present, **{"reason": "why", **more})


WHOLE = evidence(Stage.COMPLETE, 0, 1, 2)
FLAT = evidence(Stage.COMPLETE, 4)
HALF = evidence(Stage.PARTIAL, 0, 1)
GAP = evidence(Stage.PARTIAL, 0, 2)
BLANK = evidence(Stage.PARTIAL, 0, 1, blank=(2,))
FIRST = evidence(Stage.PARTIAL, 0)
REWRITTEN = evidence(Stage.COMPLETE, 0, 1, 2, may_change=True)
GROWING = evidence(Stage.ARRIVING, 0, 1)

ARRIVING, WAITING, INCOMPLETE, REFUSED = (
    State.ARRIVING,
    State.WAITING,
    State.INCOMPLETE,
    State.REFUSED,
)


@pytest.mark.parametrize(
    ("what", "taken_as_over", "final", "calm", "partial", "expected"),
    [
        (GROWING, False, False, True, "incomplete", ARRIVING),
        (WHOLE, False, False, False, "incomplete", WAITING),
        (WHOLE, True, False, True, "incomplete", WAITING),
        (FLAT, False, False, True, "incomplete", REFUSED),
        (FLAT, True, False, True, "incomplete", ARRIVING),
        (FLAT, True, True, True, "incomplete", REFUSED),
        (REWRITTEN, False, False, False, "incomplete", ARRIVING),
        (REWRITTEN, False, False, True, "incomplete", WAITING),
        (HALF, True, False, True, "incomplete", ARRIVING),
        (HALF, True, True, True, "incomplete", INCOMPLETE),
        (HALF, True, False, True, "restore", ARRIVING),
        (HALF, True, True, True, "restore", WAITING),
        (GAP, True, True, True, "restore", INCOMPLETE),
        (BLANK, True, True, True, "restore", INCOMPLETE),
        (FIRST, True, True, True, "restore", INCOMPLETE),
    ],
)
def test_verdicts(
    what: StackEvidence,
    taken_as_over: bool,
    final: bool,
    calm: bool,
    partial: Any,
    expected: State,
) -> None:
    state, _ = decide_stack(
        what, taken_as_over=taken_as_over, final=final, calm=calm, partial=partial
    )
    assert state is expected


def test_reasons_say_what_is_missing() -> None:
    _, incomplete = decide_stack(
        HALF, taken_as_over=True, final=True, calm=True, partial="incomplete"
    )
    assert incomplete == "why; the run is over, not restored; copy or record it again"
    _, restored = decide_stack(HALF, taken_as_over=True, final=True, calm=True, partial="restore")
    assert restored == "partial: why; the run is over"
