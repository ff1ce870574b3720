"""The thread beside an acquisition: what must not hold the acquisition up is done here."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from live_restore.errors import one_line

_LOOK_S = 0.2


class Worker:
    """Does what it is given in order, and something else at regular times.

    It can be started once. No task ends it: what one raises is kept in ``problem``.

    Attributes
    ----------
    running
        Whether it was started and has not been asked to stop.
    problem
        What went wrong last, "" if nothing.
    """

    def __init__(self) -> None:
        self.running = False
        self.problem = ""
        self._tasks: deque[Callable[[], None]] = deque()
        self._stop_asked = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, *regularly: Callable[[], None]) -> None:
        """Start; ``regularly`` are called after the tasks, about five times per second."""
        self.running = True
        self._thread = threading.Thread(
            target=self._run, args=(regularly,), name="live-restore", daemon=True
        )
        self._thread.start()

    def do(self, task: Callable[[], None]) -> None:
        """Have something done; returns at once, holds no lock, from any thread."""
        self._tasks.append(task)

    def stop(self, limit_s: float) -> bool:
        """Do what has been given so far, then stop; return whether that took at most ``limit_s``.

        A thread that hangs on a disk or a network is left behind.
        """
        assert self._thread is not None
        self.running = False
        self._stop_asked.set()
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def attempt(self, task: Callable[[], None]) -> None:
        """Do something in the thread that calls; what it raises goes into ``problem``."""
        try:
            task()
        except Exception as error:  # noqa: BLE001 - this thread's boundary; reported at the end
            self.problem = one_line(error)

    def _run(self, regularly: tuple[Callable[[], None], ...]) -> None:
        while True:
            last = self._stop_asked.is_set()
            while self._tasks:
                self.attempt(self._tasks.popleft())
            if last:
                return
            for task in regularly:  # each apart: one that fails is no reason to omit the others
                self.attempt(task)
            self._stop_asked.wait(_LOOK_S)
