"""Is it whole? Of a file, and of a stack of an acquisition. Pure: evidence in, decision out.

What is complete follows from the evidence of the format; what never will be, from how long nothing
has arrived.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from live_restore.formats.acquisition_format import StackEvidence, Stage
from live_restore.formats.file_format import Arriving, Complete, StackPlanes
from live_restore.journal.entry import GROWING
from live_restore.journal.states import State
from live_restore.settings.model import FilesSettings, WatchSettings
from live_restore.stack import StackIndex

# The network needs neighbours along z.
FEWEST_PLANES = 2
_AGAIN = "copy or record it again"
# A writer that paused 3 s between planes may well pause 5 s, hardly 9 s.
_GAPS_OF_QUIET = 3.0


# Files ----------------------------------------------------------------------------------------


class Readiness(StrEnum):
    """What to do with a file now."""

    LOOK_LATER = "look later"
    SOME = "some stacks are ready"
    READY = "ready"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True)
class Decision:
    """What to do with a file now, why, and how many of its stacks can be restored."""

    readiness: Readiness
    reason: str = ""
    stacks: int = 0


@dataclass(frozen=True)
class LeftOut:
    """What becomes of a stack that is not restored: ``State.INCOMPLETE`` or ``FAILED``, and why."""

    state: State
    reason: str


@dataclass(frozen=True)
class StacksJudged:
    """Which stacks of a file can be restored now, and which never will be as things stand.

    Parameters
    ----------
    ready
        In the order of ``FileStacks.indices``.
    partial
        Those of them of which only these planes (z) are there.
    left
        Those that have begun and are not restored.
    never_begun
        How many stacks are declared of which no plane holds data.
    """

    ready: tuple[StackIndex, ...]
    partial: Mapping[StackIndex, range] = field(default_factory=dict)
    left: Mapping[StackIndex, LeftOut] = field(default_factory=dict)
    never_begun: int = 0


def quiet_needed_s(longest_gap_s: float, watch: WatchSettings) -> float:
    """Return how long (s) a file that does not declare its planes must stay unchanged.

    ``longest_gap_s`` is the longest pause (s) after which it has been seen to grow on.
    """
    return max(watch.quiet_s, min(_GAPS_OF_QUIET * longest_gap_s, watch.stall_s))


def decide_file(
    evidence: Arriving | Complete,
    quiet_s: float,
    watch: WatchSettings,
    files: FilesSettings,
    longest_gap_s: float = 0.0,
    *,
    growing: bool = False,
    hurry: bool = False,
) -> Decision:
    """Decide about a file that has been unchanged for ``quiet_s`` seconds.

    A file that declares its planes and has them all is ready. One that declares nothing might
    still be growing by whole planes, and one that ends in rows of zeros might be a reserved file
    that is still being filled: only a longer quiet can tell, longer than the pauses its writer has
    made so far (``longest_gap_s``).

    Of a file that is seen to grow (``growing``), or that lacks something and is quiet, the stacks
    that are whole are ready. What is missing stays missing once nothing has arrived for
    ``watch.stall_s``; or for as long as above, if the writer has gone past it, or nobody will look
    later (``hurry``).
    """
    needed_s = quiet_needed_s(longest_gap_s, watch)
    settled = judge_stacks(evidence, files, finished=True)
    if isinstance(evidence, Complete) and not settled.left and settled.ready:
        # Every plane is there, and what is blank is data: in a file that is not filled any more.
        certain = evidence.declared and not evidence.zero_tail and _holds_data(evidence, files)
        if certain or quiet_s >= needed_s:
            return Decision(Readiness.READY, "", len(settled.ready))
        so_far = judge_stacks(evidence, files, finished=False)
        if growing and so_far.ready and evidence.file_stacks.stack_count > 1:
            return Decision(Readiness.SOME, GROWING, len(so_far.ready))
        return Decision(Readiness.LOOK_LATER, _why_wait(evidence))
    reason = evidence.reason if isinstance(evidence, Arriving) else blank_reason(evidence)
    passed = isinstance(evidence, Complete) and _is_passed(evidence)
    given_up = quiet_s >= (needed_s if hurry or passed else watch.stall_s)
    if given_up and settled.ready:
        return Decision(Readiness.READY, reason, len(settled.ready))
    if quiet_s >= watch.stall_s or (given_up and passed):
        quiet = f"unchanged for {needed_s if passed else watch.stall_s:g} s"
        return Decision(Readiness.INCOMPLETE, _given_up(reason, quiet))
    so_far = judge_stacks(evidence, files, finished=False)
    if so_far.ready and (growing or quiet_s >= needed_s):
        return Decision(Readiness.SOME, GROWING, len(so_far.ready))
    return Decision(Readiness.LOOK_LATER, reason)


def _given_up(reason: str, quiet: str) -> str:
    """Return why a file is given up; what to do about it comes last, as everywhere."""
    what, _, remedy = reason.rpartition("; ")
    what, remedy = (what, remedy) if what else (remedy, _AGAIN)
    return f"{what}; {quiet}, not restored; {remedy}"


def _holds_data(evidence: Complete, files: FilesSettings) -> bool:
    return not evidence.blank_planes or files.blank_planes == "restore"


def _is_passed(evidence: Complete) -> bool:
    """Return whether the writer has gone past every plane that is blank."""
    found = evidence.stacks
    return (
        found is not None
        and all(planes.passed for planes in found.others.values() if planes.blank)
        and len(found.whole) + len(found.others) == found.file_stacks.stack_count
    )


def _why_wait(evidence: Complete) -> str:
    if evidence.blank_planes:
        reason = f"{len(evidence.blank_planes)} plane(s) hold nothing but zeros so far"
    elif evidence.declared:
        reason = "ends in zeros, as a copy that is not finished might"
    else:
        reason = "does not say how many planes it will have"
    return f"{reason}; waiting for it to stay quiet"


def judge_stacks(
    evidence: Arriving | Complete, files: FilesSettings, *, finished: bool
) -> StacksJudged:
    """Say of each stack of a file whether it can be restored.

    Planes of nothing but zeros are data where zeros are nothing odd (a detector that counts
    photons) or where the settings say so, in a file that is ``finished``. Otherwise they are what
    pre-allocation, or a dropped frame, leaves behind: no data. In a file that was reserved, and of
    which whole stacks were never begun, those at its end never are.
    """
    found = evidence.stacks
    if isinstance(evidence, Complete) and (
        found is None or (finished and files.blank_planes == "restore")
    ):
        whole = found is None and evidence.blank_planes and files.blank_planes == "incomplete"
        return StacksJudged(() if whole else tuple(evidence.file_stacks.indices()))
    if found is None:
        return StacksJudged(())
    never_begun = found.file_stacks.stack_count - len(found.whole) - len(found.others)
    ready = set(found.whole)
    partial: dict[StackIndex, range] = {}
    left: dict[StackIndex, LeftOut] = {}
    for index, planes in found.others.items() if finished else ():
        zeros = files.blank_planes == "restore" or (
            found.zeros_are_data and (planes.passed or not never_begun)
        )
        there = planes.present if zeros else tuple(sorted({*planes.present} - {*planes.blank}))
        if planes.damage:
            left[index] = LeftOut(State.FAILED, planes.damage)
        elif len(there) == planes.expected:
            ready.add(index)
        elif _restored_in_part(planes, there, files):
            ready.add(index)
            partial[index] = range(there[0], there[-1] + 1)
        else:
            left[index] = LeftOut(State.INCOMPLETE, _why_incomplete(planes, there))
    return StacksJudged(tuple(sorted(ready)), partial, left, never_begun)


def _restored_in_part(planes: StackPlanes, there: tuple[int, ...], files: FilesSettings) -> bool:
    """Return whether a stack in which the run ended is to be restored as far as it got."""
    dropped = planes.passed and bool(planes.blank)
    return (
        files.partial_stacks == "restore"
        and not dropped
        and len(there) >= FEWEST_PLANES
        and there[-1] - there[0] + 1 == len(there)
    )


def _why_incomplete(planes: StackPlanes, there: tuple[int, ...]) -> str:
    absent = planes.expected - len(planes.present)
    if absent or not planes.passed:
        return (
            f"{len(there)} of {planes.expected} planes present, not restored; "
            'set files.partial_stacks = "restore" to restore what is there'
        )
    shown = ", ".join(str(z) for z in planes.blank[:4]) + (", ..." if len(planes.blank) > 4 else "")
    return (
        f"{len(planes.blank)} of {planes.expected} planes hold nothing but zeros (z {shown}), as "
        'dropped frames do, not restored; set files.blank_planes = "restore" if they are real'
    )


def blank_reason(evidence: Complete) -> str:
    """Say why planes of nothing but zeros are not taken for data."""
    planes = evidence.blank_planes
    shown = ", ".join(str(p) for p in planes[:4]) + (", ..." if len(planes) > 4 else "")
    return (
        f"{len(planes)} plane(s) hold nothing but zeros (plane {shown}), as a file that was "
        'reserved but not filled; set files.blank_planes = "restore" if they are real'
    )


# Stacks of an acquisition ---------------------------------------------------------------------


SINGLE_PLANE = "is a single plane; there is nothing to restore in 3-D"
"""Why a stack of a channel without z-stack is refused."""


def decide_stack(
    evidence: StackEvidence,
    *,
    taken_as_over: bool,
    final: bool,
    calm: bool,
    partial: Literal["incomplete", "restore"],
) -> tuple[State, str]:
    """Return the state of a stack of an acquisition, and why.

    Parameters
    ----------
    evidence
        What its format says.
    taken_as_over
        Whether that was said on the assumption that the run is over, which may be wrong.
    final
        The assumption has held: planes that are missing stay missing.
    calm
        Nothing in the acquisition has been written for a while.
    partial
        What becomes of a stack that will never be complete.
    """
    settled = final or not taken_as_over
    if evidence.stage is Stage.REFUSED:
        return State.REFUSED, evidence.reason
    if evidence.complete:
        if len(evidence.present) < FEWEST_PLANES:
            if not settled:  # z may be the outer loop: then every stack has one plane at first
                return State.ARRIVING, "so far: a single plane"
            return State.REFUSED, SINGLE_PLANE
        if evidence.may_change and not calm:
            return (
                State.ARRIVING,
                "complete, but its chunks may be written again; waiting for quiet",
            )
        return State.WAITING, ""
    if not (evidence.partial and settled):
        return State.ARRIVING, evidence.reason or "planes are missing"
    reason = f"{evidence.reason or 'planes are missing'}; the run is over"
    if partial == "restore" and can_be_restored(evidence):
        return State.WAITING, f"partial: {reason}"
    return State.INCOMPLETE, f"{reason}, not restored; {_AGAIN}"


def can_be_restored(evidence: StackEvidence) -> bool:
    """Return whether planes that follow each other, and no empty ones, are there."""
    present = evidence.present
    return (
        len(present) >= FEWEST_PLANES
        and not evidence.blank
        and present[-1] - present[0] + 1 == len(present)
    )
