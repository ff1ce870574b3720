"""Looks at the source from a thread of its own: a share that stopped answering keeps nobody.

A call into a file system that hangs cannot be interrupted. The daemon goes on showing what is, says
what has taken so long, and is stopped without waiting for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

_TICK_S = 0.1
PATIENCE_S = 10.0
"""After a stop is asked for, what hangs is waited for no longer than this (s)."""


class Looker:
    """Runs one look after the other.

    Parameters
    ----------
    look
        Looks once, and returns when to do so again (s from now).
    """

    def __init__(self, look: Callable[[], float]) -> None:
        self._look = look
        self._asked, self._done = threading.Event(), threading.Event()
        self._ending = self._hangs = False
        self._next_s = 0.0
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="looker", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ending = True
        self._asked.set()
        if not self._hangs:
            self._thread.join()

    def look(self, tick: Callable[[], None], stopping: Callable[[], bool]) -> float:
        """Look once; return when to do so again (s), or at once if it hangs and a stop is asked.

        ``tick`` is called several times per second meanwhile; what the look raised is raised here.
        """
        self._done.clear()
        self._asked.set()
        asked_at: float | None = None
        while not self._done.wait(_TICK_S):
            tick()
            if stopping():
                asked_at = asked_at or time.monotonic()
                if time.monotonic() - asked_at > PATIENCE_S:
                    self._hangs = True
                    return 0.0
        error, self._error = self._error, None
        if error is not None:
            raise error
        return self._next_s

    def _run(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()
            if self._ending:
                return
            try:
                self._next_s = self._look()
            except BaseException as error:  # noqa: BLE001 - thread boundary: raised where it is asked
                self._error = error
            self._done.set()
