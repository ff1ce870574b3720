"""Processes that draw or read stacks beside the training."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import Any

from live_restore.errors import TrainingError


def spawned(
    count: int, begin: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> ProcessPoolExecutor:
    """Return ``count`` processes, each of which begins with ``begin(*arguments)``.

    They leave Ctrl-C to this process, and end with it, however it ends.
    """
    # Spawned: a fork of a process whose torch threads run may hang, and Windows has no other.
    return ProcessPoolExecutor(
        count, get_context("spawn"), initializer=_begin, initargs=(begin, arguments)
    )


def _begin(then: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if then is not None:
        then(*arguments)


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
            "a process that draws stacks was ended from outside, as happens when memory runs out",
            remedy="set training.processes and training.lanes to 0, or scenes_kept lower, and go "
            "on with --resume",
        ) from error
