"""What the disk refused, and when to try each of it again."""

from __future__ import annotations

import time

from live_restore.stack import StackKey

_LONGEST_RETRY_S = 300.0


class Deferrals:
    """What the disk refused, and when to try each of it again.

    Parameters
    ----------
    first_s
        The first wait (s); it doubles each time, up to five minutes.
    retry
        Whether to try again at all.
    """

    def __init__(self, first_s: float, *, retry: bool) -> None:
        self.retry = retry
        self._first_s = first_s
        self._until: dict[StackKey, float] = {}
        self._wait_s: dict[StackKey, float] = {}

    def __contains__(self, key: StackKey) -> bool:
        return key in self._until

    def add(
        self, key: StackKey, longest_s: float = _LONGEST_RETRY_S, *, retry: bool = False
    ) -> None:
        """Put something off, longer than the last time, at most ``longest_s``.

        ``retry``: it is tried again although what the disk refuses is not.
        """
        wait_s = min(longest_s, 2 * self._wait_s.get(key, self._first_s / 2))
        self._wait_s[key] = wait_s
        self._until[key] = time.monotonic() + wait_s if self.retry or retry else float("inf")

    def remove(self, key: StackKey) -> None:
        """Forget what has come to an end."""
        self._until.pop(key, None)
        self._wait_s.pop(key, None)

    def given_up(self) -> frozenset[StackKey]:
        """Return what is not tried again."""
        return frozenset(s for s, until in list(self._until.items()) if until == float("inf"))

    def not_yet(self) -> frozenset[StackKey]:
        """Return what has to wait still."""
        now = time.monotonic()
        return frozenset(s for s, until in list(self._until.items()) if until > now)

    def next_in_s(self) -> float:
        """Return when to look again (s from now), at most a second."""
        now = time.monotonic()
        return min([*(u - now for u in list(self._until.values()) if u > now), 1.0])
