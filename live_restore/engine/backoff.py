"""Growing waits for a disk that refuses: reported now and then, tried again until it works."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from live_restore.engine.progress import Progress
from live_restore.errors import LiveRestoreError

log = structlog.get_logger()

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 10.0
_REPORT_EVERY_S = 30.0


class Backoff:
    """Counts refusals and successes of one caller or of several; safe to use from any thread.

    Parameters
    ----------
    progress
        Told what a person should know.
    clock
        The time (monotonic s).
    what
        What refuses.
    """

    def __init__(
        self,
        progress: Progress,
        clock: Callable[[], float] = time.monotonic,
        *,
        what: str = "the journal",
    ) -> None:
        self._progress = progress
        self._what = what
        self._clock = clock
        self._lock = threading.Lock()
        self._wait_s = _FIRST_WAIT_S
        self._reported_at: float | None = None
        self._refused = False

    def refused(self, error: LiveRestoreError) -> float:
        """Report it, at most once per half minute, and return how long to wait (s)."""
        with self._lock:
            now = self._clock()
            self._refused = True
            wait_s, self._wait_s = self._wait_s, min(2 * self._wait_s, _LONGEST_WAIT_S)
            report = self._reported_at is None or now - self._reported_at >= _REPORT_EVERY_S
            if report:
                self._reported_at = now
        if report:
            self._progress.warn(f"{error.reason}; it is tried again")
            log.error(f"{self._what} refuses; it is tried again", reason=str(error))
        return wait_s

    def accepted(self) -> None:
        """Something has really been written."""
        with self._lock:
            was_refused, self._refused = self._refused, False
            self._wait_s = _FIRST_WAIT_S
        if was_refused:
            log.info(f"{self._what} works again")
