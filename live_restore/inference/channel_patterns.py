"""Which channels a rule of the settings means. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable


def matches(pattern: str, name: str, channel: int) -> bool:
    """Return whether a rule's pattern means a channel, by number, name or wildcards.

    Examples
    --------
    >>> matches("gfp*", "GFP 488", 0), matches("1", "GFP", 1), matches("[x]", "[x]", 0)
    (True, True, True)
    """
    wanted, name = pattern.casefold(), name.casefold()
    # Names may hold what wildcards are made of: "GFP [488]".
    return pattern == str(channel) or wanted == name or fnmatch.fnmatchcase(name, wanted)


def any_matches(patterns: Iterable[str], name: str, channel: int) -> bool:
    """Return whether one of a rule's patterns means a channel."""
    return any(matches(pattern, name, channel) for pattern in patterns)
