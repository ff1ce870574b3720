"""Is it whole? Of a file, and of a stack of an acquisition. Pure: evidence in, decision out.

What is complete follows from the evidence of the format; what never will be, from how long nothing
has arrived.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from live_restore.formats.acquisition_format import StackEvidence, Stage
from live_restore.formats.file_format import Arriving, Complete
from live_restore.journal.states import State
from live_restore.settings.model import FilesSettings, WatchSettings

# The network needs neighbours along z.
FEWEST_PLANES = 2
# A writer that paused 3 s between planes may well pause 5 s, hardly 9 s.
_GAPS_OF_QUIET = 3.0


# Files ----------------------------------------------------------------------------------------


class Readiness(StrEnum):
    """What to do with a file now."""

    LOOK_LATER = "look later"
    READY = "ready"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True)
class Decision:
    """What to do with a file now, and why."""

    readiness: Readiness
    reason: str = ""


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
) -> Decision:
    """Decide about a file that has been unchanged for ``quiet_s`` seconds.

    A file that declares its planes and has them all is ready. One that declares nothing might
    still be growing by whole planes, and one that ends in rows of zeros might be a reserved file
    that is still being filled: only a longer quiet can tell, longer than the pauses its writer has
    made so far (``longest_gap_s``). Planes of nothing but zeros
    are what pre-allocation leaves behind: never data, unless the settings say so.
    """
    if isinstance(evidence, Arriving):
        return _wait_or_give_up(evidence.reason, quiet_s, watch)
    if evidence.blank_planes and files.blank_planes == "incomplete":
        return _wait_or_give_up(blank_reason(evidence), quiet_s, watch)
    if quiet_s >= quiet_needed_s(longest_gap_s, watch) or (
        evidence.declared and not evidence.zero_tail
    ):
        return Decision(Readiness.READY)
    reason = (
        "ends in zeros, as a copy that is not finished might"
        if evidence.declared
        else "does not say how many planes it will have"
    )
    return Decision(Readiness.LOOK_LATER, f"{reason}; waiting for it to stay quiet")


def _wait_or_give_up(reason: str, quiet_s: float, watch: WatchSettings) -> Decision:
    if quiet_s >= watch.stall_s:
        return Decision(
            Readiness.INCOMPLETE, f"{reason}; unchanged for {watch.stall_s:g} s, not restored"
        )
    return Decision(Readiness.LOOK_LATER, reason)


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
    return State.INCOMPLETE, f"{reason}, not restored"


def can_be_restored(evidence: StackEvidence) -> bool:
    """Return whether planes that follow each other, and no empty ones, are there."""
    present = evidence.present
    return (
        len(present) >= FEWEST_PLANES
        and not evidence.blank
        and present[-1] - present[0] + 1 == len(present)
    )
