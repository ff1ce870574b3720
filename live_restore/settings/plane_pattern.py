"""A pattern for the names of files that hold one plane each, checked before it is used. Pure.

It is a regular expression, of which a small part is allowed: enough for every naming that is
known, and too little to take long. A name has at most 255 characters, ``\\d+`` takes all digits
that follow and never gives one back; beside it two parts may be of any length, and four may be left
out. So at most 255 * 255 / 2 * 16 ways are tried, which takes some milliseconds.
"""

from __future__ import annotations

import re
from functools import cache

NAMED = {"z": "plane", "t": "time point", "c": "channel", "p": "position"}
"""Groups of a pattern, and what each numbers."""

_MOST_CHARACTERS = 300
_MOST_OPEN_ENDED = 2
_MOST_LEFT_OUT = 4
_LONGEST_COUNT = 9
"""Digits of a number that a repetition may ask for."""

_GROUP = re.compile(r"\((?:\?P<([a-z]+)>|\?:)")
_ATOM = re.compile(r"\\[dDwWsS.\-+()\[\]_{}*?^$|\\ ]|\[\^?(?:\\.|[^\]\\])+\]|[^()\[\]{}*+?|\\^$]")
_REPEAT = re.compile(r"[*+?]\??|\{(\d{1,2})(?:,(\d{1,2})?)?\}\??")
_DIGITS = ("\\d", "[0-9]")


class _Scanner:
    """Goes through a pattern once, and writes down what is compiled."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._depth = 0
        self._open_ended = self._left_out = 0
        self._compiled: list[str] = []
        self.groups: list[str] = []

    def run(self) -> str:
        """Return what is compiled; raises ``ValueError`` for what is not allowed."""
        while self._at < len(self._pattern):
            if group := _GROUP.match(self._pattern, self._at):
                self._open(group)
            elif self._pattern[self._at] == ")":
                self._close()
            elif atom := _ATOM.match(self._pattern, self._at):
                self._take(atom)
            else:
                raise ValueError(f"{self._pattern[self._at : self._at + 10]!r} is not allowed")
        if self._depth:
            raise ValueError("a bracket is not closed")
        return "".join(self._compiled)

    def _open(self, group: re.Match[str]) -> None:
        self._depth += 1
        self._at = group.end()
        self._compiled.append(group[0])
        if group[1]:
            self.groups.append(group[1])

    def _close(self) -> None:
        self._depth -= 1
        if self._depth < 0:
            raise ValueError("a bracket is closed that was not opened")
        self._at += 1
        self._compiled.append(")")
        if self._pattern.startswith("?", self._at):
            self._at += 1
            self._compiled.append("?")
            self._count_left_out()
        elif _REPEAT.match(self._pattern, self._at):
            raise ValueError("a group may be left out (?), but not repeated")

    def _take(self, atom: re.Match[str]) -> None:
        self._at = atom.end()
        self._compiled.append(atom[0])
        repeat = _REPEAT.match(self._pattern, self._at)
        if repeat is None:
            return
        self._at = repeat.end()
        greedy = repeat[0].rstrip("?") or "?"
        most = int(repeat[2] or repeat[1]) if repeat[1] and repeat[2] != "" else 0
        if atom[0] in _DIGITS and repeat[0] != "?":
            self._compiled.append(f"{greedy}+")  # possessive: gives no digit back
            return
        self._compiled.append(repeat[0])
        if greedy == "?":
            self._count_left_out()
        elif not (repeat[1] and most <= _LONGEST_COUNT and repeat[2] is None):
            self._open_ended += 1
            if self._open_ended > _MOST_OPEN_ENDED:
                raise ValueError(
                    f"more than {_MOST_OPEN_ENDED} parts of any length (such as .* or \\w+), which "
                    "could take for ever; \\d+ may stand any number of times"
                )

    def _count_left_out(self) -> None:
        self._left_out += 1
        if self._left_out > _MOST_LEFT_OUT:
            raise ValueError(f"more than {_MOST_LEFT_OUT} parts that may be left out (?)")


def checked_plane_pattern(pattern: str) -> str:
    """Return a pattern that is safe to use.

    Raises
    ------
    ValueError
        It is no regular expression, could take for ever, or does not say which number is z.

    Examples
    --------
    >>> checked_plane_pattern(r"(.+)_z(?P<z>\\d+)_ch(?P<c>\\d+)\\.tif")
    Traceback (most recent call last):
    ValueError: '(.+)_z(?P<' is not allowed
    >>> checked_plane_pattern(r"(?P<run>.+)_z(?P<z>\\d+)_ch(?P<c>\\d+)\\.tif")
    '(?P<run>.+)_z(?P<z>\\\\d+)_ch(?P<c>\\\\d+)\\\\.tif'
    """
    compiled_plane_pattern(pattern)
    return pattern


@cache
def compiled_plane_pattern(pattern: str) -> re.Pattern[str]:
    """Return a pattern that matches whole names, in any case; raises ``ValueError``."""
    if len(pattern) > _MOST_CHARACTERS:
        raise ValueError(f"is longer than {_MOST_CHARACTERS} characters")
    scanner = _Scanner(pattern)
    text = scanner.run()
    unknown = set(scanner.groups) - {*NAMED, "run"}
    if unknown:
        raise ValueError(f"has a group {min(unknown)!r}; there are run, {', '.join(NAMED)}")
    if "z" not in scanner.groups:
        raise ValueError(r"does not say which number is z: it needs a group (?P<z>\d+)")
    try:
        return re.compile(text, re.IGNORECASE | re.ASCII)
    except re.error as error:
        raise ValueError(f"is no regular expression ({error})") from error
