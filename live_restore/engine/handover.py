"""Bounded queues between the stages of the pipeline."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

# How often somebody who waits looks whether the pipeline has crashed (s).
_LOOK_S = 0.2


class Handover(Generic[Item]):
    """Hands items from one stage to the next, in order, and never hangs.

    Parameters
    ----------
    size
        Items that may wait; whoever puts another one waits too.
    crashed
        Whether the pipeline has crashed: then nobody may be left to take or to put, and both give
        up.
    """

    def __init__(self, size: int, crashed: Callable[[], bool]) -> None:
        self._queue: queue.Queue[Item | None] = queue.Queue(maxsize=size)
        self._crashed = crashed
        self._ended = False

    def put(self, item: Item) -> None:
        """Hand an item over; wait until there is room for it."""
        self._put(item)

    def close(self) -> None:
        """Nothing more will be put."""
        self._put(None)

    def end(self, last: Item) -> None:
        """Put a last item in the place of a stage that hangs: what it puts later is dropped."""
        self.put(last)
        self.close()
        self._ended = True

    def _put(self, item: Item | None) -> None:
        while not self._crashed() and not self._ended:
            try:
                self._queue.put(item, timeout=_LOOK_S)
            except queue.Full:
                continue
            return

    def __iter__(self) -> Iterator[Item]:
        """Yield items as they come, until it is closed."""
        while not self._crashed():
            try:
                item = self._queue.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
            if item is None:
                return
            yield item
