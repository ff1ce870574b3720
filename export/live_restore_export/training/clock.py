"""How long a training has had a processor: a process that is stopped must not lose its schedule."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_TICK_S = 0.25
# A tick that comes later than so many was not late: the process, or the computer, stood still. Long
# operations of torch release the interpreter's lock; the longest tick of a training on two busy
# cores was 0.9 s.
_LONGEST_TICKS = 20


class WorkClock:
    """Counts the time in which this process could work, while the block runs.

    Time in which it was stopped (SIGSTOP, a computer that sleeps) does not count; where the system
    tells (Linux), neither does that in which the thread that made the clock waited for a processor,
    so that a training of low priority gets all its minutes however busy the computer is.

    Examples
    --------
    >>> with WorkClock() as clock:
    ...     clock.seconds < 10
    True
    """

    def __init__(self) -> None:
        self._counted = 0.0
        self._most = 0.0
        self._last = time.monotonic()
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="work clock", daemon=True)
        self._waits = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._waited_before = self._waited_s()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        """Time since the clock was made, as far as it counts."""
        self._count()
        with self._lock:
            waited = self._waited_s() - self._waited_before
            self._most = max(self._most, self._counted - waited)  # time never runs backwards
            return self._most

    def _count(self) -> None:
        now = time.monotonic()
        with self._lock:
            passed, self._last = now - self._last, now
            self._counted += passed if passed <= _LONGEST_TICKS * _TICK_S else _TICK_S

    def _tick(self) -> None:
        while not self._end.wait(_TICK_S):
            self._count()

    def _waited_s(self) -> float:
        """Return how long the thread has been ready to run, and was not let; 0 where unknown."""
        try:
            return int(self._waits.read_text().split()[1]) * 1e-9
        except (OSError, ValueError, IndexError):
            return 0.0
