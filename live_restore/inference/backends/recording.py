"""Lets nothing else happen on GPUs while a CUDA graph is recorded.

ONNX Runtime records in CUDA's global mode, in which memory that any thread of the process allocates
meanwhile, for another model or another card, fails, and spoils the recording. It records within a
session's first run, anew on each thread. https://docs.nvidia.com/cuda/cuda-runtime-api (stream
management, cudaStreamBeginCapture)
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Recording:
    """What runs beside others, and what runs alone; whoever wants to be alone goes first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._want_to_be_alone = 0
        self._is_alone = False

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        """Wait until nobody is, or wants to be, alone."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._is_alone or self._want_to_be_alone))
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until nothing runs, and let nothing begin."""
        with self._changed:
            self._want_to_be_alone += 1
            try:
                self._changed.wait_for(lambda: not (self._is_alone or self._running))
            finally:
                self._want_to_be_alone -= 1
            self._is_alone = True
        try:
            yield
        finally:
            with self._changed:
                self._is_alone = False
                self._changed.notify_all()


class Turn:
    """When a session may run: alone on a thread's first run of what is recorded then."""

    def __init__(self, recording: Recording, *, records: bool) -> None:
        self._recording = recording
        self._records = records
        self._of_thread = threading.local()

    @contextmanager
    def run(self) -> Iterator[None]:
        """Hold off what must not happen meanwhile."""
        if self._records and not getattr(self._of_thread, "recorded", False):
            with self._recording.alone():
                yield
            self._of_thread.recorded = True
        else:
            with self._recording.beside_others():
                yield


GPUS = Recording()
"""Of this process: all of its GPUs."""
