"""When a file counts as finished: every evidence, before and after every limit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live_restore.formats.file_format import Arriving, Complete, StackPlanes, StacksFound
from live_restore.settings.model import FilesSettings, WatchSettings
from live_restore.sources.completeness import (
    Readiness,
    decide_file,
    judge_stacks,
    quiet_needed_s,
)
from live_restore.stack import StackIndex
from tests.support.fakes import a_dataset

WATCH = WatchSettings(settle_s=0.25, quiet_s=2, stall_s=600)
FILES = FilesSettings()
RESTORE_BLANKS = FilesSettings(blank_planes="restore")
LATER, READY, INCOMPLETE = Readiness.LOOK_LATER, Readiness.READY, Readiness.INCOMPLETE

DECLARED = Complete(a_dataset(), declared=True)
UNDECLARED = Complete(a_dataset(), declared=False)
BLANK = Complete(a_dataset(), declared=True, blank_planes=(0, 2, 3, 4, 9))
ZERO_TAIL = Complete(a_dataset(), declared=True, zero_tail=True)
ARRIVING = Arriving("2 of 3 planes")


@pytest.mark.parametrize(
    ("evidence", "files", "quiet_s", "verdict"),
    [
        (DECLARED, FILES, 0.25, READY),
        (UNDECLARED, FILES, 1.99, LATER),
        (UNDECLARED, FILES, 2, READY),
        (ZERO_TAIL, FILES, 1.99, LATER),
        (ZERO_TAIL, FILES, 2, READY),
        (BLANK, FILES, 2, LATER),
        (BLANK, FILES, 599, LATER),
        (BLANK, FILES, 600, INCOMPLETE),
        (BLANK, RESTORE_BLANKS, 0.25, READY),
        (ARRIVING, FILES, 0.25, LATER),
        (ARRIVING, FILES, 599, LATER),
        (ARRIVING, FILES, 600, INCOMPLETE),
        (ARRIVING, RESTORE_BLANKS, 600, INCOMPLETE),
    ],
)
def test_verdicts(
    evidence: Arriving | Complete, files: FilesSettings, quiet_s: float, verdict: Readiness
) -> None:
    assert decide_file(evidence, quiet_s, WATCH, files).readiness is verdict


@given(
    st.sampled_from([DECLARED, UNDECLARED, BLANK, ZERO_TAIL, ARRIVING]),
    st.floats(0, 1e4),
    st.floats(0, 1e4),
)
def test_a_later_look_has_a_reason_and_an_end(
    evidence: Arriving | Complete, quiet_s: float, gap_s: float
) -> None:
    decision = decide_file(evidence, quiet_s, WATCH, FILES, gap_s)
    if decision.readiness is LATER:
        assert decision.reason
    assert decide_file(evidence, WATCH.stall_s, WATCH, FILES, gap_s).readiness is not LATER


@pytest.mark.parametrize(
    ("gap_s", "quiet_s"), [(0, 2), (0.5, 2), (3.2, 9.6), (250, 600), (float("inf"), 600)]
)
def test_the_pauses_of_a_writer_tell_how_long_to_wait(gap_s: float, quiet_s: float) -> None:
    assert quiet_needed_s(gap_s, WATCH) == pytest.approx(quiet_s)
    assert decide_file(UNDECLARED, quiet_s - 0.01, WATCH, FILES, gap_s).readiness is LATER
    assert decide_file(UNDECLARED, quiet_s + 0.01, WATCH, FILES, gap_s).readiness is READY
    assert decide_file(DECLARED, 0.25, WATCH, FILES, gap_s).readiness is READY


def test_reasons_say_what_and_what_to_do() -> None:
    reason = decide_file(BLANK, 600, WATCH, FILES).reason
    assert reason.startswith("5 plane(s) hold nothing but zeros (plane 0, 2, 3, 4, ...)")
    assert 'set files.blank_planes = "restore" if they are real' in reason
    assert decide_file(ARRIVING, 600, WATCH, FILES).reason == (
        "2 of 3 planes; unchanged for 600 s, not restored; copy or record it again"
    )


FOUR = a_dataset(times=4, shape_zyx=(5, 5, 6))
ALL = (0, 1, 2, 3, 4)


def stacks_of(**others: StackPlanes) -> StacksFound:
    """Return four stacks, t0 to t3, whole but for those that are named."""
    named = {StackIndex(0, int(name[1:]), 0): planes for name, planes in others.items()}
    whole = [StackIndex(0, t, 0) for t in range(4) if StackIndex(0, t, 0) not in named]
    return StacksFound(FOUR, tuple(whole), named)


def judged(found: StacksFound, files: FilesSettings = FILES, *, finished: bool = True) -> str:
    """Return what becomes of t0 to t3: ready, partial, incomplete, failed or later."""
    result = judge_stacks(Arriving("x", stacks=found), files, finished=finished)
    words = []
    for index in FOUR.indices():
        left = result.left.get(index)
        ready = "partial" if index in result.partial else "ready"
        words.append(left.state.value if left else ready if index in result.ready else "later")
    return " ".join(words)


DROPPED = StackPlanes(5, ALL, (2,), passed=True)
STOPPED = StackPlanes(5, (0, 1))
UNSURE = StackPlanes(5, ALL)
BROKEN = StackPlanes(5, (0, 1, 3, 4), damage="its strips overlap")
PARTIAL = FilesSettings(partial_stacks="restore")


@pytest.mark.parametrize(
    ("found", "files", "expected"),
    [
        (stacks_of(t1=DROPPED), FILES, "ready incomplete ready ready"),
        (stacks_of(t1=DROPPED), RESTORE_BLANKS, "ready ready ready ready"),
        (stacks_of(t1=DROPPED), PARTIAL, "ready incomplete ready ready"),
        (replace(stacks_of(t1=DROPPED), zeros_are_data=True), FILES, "ready ready ready ready"),
        (stacks_of(t3=STOPPED), FILES, "ready ready ready incomplete"),
        (stacks_of(t3=STOPPED), PARTIAL, "ready ready ready partial"),
        (stacks_of(t3=StackPlanes(5, (0, 2))), PARTIAL, "ready ready ready incomplete"),
        (stacks_of(t3=StackPlanes(5, (0,))), PARTIAL, "ready ready ready incomplete"),
        (stacks_of(t3=UNSURE), FILES, "ready ready ready ready"),
        (stacks_of(t1=BROKEN), FILES, "ready failed ready ready"),
        (stacks_of(t3=StackPlanes(5, ALL, (2, 3, 4))), PARTIAL, "ready ready ready partial"),
    ],
)
def test_each_stack_of_a_file_is_judged_by_itself(
    found: StacksFound, files: FilesSettings, expected: str
) -> None:
    assert judged(found, files) == expected
    later = ["ready" if StackIndex(0, t, 0) in found.whole else "later" for t in range(4)]
    assert judged(found, files, finished=False) == " ".join(later), "while it is written"


def test_zeros_behind_which_nothing_was_begun_are_never_data() -> None:
    t2 = StackIndex(0, 2, 0)
    end = {t2: StackPlanes(5, ALL, (3, 4))}
    begun = StacksFound(FOUR, (StackIndex(0, 0, 0), StackIndex(0, 1, 0)), end, zeros_are_data=True)
    assert judged(begun) == "ready ready incomplete later"
    last = StacksFound(a_dataset(times=3, shape_zyx=(5, 5, 6)), begun.whole, end, True)
    assert t2 in judge_stacks(Arriving("x", stacks=last), FILES, finished=True).ready


@pytest.mark.parametrize(
    ("growing", "hurry", "quiet_s", "expected"),
    [
        (True, False, 0.0, Readiness.SOME),
        (False, False, 0.5, Readiness.LOOK_LATER),
        (False, False, 3.0, Readiness.SOME),
        (False, True, 3.0, Readiness.READY),
        (False, False, 600.0, Readiness.READY),
    ],
)
def test_whole_stacks_do_not_wait_for_the_others(
    growing: bool, hurry: bool, quiet_s: float, expected: Readiness
) -> None:
    evidence = Arriving("17 of 20 planes present", stacks=stacks_of(t3=STOPPED))
    found = decide_file(evidence, quiet_s, WATCH, FILES, growing=growing, hurry=hurry)
    assert (found.readiness, found.stacks) == (
        expected, 0 if expected is Readiness.LOOK_LATER else 3,
    )  # fmt: skip
