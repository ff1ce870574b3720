"""The doubts of a report, sorted and in one line. Pure; whoever reads a report needs no runtime."""

from __future__ import annotations

import re
from collections.abc import Sequence

from live_restore.stack import FOR_BRIGHTNESS

_NUMBER = re.compile(r"\d[\d.e+-]*")


def about_the_picture(doubts: Sequence[str]) -> tuple[str, ...]:
    """Return those doubts that are about more than measuring brightness."""
    return tuple(doubt for doubt in doubts if not doubt.startswith(FOR_BRIGHTNESS))


def about_brightness(doubts: Sequence[str]) -> tuple[str, ...]:
    """Return those doubts that are about measuring brightness only, without saying so again."""
    return tuple(
        doubt.removeprefix(FOR_BRIGHTNESS).removeprefix(": ")
        for doubt in doubts
        if doubt.startswith(FOR_BRIGHTNESS)
    )


def finding(doubt: str) -> str:
    """Return what a doubt says of a stack, without the advice that follows.

    Examples
    --------
    >>> finding("2 % of its raw voxels are saturated; use less light")
    '2 % of its raw voxels are saturated'
    """
    return doubt.partition("; ")[0].partition(" (where ")[0]


def in_one_line(doubts_of_stacks: Sequence[Sequence[str]]) -> str:
    """Return in one line why stacks of a result are doubtful, or "" where none is.

    What is about brightness stands at the end: a line that begins with ``FOR_BRIGHTNESS`` is about
    nothing else.

    Parameters
    ----------
    doubts_of_stacks
        The doubts about each stack of the result, none for one without.

    Examples
    --------
    >>> in_one_line([["dark"], [], ["dark", "odd"]])
    '2 of 3 stacks: dark; 1 of 3 stacks: odd'
    >>> in_one_line([["doubtful for measuring brightness: dim"], [], ["dark"]])
    '1 of 3 stacks: dark; doubtful for measuring brightness: 1 of 3 stacks: dim'
    """
    picture = _kinds([about_the_picture(doubts) for doubts in doubts_of_stacks])
    brightness = _kinds([about_brightness(doubts) for doubts in doubts_of_stacks])
    return "; ".join(filter(None, (picture, brightness and f"{FOR_BRIGHTNESS}: {brightness}")))


def _kinds(doubts_of_stacks: Sequence[Sequence[str]]) -> str:
    # Numbers differ from stack to stack; the kinds are told apart by what follows them.
    kinds: dict[str, list[str]] = {}
    for doubts in doubts_of_stacks:
        for doubt in doubts:
            kinds.setdefault(_NUMBER.sub("", doubt), []).append(doubt)
    if len(doubts_of_stacks) == 1:
        return "; ".join(found[0] for found in kinds.values())
    return "; ".join(
        f"{len(found)} of {len(doubts_of_stacks)} stacks: {found[0]}" for found in kinds.values()
    )
