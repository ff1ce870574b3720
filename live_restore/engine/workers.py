"""The workers: one for every stack that can be restored at the same time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from live_restore.inference.model_set import ModelSet

Result = TypeVar("Result")


class WorkerPool:
    """Threads that restore, each with warm models of its own.

    ::

        submit(task)                       waits for a free worker, returns at once after
        reserve() ... release_after(last)  around a whole piece of work, where none may be leased
                                           ahead of the workers: so the newest is the newest

    Parameters
    ----------
    model_sets
        A set of warm models for each worker.
    """

    def __init__(self, model_sets: Sequence[ModelSet]) -> None:
        self._free: queue.SimpleQueue[ModelSet] = queue.SimpleQueue()
        for model_set in model_sets:
            self._free.put(model_set)
        self._unreserved = threading.Semaphore(len(model_sets))
        self._threads = ThreadPoolExecutor(len(model_sets), thread_name_prefix="worker")

    def reserve(self, timeout_s: float) -> bool:
        """Reserve a worker for a piece of work; return whether there was one in time."""
        return self._unreserved.acquire(timeout=timeout_s)

    def release(self) -> None:
        """Give back what was reserved and not needed."""
        self._unreserved.release()

    def release_after(self, last: Future[Any] | None) -> None:
        """Give back what was reserved once ``last`` is done; at once where there is nothing."""
        if last is None:
            self.release()
        else:
            last.add_done_callback(lambda _: self.release())

    def submit(self, task: Callable[[ModelSet], Result]) -> Future[Result]:
        """Let the next free worker do ``task`` with its models; wait until one is free."""
        model_set = self._free.get()

        def run() -> Result:
            try:
                return task(model_set)
            finally:
                self._free.put(model_set)

        return self._threads.submit(run)

    def close(self) -> None:
        """Wait for what is being restored, and end the threads."""
        self._threads.shutdown()
