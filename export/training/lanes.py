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
from multiprocessing import Pipe

from export.training.bank import SubjectBank
from export.training.batches import Batch, draw_batch
from export.training.options import TrainingOptions
from export.training.processes import naming_the_dead, spawned, stop_all
from export.training.sources import Source
from export.training.subjects import Subject

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

    def __init__(
        self,
        source: Source,
        held: int,
        options: TrainingOptions,
        seed: int,
        lane: int,
        lanes: int,
        start: int,
    ) -> None:
        self._options, self._seed, self._lanes = options, seed, lanes
        first = -(-(start - lane) // lanes)
        self._bank = SubjectBank(
            _EveryNth(source, lane, lanes),
            len(range(lane, held, lanes)),
            options.scene_refresh_steps,
            range(first, options.steps),
            processes=0,
        )

    def batch(self, step: int) -> Batch:
        """Return the batch of ``step``, which belongs to this lane."""
        return draw_batch(self._bank.at(step // self._lanes), self._options, self._seed, step)


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
        spawned(1, _settle, (source, held, options, seed, lane, lanes, steps.start), stop)
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


_settings: tuple[Source, int, TrainingOptions, int, int, int, int] | None = None
_lane: Lane | None = None


def _settle(*settings: object) -> None:
    """Remember, in a new process, which lane it is."""
    global _settings
    _settings = settings  # type: ignore[assignment]


def _batch(step: int) -> Batch:
    # Its first stacks are drawn with the first batch and not in the initialiser, whose errors
    # would only say that a process ended.
    global _lane
    if _lane is None:
        assert _settings is not None, "the initialiser ran"
        _lane = Lane(*_settings)
    return _lane.batch(step)
