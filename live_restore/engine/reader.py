"""The reader: leases what waits in the journal, and reads it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from live_restore.engine.control import Orders
from live_restore.engine.disk_space import DiskSpace
from live_restore.engine.handover import Handover
from live_restore.engine.in_hand import InHand
from live_restore.engine.job import Job, RawStack
from live_restore.engine.jobs import Jobs
from live_restore.engine.leasing import Leasing
from live_restore.engine.messages import StackRead, Work, WorkEnd
from live_restore.engine.progress import Progress
from live_restore.engine.reading import Reading
from live_restore.engine.retry import Deferrals
from live_restore.engine.workers import WorkerPool
from live_restore.errors import StackBusyError
from live_restore.files.shared_lease import SharedLeases
from live_restore.inference.network_runs import CancelledError

_TICK_S = 0.1
_LONGEST_PAUSE_S = 1.0
_END = object()


class Reader:
    """Leases one piece of work after the other, and hands its raw stacks on.

    Parameters
    ----------
    leasing
        Leases what waits.
    jobs
        Opens what was leased.
    workers
        Asked for a free one before each lease where the newest goes first; else ``None``.
    in_hand, deferrals, disk_space
        What keeps from leasing, and from beginning.
    progress
        Told what is being read.
    raw
        Where raw stacks go.
    stopping
        Whether a stop is asked for.
    orders
        Whether a person wants it to pause, or the newest first.
    """

    def __init__(
        self,
        leasing: Leasing,
        jobs: Jobs,
        workers: WorkerPool | None,
        in_hand: InHand,
        deferrals: Deferrals,
        disk_space: DiskSpace,
        progress: Progress,
        raw: Handover[StackRead | WorkEnd],
        stopping: Callable[[], bool],
        orders: Orders,
    ) -> None:
        self._leasing = leasing
        self._jobs = jobs
        self._workers = workers
        self._in_hand = in_hand
        self._deferrals = deferrals
        self._disk_space = disk_space
        self._reading = Reading(progress)
        self._raw = raw
        self._stopping = stopping
        self._orders = orders
        self._work_waits = threading.Event()

    def notify(self) -> None:
        """There may be new work in the journal; called from any thread."""
        self._work_waits.set()

    def run(self) -> None:
        """Lease and read until a stop is asked for."""
        try:
            while not self._stopping():
                self._work_waits.clear()
                if self._orders.paused:
                    self._work_waits.wait(_TICK_S)
                    continue
                # The newest is only the newest if nothing is leased ahead of it.
                if self._workers is not None and not self._workers.reserve(_TICK_S):
                    continue
                entry = self._leasing.next()
                if entry is None:
                    if self._workers is not None:
                        self._workers.release()
                    self._work_waits.wait(self._deferrals.next_in_s())
                    continue
                self._read(Work(entry))
                if entry.attempts > 1:  # it may be what kills: no other must pay for it
                    self._in_hand.wait_until_none(self._stopping)
        finally:
            self._raw.close()

    @property
    def reads(self) -> bool:
        """Whether it waits for what it reads, and for nothing else."""
        return self._reading.work is not None

    def give_up(self) -> None:
        """Give back what is being read, in the place of :meth:`run`, which hangs."""
        work = self._reading.give_up()
        work.fail(CancelledError())
        self._raw.end(WorkEnd(work))

    def _read(self, work: Work) -> None:
        try:
            folder = self._jobs.results_folder(work.entry.key)
            self._disk_space.require(folder)
            with self._reading.of(work, "reading"):
                job = self._jobs.open(work.entry)
            # A name that cannot be had is better known before the work than after it; and a
            # result that is already there (the journal was lost) needs no work at all.
            with self._reading.of(work, "looking at the results of"):
                work.plan = self._jobs.plan(job)
                if self._jobs.shared is not None:
                    if work.plan.current:
                        self._jobs.shared.sweep(work.plan.result_path.image)
                    else:
                        job = self._take(work, self._jobs.shared)
            work.job = job
            if not work.plan.current:
                self._disk_space.require(folder, job.result_bytes)
                self._read_stacks(work, job)
        except Exception as error:  # noqa: BLE001 - worker boundary: the writer ends the lease
            work.fail(error)
        if not self._reading.given_up:
            self._raw.put(WorkEnd(work))

    def _take(self, work: Work, shared: SharedLeases) -> Job:
        """Take the result, which other computers could make too, and return the job anew.

        Raises
        ------
        StackBusyError
            One of them has it, or what was planned holds no more.
        """
        assert work.plan is not None
        image = work.plan.result_path.image
        work.shared_lease = shared.take(image)
        # One of them may have made it between the plan and the lease.
        job = self._jobs.open(work.entry)
        work.plan = self._jobs.plan(job)
        if work.plan.result_path.image != image:
            raise StackBusyError("its result gets another name now", image)
        return job

    def _read_stacks(self, work: Work, job: Job) -> None:
        stacks = iter(job.read())
        while True:
            with self._reading.of(work, "reading"):
                raw = next(stacks, _END)
            if raw is _END or work.error is not None:
                break
            if self._stopping():
                raise CancelledError
            if isinstance(raw, RawStack):
                self._raw.put(StackRead(work, raw))
