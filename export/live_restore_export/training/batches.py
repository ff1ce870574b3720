"""Batches: what is trained on at a step depends on the seed and the step, and on nothing else."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from live_restore_export.simulator.structures import log_uniform
from live_restore_export.training.bank import SubjectBank
from live_restore_export.training.options import TrainingOptions
from live_restore_export.training.patches import augmented
from live_restore_export.training.subjects import Subject


class Batch(NamedTuple):
    """Noisy patches and their truth, (N, 1, Z, Y, X) float32 in network units."""

    noisy: NDArray[np.float32]
    truth: NDArray[np.float32]


def draw_batch(
    subjects: Sequence[Subject], options: TrainingOptions, seed: int, step: int
) -> Batch:
    """Return the batch of a step from the subjects in memory at that step."""
    rng = np.random.default_rng((seed, step))
    patches = []
    for _ in range(options.batch):
        subject = subjects[int(rng.integers(len(subjects)))]
        patches.append(augmented(subject.cut(options, options.foreground_share, rng), options, rng))
    planes = slice(None)
    if options.shallow_share and rng.random() < options.shallow_share:
        most = options.patch_zyx[0]
        kept = round(log_uniform(rng, (1, most)))
        first = int(rng.integers(0, most - kept + 1))
        planes = slice(first, first + kept)
    return Batch(
        np.stack([p.noisy[planes] for p in patches])[:, None],
        np.stack([p.truth[planes] for p in patches])[:, None],
    )


@contextmanager
def batches(
    bank: SubjectBank, options: TrainingOptions, seed: int, steps: range, threads: int
) -> Iterator[Iterator[Batch]]:
    """Give the batches of ``steps``, drawn ahead by ``threads`` threads while the block runs.

    Most of the work is numpy's random numbers, which other threads need not wait for.
    """
    with ThreadPoolExecutor(threads, "batches") as pool:

        def stream() -> Iterator[Batch]:
            pending: deque[Future[Batch]] = deque()
            for step in steps:
                pending.append(pool.submit(draw_batch, bank.at(step), options, seed, step))
                if len(pending) > 2 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

        try:
            yield stream()
        finally:
            pool.shutdown(cancel_futures=True)
