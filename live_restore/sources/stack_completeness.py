"""When a stack of a data set counts as finished. Pure: evidence in, verdict out."""

from __future__ import annotations

from typing import Literal

from live_restore.formats.acquisition_format import StackEvidence
from live_restore.journal.entry import State

# The network needs neighbours along z.
FEWEST_PLANES = 2


def judge(
    evidence: StackEvidence,
    *,
    taken_as_over: bool,
    final: bool,
    calm: bool,
    partial: Literal["incomplete", "restore"],
) -> tuple[State, str]:
    """Return the state of a stack, and why.

    Parameters
    ----------
    evidence
        What its format says.
    taken_as_over
        Whether that was said on the assumption that the run is over, which may be wrong.
    final
        The assumption has held: planes that are missing stay missing.
    calm
        Nothing in the data set has been written for a while.
    partial
        What becomes of a stack that will never be complete.
    """
    settled = final or not taken_as_over
    if evidence.complete:
        if len(evidence.present) < FEWEST_PLANES:
            if not settled:  # z may be the outer loop: then every stack has one plane at first
                return State.ARRIVING, "so far: a single plane"
            return State.REFUSED, "is a single plane; there is nothing to restore in 3-D"
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
