"""When a file counts as finished. Pure decisions: evidence and quiet in, verdict out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from live_restore.formats.file_format import Arriving, Complete
from live_restore.settings.model import FilesSettings, WatchSettings


class Verdict(StrEnum):
    """What to do with a file now."""

    LOOK_LATER = "look later"
    READY = "ready"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True)
class Decision:
    """A verdict, and why."""

    verdict: Verdict
    reason: str = ""


# A writer that paused 3 s between planes may well pause 5 s, hardly 9 s.
_GAPS_OF_QUIET = 3.0


def quiet_needed_s(longest_gap_s: float, watch: WatchSettings) -> float:
    """Return how long (s) a file that does not declare its planes must stay unchanged.

    ``longest_gap_s`` is the longest pause (s) after which it has been seen to grow on.
    """
    return max(watch.quiet_s, min(_GAPS_OF_QUIET * longest_gap_s, watch.stall_s))


def decide(
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
        return Decision(Verdict.READY)
    reason = (
        "ends in zeros, as a copy that is not finished might"
        if evidence.declared
        else "does not say how many planes it will have"
    )
    return Decision(Verdict.LOOK_LATER, f"{reason}; waiting for it to stay quiet")


def _wait_or_give_up(reason: str, quiet_s: float, watch: WatchSettings) -> Decision:
    if quiet_s >= watch.stall_s:
        return Decision(
            Verdict.INCOMPLETE, f"{reason}; unchanged for {watch.stall_s:g} s, not restored"
        )
    return Decision(Verdict.LOOK_LATER, reason)


def blank_reason(evidence: Complete) -> str:
    """Say why planes of nothing but zeros are not taken for data."""
    planes = evidence.blank_planes
    shown = ", ".join(str(p) for p in planes[:4]) + (", ..." if len(planes) > 4 else "")
    return (
        f"{len(planes)} plane(s) hold nothing but zeros (plane {shown}), as a file that was "
        'reserved but not filled; set files.blank_planes = "restore" if they are real'
    )
