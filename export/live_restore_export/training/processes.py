"""Processes that draw or read stacks beside the training."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from typing import Any

from live_restore.errors import TrainingError

# Spawned: a fork of a process whose torch threads run may hang, and Windows has no other.
_CONTEXT = get_context("spawn")


def spawned(
    count: int,
    begin: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
    stop: Connection | None = None,
) -> ProcessPoolExecutor:
    """Return ``count`` processes, each of which begins with ``begin(*arguments)``.

    They leave Ctrl-C to this process, and end with it, however it ends; and at once, whatever they
    are doing, when the other end of the pipe ``stop`` is closed.
    """
    return ProcessPoolExecutor(
        count, _CONTEXT, initializer=_begin, initargs=(begin, arguments, stop)
    )


def stop_all(pools: Sequence[ProcessPoolExecutor], held: Connection) -> None:
    """End the processes of ``pools`` by closing ``held``; what they are doing is dropped."""
    for pool in pools:
        pool.shutdown(wait=False, cancel_futures=True)
    held.close()
    for pool in pools:
        pool.shutdown()


def _begin(
    then: Callable[..., None] | None, arguments: tuple[Any, ...], stop: Connection | None
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if stop is not None:
        threading.Thread(target=_end_when, args=(stop,), daemon=True).start()
    if then is not None:
        then(*arguments)


def _end_when(stop: Connection) -> None:
    # A pipe, and not an event: to set that waits for whoever waited for it, and may have died.
    with suppress(EOFError, OSError):
        stop.recv_bytes()
    os._exit(0)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "this runs in a child"
    parent.join()
    # A parent that was killed cannot ask its children to end, and they would wait for ever.
    os._exit(1)


@contextmanager
def naming_the_dead() -> Iterator[None]:
    """Raise ``TrainingError`` where one of the processes was ended from outside."""
    try:
        yield
    except BrokenProcessPool as error:
        raise TrainingError(
            "a process that prepares data was ended from outside, as happens when memory runs out",
            remedy="free memory and go on with --resume, or start anew with fewer training.lanes "
            "or scenes_kept",
        ) from error
