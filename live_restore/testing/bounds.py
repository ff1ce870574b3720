"""What a hostile input may cost, measured."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def bounded(mib: float = 64, seconds: float = 5.0) -> Iterator[None]:
    """Fail where the block takes more memory (of Python and numpy) or time than that."""
    tracemalloc.start()
    # Of the processor: others may be busy. Who waits for ever is ended by the test's time limit.
    began = time.process_time()
    try:
        yield
        took, memory = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert memory < mib * 2**20, f"{memory / 2**20:.0f} MiB"
    assert took < seconds, f"{took:.1f} s"
