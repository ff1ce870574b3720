"""Lanes: processes that each hold stacks of their own and prepare every n-th batch.

Where the network learns on a GPU, threads of one process cannot prepare batches as fast as they
are used: they wait for each other and hold up the process that keeps the GPU busy. Lane ``k`` of n
prepares the batches of steps k, k + n, k + 2 n ... from subjects k, k + n, k + 2 n ... of the
source. As everywhere, what a step sees depends on the seed and the step only; it depends on the
number of lanes, too, which is therefore a setting of the run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import Pipe

from live_restore_export.training.bank import SubjectBank
from live_restore_export.training.batches import Batch, draw_batch
from live_restore_export.training.options import TrainingOptions
from live_restore_export.training.processes import naming_the_dead, spawned, stop_all
from live_restore_export.training.sources import Source
from live_restore_export.training.subjects import Subject

# Per lane: one batch being prepared, one that is ready.
_AHEAD = 2


@dataclass(frozen=True)
class _EveryNth:
    """The subjects ``lane``, ``lane + lanes``, ... of a source, numbered from 0.

    Of files there is one row of turns for all lanes: where not all are held, every one comes once
    in a round, in whichever lane.
    """

    source: Source
    lane: int
    lanes: int

    @property
    def stacks(self) -> int | None:
        total = self.source.stacks
        return None if total is None else len(range(self.lane, total, self.lanes))

    def load(self, number: int) -> Subject:
        return self.source.load(self.lane + self.lanes * number)


@dataclass(frozen=True)
class Lane:
    """Prepares the batches of one lane, in rising order of steps.

    Parameters
    ----------
    source
        All subjects of the run.
    held
        How many subjects all lanes hold together, at least ``lanes``.
    lane, lanes
        Which of how many this is.
    start
        First step of the run, of whichever lane.
    """

    source: Source
    held: int
    options: TrainingOptions
    seed: int
    lane: int
    lanes: int
    start: int

    @cached_property
    def _bank(self) -> SubjectBank:
        # Drawn with the first batch, in the process that needs it; not in the initialiser, whose
        # errors would only report that a process ended.
        first = -(-(self.start - self.lane) // self.lanes)
        return SubjectBank(
            _EveryNth(self.source, self.lane, self.lanes),
            len(range(self.lane, self.held, self.lanes)),
            self.options.scene_refresh_steps,
            range(first, self.options.steps),
            processes=0,
        )

    def batch(self, step: int) -> Batch:
        """Return the batch of ``step``, which belongs to this lane."""
        return draw_batch(self._bank.at(step // self.lanes), self.options, self.seed, step)


@contextmanager
def lane_batches(
    source: Source, held: int, options: TrainingOptions, seed: int, steps: range
) -> Iterator[Iterator[Batch]]:
    """Give the batches of ``steps``, prepared by ``options.lanes`` processes while the block runs.

    Raises
    ------
    StackError
        A stack that cannot be read any more.
    TrainingError
        A process was killed.
    """
    lanes = min(options.lanes, held)
    stop, held_end = Pipe(duplex=False)
    pools = [
        spawned(1, _settle, (Lane(source, held, options, seed, lane, lanes, steps.start),), stop)
        for lane in range(lanes)
    ]
    try:

        def stream() -> Iterator[Batch]:
            pending: deque[Future[Batch]] = deque()
            for step in steps:
                with naming_the_dead():
                    pending.append(pools[step % lanes].submit(_batch, step))
                if len(pending) >= _AHEAD * lanes:
                    yield _ready(pending)
            while pending:
                yield _ready(pending)

        yield stream()
    finally:
        # A lane that draws its first stacks would keep whoever pressed Ctrl-C waiting for minutes.
        stop_all(pools, held_end)
        stop.close()


def _ready(pending: deque[Future[Batch]]) -> Batch:
    with naming_the_dead():
        return pending.popleft().result()


_lane: Lane | None = None


def _settle(lane: Lane) -> None:
    """Remember, in a new process, which lane it is."""
    global _lane
    _lane = lane


def _batch(step: int) -> Batch:
    assert _lane is not None, "the initialiser ran"
    return _lane.batch(step)
