"""Lets the acquisition go first: before each tile, restoring waits while planes arrive.

A tile is the smallest piece of work: smaller ones would give other pixels, and one that is stopped
in the middle is lost. What is decided here is in ``cadence.py``.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

import psutil
import structlog

from live_restore.engine.cadence import Cadence
from live_restore.engine.progress import WAITING
from live_restore.inference.model_set import ModelSet

log = structlog.get_logger()

_LOOK_S = 0.02
_TILES_REMEMBERED = 5
# Time points may follow each other for days: one line tells what a person wants to know.
_LOG_AGAIN_AFTER_S = 600.0
# With fewer than that to itself, restoring shares cores, caches and memory with what draws and
# records. Not measured on computers of many cores: a careful guess.
_IDLE_CORES = 4
_SAMPLE_S, _STALE_S = 1.0, 5.0


class MicroscopeFirst:
    """The gate before each tile; safe to use from several threads.

    Parameters
    ----------
    mode
        ``process.while_acquiring``. "auto": wait while planes arrive fast, unless half of the
        cores, and no fewer than four, are idle; begin no tile that reaches far into the next time
        point. "pause": wait while planes arrive at all. "full": never wait.
    model_sets
        The workers' models: with a GPU among them the cores are free anyway, and nothing waits.
    clock
        The time (monotonic s).
    idle_cores
        How many cores nobody else uses.
    """

    def __init__(
        self,
        mode: Literal["auto", "pause", "full"],
        model_sets: Sequence[ModelSet],
        clock: Callable[[], float] = time.monotonic,
        idle_cores: Callable[[], float] | None = None,
    ) -> None:
        self._mode = mode
        self._model_sets = model_sets
        self._clock = clock
        self._idle_cores = idle_cores or IdleCores()
        self._lock = threading.Lock()
        self._cadence = Cadence()
        self._tiles_s: deque[float] = deque(maxlen=_TILES_REMEMBERED)
        self._logged_at = -_LOG_AGAIN_AFTER_S
        self._waiting = 0

    @property
    def waiting(self) -> bool:
        """Whether restoring waits just now."""
        return self._waiting > 0

    def arrived(self) -> None:
        """Planes have arrived in the watched folder; returns at once."""
        with self._lock:
            self._cadence.arrived(self._clock())

    def tile_took(self, seconds: float) -> None:
        """Remember how long a tile takes here."""
        with self._lock:
            self._tiles_s.append(seconds)

    def before_tile(self, stopping: Callable[[], bool]) -> bool:
        """Wait for as long as the acquisition needs the computer; return ``stopping()``.

        Parameters
        ----------
        stopping
            Whether a stop is asked for, which ends the wait.
        """
        waited = False
        while not stopping() and self._must_wait():
            if not waited:
                waited = True
                self._begin_waiting()
            time.sleep(_LOOK_S)
        if waited:
            with self._lock:
                self._waiting -= 1
        return stopping()

    def _must_wait(self) -> bool:
        if self._mode == "full" or self._on_gpu():
            return False
        now = self._clock()
        with self._lock:
            if self._mode == "pause":
                return self._cadence.arriving(now)
            takes_s = max(self._tiles_s, default=0.0)
            if self._cadence.may_begin(now, takes_s):
                return False
        cores = psutil.cpu_count() or 1
        return self._idle_cores() < max(_IDLE_CORES, cores / 2)

    def _on_gpu(self) -> bool:
        """Return whether a GPU computes; asked anew, as a device is settled by its first tile."""
        devices = [device for each in self._model_sets for device in each.devices]
        here = [device for device in devices if not device.elsewhere]
        return not here or any(device.on_gpu for device in here)

    def _begin_waiting(self) -> None:
        now = self._clock()
        with self._lock:
            self._waiting += 1
            news = now - self._logged_at >= _LOG_AGAIN_AFTER_S
            self._logged_at = now if news else self._logged_at
        if news:
            log.info(
                WAITING,
                reason="planes arrive; stacks are restored in the pauses and afterwards",
                setting="process.while_acquiring",
            )


class IdleCores:
    """Measures how many cores are idle, this process and its threads apart."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = psutil.Process()
        self._sampled = self._sample()
        self._idle = 0.0

    def __call__(self) -> float:
        """Return the mean of about the last second; 0 until that is known."""
        with self._lock:
            at, idle_s, own_s = self._sample()
            before_at, before_idle_s, before_own_s = self._sampled
            if at - before_at > _STALE_S:  # of before the acquisition
                self._sampled, self._idle = (at, idle_s, own_s), 0.0
            elif at - before_at >= _SAMPLE_S:
                freed_s = own_s - before_own_s  # would be idle without us
                self._idle = (idle_s - before_idle_s + freed_s) / (at - before_at)
                self._sampled = (at, idle_s, own_s)
            return self._idle

    def _sample(self) -> tuple[float, float, float]:
        own = self._process.cpu_times()
        return time.monotonic(), psutil.cpu_times().idle, own.user + own.system
