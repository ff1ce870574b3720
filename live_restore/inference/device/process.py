"""Which process did something, and whether it is still there: numbers are given anew."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import psutil

from live_restore.files.values import integer, number

# Linux tells when a process started from when the computer did, which follows its clock.
_SAME_START_S = 2.0


class Process(NamedTuple):
    """A process, by its number and when it started (s since 1970)."""

    number: int
    started: float

    @classmethod
    def this(cls) -> Process:
        """Return the one that runs this."""
        return cls(os.getpid(), psutil.Process().create_time())

    @classmethod
    def of_record(cls, record: Any) -> Process | None:
        """Return what a file holds, if it can be one.

        Examples
        --------
        >>> Process.of_record([17, 1.5e9])
        Process(number=17, started=1500000000.0)
        >>> Process.of_record([-1, 1.5e9]) is None
        True
        """
        if not (isinstance(record, list) and len(record) == 2):
            return None
        found, started = integer(record[0]), number(record[1])
        return cls(found, started) if found and started is not None else None

    def is_gone(self) -> bool:
        """Return whether it ended."""
        try:
            found = psutil.Process(self.number)
            if found.status() == psutil.STATUS_ZOMBIE:
                return True
            return not abs(found.create_time() - self.started) < _SAME_START_S
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:  # somebody else's: it cannot be told
            return False
