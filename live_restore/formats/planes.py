"""What followers of every format share: no gaps, no zeros, and problems of one line each."""

from __future__ import annotations

from pathlib import Path

from live_restore.errors import StackIncompleteError, one_line
from live_restore.formats.acquisition_format import StackEvidence
from live_restore.stack import StackIndex, Volume

MAX_PROBLEMS = 20
MAX_PROBLEM = 500
"""Characters of one."""


def require_whole(
    stack_index: StackIndex, evidence: StackEvidence | None, folder: Path
) -> tuple[int, ...]:
    """Return the z indices to read, ascending.

    Raises
    ------
    StackIncompleteError
        There is none, one between others is missing, or one holds nothing but zeros.
    """
    where = (
        f"position {stack_index.position}, time {stack_index.time}, channel {stack_index.channel}"
    )
    if evidence is None or not evidence.present:
        raise StackIncompleteError(f"no plane of {where} is there", folder, "wait until it arrives")
    if evidence.blank:
        raise StackIncompleteError(
            f"{len(evidence.blank)} planes of {where} hold nothing but zeros",
            folder,
            "record it again",
        )
    present = evidence.present
    if present[-1] - present[0] + 1 != len(present):
        raise StackIncompleteError(
            f"planes of {where} are missing between others ({len(present)} are there)",
            folder,
            "record it again",
        )
    return present


def require_pixels(stack_index: StackIndex, volume: Volume, folder: Path) -> None:
    """Refuse a stack of which a plane was read as nothing but zeros, whatever was seen before.

    Raises
    ------
    StackIncompleteError
        There is such a plane.
    """
    blank = sum(not plane.any() for plane in volume)
    if blank:
        raise StackIncompleteError(
            f"{blank} planes of {stack_index.label} hold nothing but zeros",
            folder,
            "record it again",
        )


class Problems:
    """What is damaged or of no use: a line each, without repetition, and not without end."""

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}

    def add(self, what: object) -> None:
        """Record a problem."""
        if len(self._lines) < MAX_PROBLEMS:
            self._lines[one_line(what)[:MAX_PROBLEM]] = None

    @property
    def lines(self) -> tuple[str, ...]:
        """The problems, oldest first."""
        return tuple(self._lines)
