"""The pipeline: read, restore and write overlap; bounded queues keep memory flat.

::

    reader ──(1 stack)──> restoring ──(1 stack per further worker)──> writer
    leases a file, or     hands it to a worker                        publishes, ends the lease
    a stack of an         per device: warm models
    acquisition

Several devices restore a stack each at the same time; the writer waits for them in order.

Every lease is ended by the writer, in order, whatever happened on the way; the exception is a
process that dies, after which the journal finds the lease without an owner. What was in hand then
is worked on alone the next time, so that a stack that kills takes no other with it. With
``watch.newest_first`` nothing is leased while another stack is being restored: what arrives last
waits for no more than that one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from live_restore.engine.backoff import Backoff
from live_restore.engine.control import Orders
from live_restore.engine.disk_space import DiskSpace
from live_restore.engine.handover import Handover
from live_restore.engine.in_hand import InHand
from live_restore.engine.jobs import Jobs
from live_restore.engine.leasing import Leasing
from live_restore.engine.looker import PATIENCE_S
from live_restore.engine.messages import StackDone, StackRead, WorkEnd
from live_restore.engine.microscope_first import MicroscopeFirst
from live_restore.engine.outcome import OutcomeRecorder
from live_restore.engine.progress import Progress
from live_restore.engine.reader import Reader
from live_restore.engine.restoring import Restoring
from live_restore.engine.retry import Deferrals
from live_restore.engine.workers import WorkerPool
from live_restore.engine.writer import Writer
from live_restore.errors import LiveRestoreError
from live_restore.inference.model_set import ModelSet
from live_restore.journal.journal import Journal
from live_restore.settings.model import Settings
from live_restore.stack import StackKey

log = structlog.get_logger()

_LONGEST_BEAT_S = 60.0
_TICK_S = 0.1


class Stages(Protocol):
    """What restores what waits in a journal; see :class:`Pipeline`."""

    backoff: Backoff
    crash: BaseException | None

    def start(self) -> None:
        """Start the threads."""
        ...

    def notify(self) -> None:
        """There may be new work in the journal."""
        ...

    def idle(self) -> bool:
        """Return whether nothing is in hand and nothing that could be leased now waits."""
        ...

    def stop(self, tick: Callable[[], None] = lambda: None) -> None:
        """Finish or give back what is in hand, end the threads, and return."""
        ...


@dataclass(frozen=True)
class Assignment:
    """What a daemon wants restored; the fields are as of :class:`Pipeline`."""

    journal: Journal
    jobs: Jobs
    settings: Settings
    progress: Progress
    reconsider: Callable[[StackKey], None]
    stop_asked: Callable[[], bool]
    orders: Orders


MakeStages = Callable[[Assignment], Stages]
"""Makes what restores it, not started yet."""


class Pipeline:
    """Restores what waits in the journal until told to stop.

    Parameters
    ----------
    journal
        What to work on.
    jobs
        How to read it, and where results go.
    model_set, settings
        What to restore it with.
    progress
        Told of every event.
    reconsider
        Called with what changed between being found and being read.
    retry
        Try again, after growing waits, what the disk refused; else it counts as failed this time
        and stays waiting in the journal. The same for a journal whose disk refuses: wait for it,
        or else crash.
    stop_asked
        Whether somebody has asked for a stop; looked at several times per second.
    orders
        What a person asks for while it runs; ``None``: what the settings say.
    microscope
        Asked before every tile; told of planes by whoever finds them.

    Attributes
    ----------
    backoff
        Told when the journal refuses, and when it works again.
    crash
        The error that no stage expected, and that ended the pipeline; ``None`` while it is well.
    """

    def __init__(
        self,
        journal: Journal,
        jobs: Jobs,
        model_set: ModelSet,
        settings: Settings,
        progress: Progress,
        reconsider: Callable[[StackKey], None],
        *,
        retry: bool = True,
        stop_asked: Callable[[], bool] = lambda: False,
        orders: Orders | None = None,
        microscope: MicroscopeFirst | None = None,
    ) -> None:
        self._journal = journal
        self._lease_s = settings.journal.lease_s
        self._stopping = threading.Event()
        self._stop_asked = stop_asked
        self.backoff = Backoff(progress)
        self._hanging = progress.hanging
        self.crash: BaseException | None = None
        self._in_hand = InHand()
        self._deferrals = Deferrals(settings.journal.retry_s, retry=retry)
        disk_space = DiskSpace(progress, settings.output.min_free_gb)
        outcomes = OutcomeRecorder(
            journal,
            progress,
            self._deferrals,
            reconsider,
            self.backoff,
            disk_space,
            jobs.results_folder,
            settings.journal.max_attempts,
            self._is_stopping,
            reported=[model.session.device.warning for model in model_set.models],
        )
        workers = WorkerPool(model_set.workers)
        newest_first = settings.watch.newest_first
        raw: Handover[StackRead | WorkEnd] = Handover(1, self._has_crashed)
        # Beside the stack that the writer waits for and the one in the restoring thread's hand.
        beside = max(1, len(model_set.workers) - 1)
        restored: Handover[StackDone | WorkEnd] = Handover(beside, self._has_crashed)
        orders = orders or Orders(newest_first)
        leasing = Leasing(
            journal,
            self._lease_s,
            jobs,
            self._in_hand,
            self._deferrals,
            disk_space,
            self.backoff,
            orders,
            self._is_stopping,
        )
        self._reader = Reader(
            leasing,
            jobs,
            workers if newest_first else None,
            self._in_hand,
            self._deferrals,
            disk_space,
            progress,
            raw,
            self._is_stopping,
            orders,
        )
        restoring = Restoring(
            model_set,
            workers,
            raw,
            restored,
            progress,
            microscope or MicroscopeFirst(settings.process.while_acquiring, model_set.workers),
            self._is_stopping,
            newest_first=newest_first,
        )
        writer = Writer(jobs, restored, outcomes, self._in_hand, progress, self._reader.notify)
        self._threads = [
            threading.Thread(target=self._guard, args=(stage,), name=name, daemon=True)
            for name, stage in (
                ("reader", self._reader.run),
                ("restorer", restoring.run),
                ("writer", writer.run),
                ("heartbeat", self._beat),
            )
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def notify(self) -> None:
        """There may be new work in the journal."""
        self._reader.notify()

    def idle(self) -> bool:
        """Return whether nothing is in hand and nothing that could be leased now waits."""
        return not self._in_hand and not self._journal.waits(self._deferrals.given_up())

    def stop(self, tick: Callable[[], None] = lambda: None) -> None:
        """Finish or give back what is in hand, end the threads, and return.

        ``tick`` is called several times per second meanwhile. A read that hangs is not waited for:
        its thread is left behind, and ends with the process.
        """
        self._stopping.set()
        self._reader.notify()
        reader, *others = self._threads
        until = time.monotonic() + PATIENCE_S
        while reader.is_alive():
            reader.join(_TICK_S)
            tick()
            if self._reader.reads and time.monotonic() > until:
                log.warning("a read hangs; it is left behind", reason="; ".join(self._hanging()))
                self._reader.give_up()
                break
        for thread in others:
            while thread.is_alive():
                thread.join(_TICK_S)
                tick()

    def _is_stopping(self) -> bool:
        return self._stopping.is_set() or self._stop_asked()

    def _has_crashed(self) -> bool:
        return self.crash is not None

    def _guard(self, stage: Callable[[], None]) -> None:
        """Thread boundary: an error that no stage expected ends the daemon, loudly."""
        try:
            stage()
        except BaseException as error:
            self.crash = self.crash or error
            self._stopping.set()
            log.exception("internal error", stage=threading.current_thread().name)

    def _beat(self) -> None:
        while not self._stopping.wait(min(self._lease_s / 3, _LONGEST_BEAT_S)):
            try:
                self._journal.renew(self._lease_s, self._hanging())
            except LiveRestoreError as error:
                # A lease that looks hung for a while does no harm; whoever records outcomes finds
                # out whether the journal is broken for good.
                self.backoff.refused(error)
