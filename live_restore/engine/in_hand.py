"""How much work is in hand: leased, and its outcome not recorded yet."""

from __future__ import annotations

import threading
from collections.abc import Callable

from live_restore.stack import StackKey

_LOOK_S = 0.2


class InHand:
    """Counts pieces of work between their lease and their outcome, from any thread."""

    def __init__(self) -> None:
        self._count = 0
        self._keys: set[StackKey] = set()
        self._changed = threading.Condition()

    def __bool__(self) -> bool:
        with self._changed:
            return self._count > 0

    def begin(self) -> bool:
        """Count one more; return whether it is the only one.

        Called before it is leased, so that nobody finds nothing in hand between the two.
        """
        with self._changed:
            self._count += 1
            return self._count == 1

    def took(self, key: StackKey) -> None:
        """What was counted last is this; a file that grows must not be worked on twice at once."""
        with self._changed:
            self._keys.add(key)

    def keys(self) -> frozenset[StackKey]:
        """Return what is in hand."""
        with self._changed:
            return frozenset(self._keys)

    def end(self, key: StackKey | None = None) -> bool:
        """Count one less; return whether nothing is left."""
        with self._changed:
            self._count -= 1
            if key is not None:
                self._keys.discard(key)
            self._changed.notify_all()
            return self._count == 0

    def wait_until_none(self, stopping: Callable[[], bool]) -> None:
        """Wait until nothing is left, or a stop is asked for."""
        with self._changed:
            while self._count and not stopping():
                self._changed.wait(_LOOK_S)
