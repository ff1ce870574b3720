"""The stacks in memory that patches are cut from, renewed while the training runs.

Which stack is in which slot depends on the step only, never on the past: a run that goes on has the
bank of one that was never stopped.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor

from live_restore_export.training.processes import naming_the_dead, spawned
from live_restore_export.training.sources import Source
from live_restore_export.training.subjects import Subject

# Starting a process and loading numpy and scipy in it takes as long as drawing a few scenes.
_FEW = 8
# Stacks drawn ahead: one being drawn, one that is ready.
_AHEAD = 2


def number_in_slot(slot: int, step: int, slots: int, refresh_steps: int) -> int:
    """Return the number of the subject that ``slot`` holds at ``step``.

    Slot ``(step // refresh_steps) % slots`` is renewed at every positive multiple of
    ``refresh_steps``; a slot that was renewed g times holds number ``slot + slots * g``.

    Examples
    --------
    >>> [[number_in_slot(slot, step, 3, 10) for slot in range(3)] for step in (0, 9, 10, 20, 30)]
    [[0, 1, 2], [0, 1, 2], [0, 4, 2], [0, 4, 5], [3, 4, 5]]
    """
    renewals = step // refresh_steps
    # Renewals 1, 2, 3 ... meet slots 1, 2 ... slots - 1, 0, 1 ...: slot 0 comes last.
    turn = slot or slots
    renewed = (renewals - turn) // slots + 1 if renewals >= turn else 0
    return slot + slots * renewed


class SubjectBank:
    """The subjects of every step, in rising order of steps.

    Parameters
    ----------
    source
        Where subjects come from.
    slots
        How many are held.
    refresh_steps
        One is renewed every so many steps; none where all there are are held.
    steps
        First step, and the step before which the run ends.
    processes
        That draw subjects beside this one; 0: this one does.
    """

    def __init__(
        self,
        source: Source,
        slots: int,
        refresh_steps: int,
        steps: range,
        processes: int | None,
    ) -> None:
        self._source = source
        self._slots = slots
        self._refresh_steps = refresh_steps
        self._processes = (os.cpu_count() or 1) if processes is None else processes
        self._at = steps.start
        self._last = steps.stop
        self._renewing = source.stacks is None or slots < source.stacks
        self._worker: ProcessPoolExecutor | None = None
        self._ahead: deque[tuple[int, Future[Subject]]] = deque()
        numbers = [number_in_slot(k, steps.start, slots, refresh_steps) for k in range(slots)]
        if not self._renewing:
            numbers = list(range(slots))
        self._subjects = self._load_all(numbers)
        if self._renewing and self._processes:
            self._draw_ahead((steps.start // refresh_steps + 1) * refresh_steps)

    def at(self, step: int) -> tuple[Subject, ...]:
        """Return the subjects at ``step``, which is not below that of the last call.

        Raises
        ------
        StackError
            A stack that cannot be read any more.
        TrainingError
            A process that draws subjects was killed.
        """
        while self._at < step:
            self._at += 1
            if self._renewing and self._at % self._refresh_steps == 0:
                slot = (self._at // self._refresh_steps) % self._slots
                self._subjects[slot] = self._renewed(self._at)
        return tuple(self._subjects)

    def _number(self, step: int) -> int:
        """Return the number that comes in at ``step``, a multiple of the refresh steps."""
        slot = (step // self._refresh_steps) % self._slots
        return number_in_slot(slot, step, self._slots, self._refresh_steps)

    def _renewed(self, step: int) -> Subject:
        if not self._processes:
            return self._source.load(self._number(step))
        expected, future = self._ahead.popleft()
        assert expected == step, "steps rise one by one"
        with naming_the_dead():
            subject = future.result()
        self._draw_ahead(step + self._refresh_steps)
        return subject

    def _draw_ahead(self, step: int) -> None:
        """Have the background process draw what comes in at ``step``, and after it."""
        following = self._ahead[-1][0] + self._refresh_steps if self._ahead else step
        while len(self._ahead) < _AHEAD and following < self._last:
            if self._worker is None:
                self._worker = spawned(1)
            with naming_the_dead():
                future = self._worker.submit(self._source.load, self._number(following))
            self._ahead.append((following, future))
            following += self._refresh_steps

    def _load_all(self, numbers: list[int]) -> list[Subject]:
        if len(numbers) < _FEW or self._processes < 2:
            return [self._source.load(number) for number in numbers]
        with naming_the_dead(), spawned(self._processes) as pool:
            return list(pool.map(self._source.load, numbers))

    def close(self) -> None:
        """End the background process; what it is drawing is dropped."""
        self._ahead.clear()
        if self._worker is not None:
            self._worker.shutdown(cancel_futures=True)
            self._worker = None
