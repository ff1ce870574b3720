"""What other threads want looked at: the one door into a source for whoever is not its thread."""

from __future__ import annotations

import threading
from pathlib import Path

from live_restore.stack import StackKey


class Inbox:
    """Paths that may have changed, and keys to reconsider, until the source takes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._paths: set[Path] = set()
        self._keys: set[StackKey] = set()

    def hint(self, path: Path) -> None:
        """Something may have happened to ``path``."""
        with self._lock:
            self._paths.add(path)
        self._woken.set()

    def reconsider(self, key: StackKey) -> None:
        """What is known about ``key`` is not what was found when it was to be read."""
        with self._lock:
            self._keys.add(key)
        self._woken.set()

    def wait(self, timeout_s: float) -> None:
        """Sleep until something arrives, at most ``timeout_s``."""
        self._woken.wait(timeout_s)

    def begin(self) -> None:
        """What arrives from now on wakes the next wait."""
        self._woken.clear()

    def take(self) -> tuple[set[Path], set[StackKey]]:
        """Return what has arrived, once."""
        with self._lock:
            paths, self._paths = self._paths, set()
            keys, self._keys = self._keys, set()
        return paths, keys
