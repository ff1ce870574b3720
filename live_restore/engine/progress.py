"""What a person wants to know while the daemon runs: one frozen snapshot, taken under a lock."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from dataclasses import dataclass

from live_restore.engine.waits import Waits
from live_restore.journal.states import State
from live_restore.stack import StackKey

WAITING = "waiting for the microscope"
"""What the display and the log say while restoring lets the acquisition go first."""

# How many of the last results the shown delay and speed are taken from.
_RECENT = 20
_WARNINGS_KEPT = 5


@dataclass(frozen=True)
class Snapshot:
    """The state of a run.

    ``files`` count files, and stacks of acquisitions, which are restored one by one as files are;
    ``stacks`` count Z-stacks, of which a file may hold several. ``delay_s`` is the median time from
    a file's last write to its published result, over recent results of files that arrived during
    the run (s); ``mvoxel_per_s`` the restored voxels per second of restoring (million);
    ``less_light`` what less light would cost, as last estimated ("": not yet).
    """

    files_restored: int = 0
    stacks_restored: int = 0
    files_failed: int = 0
    files_refused: int = 0
    current: str = ""
    delay_s: float | None = None
    mvoxel_per_s: float | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    running_s: float = 0.0
    stopping: bool = False
    less_light: str = ""


class Progress(Waits):
    """Collects what happens, and what is waited for, from any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self.started_at = time.time()
        self._stopping = False
        self._done = (0, 0)  # files, stacks
        self._bad: dict[StackKey, State] = {}
        self._current = ""
        self._delays: deque[float] = deque(maxlen=_RECENT)
        self._rates: deque[tuple[int, float]] = deque(maxlen=_RECENT)
        self._warnings: deque[str] = deque(maxlen=_WARNINGS_KEPT)
        self._notes: deque[str] = deque(maxlen=_WARNINGS_KEPT)
        self._less_light = ""

    def working_on(self, source: str) -> None:
        """Say which file is being restored ("": none)."""
        with self._lock:
            self._current = source

    def restored(
        self, key: StackKey, stacks: int, voxels: int, network_s: float, delay_s: float | None
    ) -> None:
        """Count one published file; earlier failures of it are made good.

        ``delay_s`` is ``None`` for a file that did not arrive during this run.
        """
        self.already_restored(key)
        with self._lock:
            files, before = self._done
            self._done = (files + 1, before + stacks)
            if delay_s is not None:
                self._delays.append(delay_s)
            self._rates.append((voxels, network_s))

    def already_restored(self, key: StackKey) -> None:
        """Forget earlier failures of a file whose result is there."""
        with self._lock:
            self._bad.pop(key, None)

    def failed(self, key: StackKey) -> None:
        """Count a file that could not be restored, once."""
        with self._lock:
            self._bad[key] = State.FAILED

    def bad(self) -> dict[StackKey, State]:
        """Return what failed, and what was refused, in this run."""
        with self._lock:
            return dict(self._bad)

    def refused(self, key: StackKey) -> None:
        """Count a file with nothing to restore, once."""
        with self._lock:
            self._bad[key] = State.REFUSED

    def warn(self, message: str) -> None:
        """Remember a warning for the display; the same one is not repeated."""
        with self._lock:
            if message not in self._warnings:
                self._warnings.append(message)

    def note(self, message: str) -> None:
        """Remember what a person should know, and need do nothing about."""
        with self._lock:
            if message not in self._notes:
                self._notes.append(message)

    def less_light(self, words: str) -> None:
        """Remember what less light would cost."""
        with self._lock:
            self._less_light = words

    def stopping(self) -> None:
        """Say that the run is coming to its end."""
        with self._lock:
            self._stopping = True

    def snapshot(self) -> Snapshot:
        """Return the state of the run now."""
        hanging = self.hanging()
        with self._lock:
            seconds = sum(s for _, s in self._rates)
            voxels = sum(v for v, _ in self._rates)
            return Snapshot(
                files_restored=self._done[0],
                stacks_restored=self._done[1],
                files_failed=sum(state is State.FAILED for state in self._bad.values()),
                files_refused=sum(state is State.REFUSED for state in self._bad.values()),
                current=self._current,
                delay_s=statistics.median(self._delays) if self._delays else None,
                mvoxel_per_s=voxels / seconds / 1e6 if seconds else None,
                warnings=(*hanging, *self._warnings),
                notes=tuple(self._notes),
                running_s=time.monotonic() - self._started,
                stopping=self._stopping,
                less_light=self._less_light,
            )
