"""A process that draws, as an acquisition program's display does: stretches, colours, resizes.

    python benchmarks/display_load.py 1.3

keeps so many cores busy, at normal priority, until its standard input is closed. Micro-Manager's
own display takes more than one core while it shows a run at full speed.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def _draw(raw: np.ndarray, shown: np.ndarray) -> None:
    """Draw one frame: histogram, contrast, three channels over each other, every second pixel."""
    low, high = np.percentile(raw[::4, ::4], (1, 99))
    grey = np.clip((raw - np.float32(low)) * np.float32(255 / (high - low)), 0, 255)
    for channel, weight in enumerate((0.3, 0.6, 0.1)):
        shown[..., channel] = grey[::2, ::2] * np.float32(weight)


def _keep_drawing(share: float) -> None:
    rng = np.random.default_rng(1)
    raw = rng.integers(0, 4000, (512, 512)).astype(np.float32)
    shown = np.zeros((256, 256, 3), np.uint8)
    while True:
        began = time.thread_time()
        _draw(raw, shown)
        # Of the processor time that it gets: on a busy computer it wants no less.
        time.sleep((time.thread_time() - began) * (1 / share - 1))


@contextmanager
def display_load(cores: float) -> Iterator[None]:
    """Let a process draw beside the block, on so many cores; 0: none."""
    if not cores:
        yield
        return
    with subprocess.Popen(
        [sys.executable, __file__, str(cores)],
        stdin=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    ) as process:
        try:
            yield
        finally:
            assert process.stdin is not None
            process.stdin.close()  # it ends its children, and itself


def _main(cores: float) -> None:
    count = math.ceil(cores)
    children = [
        subprocess.Popen([sys.executable, __file__, str(cores), "one"]) for _ in range(count - 1)
    ]
    threading.Thread(target=_keep_drawing, args=(cores / count,), daemon=True).start()
    try:
        while os.read(0, 1):
            pass
    finally:
        for child in children:
            child.kill()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        wanted = float(sys.argv[1])
        _keep_drawing(wanted / math.ceil(wanted))
    _main(float(sys.argv[1]))
