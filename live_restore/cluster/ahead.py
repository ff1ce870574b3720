"""What is on its way to workers: bounded, so that a slow network never fills a memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_TICK_S = 0.1


class Ahead:
    """Counts raw bytes that are with workers or on their way; a stack larger than all goes alone.

    Parameters
    ----------
    most_bytes
        How many there may be.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._bytes = 0
        self._changed = threading.Condition()

    @property
    def bytes(self) -> int:
        """How many there are."""
        return self._bytes

    @contextmanager
    def sending(self, count: int, cancelled: Callable[[], bool]) -> Iterator[bool]:
        """Wait until so many bytes may go; the block gets ``False`` where that was cancelled."""
        admitted = self._admitted(count, cancelled)
        try:
            yield admitted
        finally:
            with self._changed:
                self._bytes -= count if admitted else 0
                self._changed.notify_all()

    def _admitted(self, count: int, cancelled: Callable[[], bool]) -> bool:
        while True:
            with self._changed:
                if not self._bytes or self._bytes + count <= self._most:
                    self._bytes += count
                    return True
                self._changed.wait(_TICK_S)
            if cancelled():  # without the lock: who is asked may take his time
                return False
