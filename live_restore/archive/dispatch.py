"""The client of an archive: gives what waits in its journal to workers, and records outcomes.

::

    journal ──lease──> a worker's hands ──answer──> outcome in the journal
                            │
                            ├── worker died: waits again, counted as an attempt; the third time it
                            │   is set aside
                            ├── wrong numbers, other files, no such model: that worker is set aside
                            └── scheduler gone: waits again; who has it may finish it all the same

A worker has no more in hand than it does at once, so that only what it really worked on is
suspected when it dies; and what was in hand then is given to a worker that has nothing else.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from distributed import Client, Future
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from live_restore.archive.desk import restore_task_here
from live_restore.archive.settlement import Settlement
from live_restore.archive.task import Archive, Task, TaskAnswer, from_text, to_text
from live_restore.cluster.availability import Availability
from live_restore.cluster.connection import ARCHIVE, Connection, NobodyThereError
from live_restore.cluster.protocol import Offer
from live_restore.cluster.values import DamagedMessageError
from live_restore.engine.backoff import Backoff
from live_restore.engine.disk_space import DiskSpace
from live_restore.engine.in_hand import InHand
from live_restore.engine.leasing import Leasing
from live_restore.engine.outcome import OutcomeRecorder
from live_restore.engine.pipeline import Assignment
from live_restore.engine.retry import Deferrals
from live_restore.errors import JournalError
from live_restore.journal.entry import Entry

log = structlog.get_logger()

_TICK_S = 0.2
_LOOK_S = 1.0
# For what is in hand when a stop is asked for; a worker finishes what it has begun all the same.
_FINISH_S = 10.0


@dataclass
class _Worker:
    """A worker, and what it has in hand."""

    address: str
    at_once: int
    in_hand: InHand
    leasing: Leasing
    given: dict[Future, Entry] = field(default_factory=dict)

    @property
    def free(self) -> bool:
        """Whether it takes more: what may kill it is alone with it."""
        suspect = any(entry.attempts > 1 for entry in self.given.values())
        return len(self.given) < self.at_once and not suspect


class Dispatch:
    """Has an archive restored by the workers of a scheduler; in the place of a ``Pipeline``.

    Large because all that its one thread does needs who works, and what they have in hand.

    Parameters
    ----------
    connection
        To the scheduler.
    archive, offers
        What all tasks have in common, and what workers must be able to do.
    given
        What is to be restored.

    Attributes
    ----------
    backoff, crash
        As of :class:`Pipeline`.
    """

    def __init__(
        self,
        connection: Connection,
        archive: Archive,
        offers: tuple[Offer, ...],
        given: Assignment,
    ) -> None:
        settings, progress = given.settings, given.progress
        self._connection = connection
        self._archive_text = to_text(archive)
        self._offers = offers
        self._given = given
        self._journal, self._settings, self._progress = given.journal, settings, progress
        self._stopping, self._wake = threading.Event(), threading.Event()
        self.backoff = Backoff(progress)
        self.crash: BaseException | None = None
        self._deferrals = Deferrals(settings.journal.retry_s, retry=False)
        self._disk_space = DiskSpace(progress, 0.0)  # whoever writes looks at the disk
        outcomes = OutcomeRecorder(
            given.journal,
            progress,
            self._deferrals,
            given.reconsider,
            self.backoff,
            self._disk_space,
            given.jobs.results_folder,
            settings.journal.max_attempts,
            self._is_stopping,
        )
        self._settlement = Settlement(
            outcomes,
            self._deferrals,
            given.journal,
            connection,
            settings.journal.max_attempts,
            self._report,
        )
        self._availability = Availability(self._report)
        self._workers: dict[str, _Worker] = {}
        self._client: Client | None = None
        self._looked_at = self._renewed_at = 0.0
        self._thread = threading.Thread(target=self._guarded, name="dispatch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def notify(self) -> None:
        """There may be new work in the journal."""
        self._wake.set()

    def idle(self) -> bool:
        """Return whether nothing is in hand and nothing that could be leased now waits."""
        in_hand = any(worker.in_hand for worker in list(self._workers.values()))
        return not in_hand and not self._journal.waits(self._deferrals.given_up())

    def stop(self, tick: Callable[[], None] = lambda: None) -> None:
        """Wait a moment for what is in hand, give back the rest, and return."""
        self._stopping.set()
        self._wake.set()
        while self._thread.is_alive():
            self._thread.join(_TICK_S)
            tick()
        self._connection.close()

    def _is_stopping(self) -> bool:
        return self._stopping.is_set() or self._given.stop_asked()

    def _report(self, line: str) -> None:
        self._progress.warn(line)
        log.warning(line)

    def _guarded(self) -> None:
        """Thread boundary: an error that nobody expected ends the run, loudly."""
        try:
            self._run()
        except BaseException as error:
            self.crash = error
            self._stopping.set()
            log.exception("internal error", stage="dispatch")

    def _run(self) -> None:
        until = float("inf")
        while time.monotonic() < until:
            self._wake.clear()
            self._collect()
            self._look()
            if not self._is_stopping():
                self._give_out()
            elif not any(worker.given for worker in self._workers.values()):
                return
            else:
                until = min(until, time.monotonic() + _FINISH_S)
            self._renew()
            self._wake.wait(_TICK_S)
        for worker in list(self._workers.values()):
            self._give_back_all(worker, "given back when the program stopped")

    # Who works ---------------------------------------------------------------------------------

    def _look(self) -> None:
        """See who is there, now and then."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_S:
            return
        self._looked_at = now
        try:
            client = self._connection.client()
            if client is not self._client:
                # What the one before had in hand, nobody tells us any more.
                self._lose_all()
                self._client = client
            there = self._connection.suited(client, self._offers)
        except NobodyThereError as error:
            if not self._connected():
                self._lose_all()
            there = {}
            self._availability.nobody(str(error), waits=True)
        else:
            self._availability.again(self._connection.address)
        for address in self._workers.keys() - there.keys():
            if self._connection.is_set_aside(address):  # it may well live
                self._give_back_all(self._workers.pop(address), "its worker is set aside")
            else:
                self._died(address)
        for address, at_once in there.items():
            if address not in self._workers:
                self._workers[address] = self._worker(address, at_once)

    def _worker(self, address: str, at_once: int) -> _Worker:
        in_hand = InHand()
        leasing = Leasing(
            self._journal,
            self._settings.journal.lease_s,
            self._given.jobs,
            in_hand,
            self._deferrals,
            self._disk_space,
            self.backoff,
            self._given.orders,
            self._is_stopping,
        )
        return _Worker(address, max(1, at_once), in_hand, leasing)

    def _lose_all(self) -> None:
        for worker in self._workers.values():
            self._give_back_all(worker, "the scheduler went away")
        self._workers.clear()
        self._client = None

    def _give_back_all(self, worker: _Worker, reason: str) -> None:
        for future, entry in list(worker.given.items()):
            with suppress(Exception):  # its scheduler may be gone
                future.cancel()
            self._settlement.give_back(entry, reason)
            self._ended(worker, future)

    # What is worked on -------------------------------------------------------------------------

    def _give_out(self) -> None:
        """Give everybody who is free one piece of work after the other."""
        if self._given.orders.paused or self._client is None:
            return
        some = True
        while some and not self._is_stopping():
            some = False
            for worker in self._workers.values():
                if self._takes_more(worker) and (entry := worker.leasing.next()) is not None:
                    self._give(worker, entry)
                    some = True

    def _takes_more(self, worker: _Worker) -> bool:
        return worker.free and not self._connection.is_set_aside(worker.address)

    def _give(self, worker: _Worker, entry: Entry) -> None:
        assert self._client is not None
        in_folder = entry.key.index is not None
        known = self._journal.acquisition_format(entry.key.acquisition) if in_folder else ""
        future = self._client.submit(
            restore_task_here,
            self._archive_text,
            to_text(Task.of(entry, known)),
            key=f"live-restore-archive-{uuid.uuid4().hex}",
            workers=[worker.address],
            resources={str(self._offers[0]): 1},
            priority=ARCHIVE,
            retries=0,
            pure=False,
        )
        worker.given[future] = entry
        future.add_done_callback(lambda _: self._wake.set())
        self._progress.working_on(str(entry.key))

    def _collect(self) -> None:
        for worker in list(self._workers.values()):
            for future, entry in list(worker.given.items()):
                if not future.done():
                    continue
                try:
                    message = future.result(timeout=self._settings.cluster.timeout_s)
                    answer = from_text(TaskAnswer, message.text)
                    remainder = answer.remainder
                except DamagedMessageError as error:
                    self._settlement.set_aside(
                        worker.address, entry, f"its answer cannot be read: {error}"
                    )
                except (KilledWorker, FutureCancelledError, CancelledError):
                    if not self._connected():
                        continue  # the scheduler is gone, and tells nothing about the worker
                    self._died(worker.address)
                    break
                except OSError:
                    if not self._connected():
                        continue
                    self._silent(worker.address, future)
                    break
                except Exception as error:  # noqa: BLE001 - worker boundary: another may do better
                    self._settlement.set_aside(
                        worker.address, entry, f"it fails at whatever it is asked ({error})"
                    )
                else:
                    self._settlement.settle(worker.address, entry, answer, remainder)
                self._ended(worker, future)

    def _ended(self, worker: _Worker, future: Future) -> None:
        entry = worker.given.pop(future)
        if worker.in_hand.end(entry.key) and not any(w.given for w in self._workers.values()):
            self._progress.working_on("")

    def _connected(self) -> bool:
        return self._client is not None and self._client.status == "running"

    def _silent(self, address: str, future: Future) -> None:
        """An answer was not to be had: that tells nothing about what else the worker has in hand.

        It gets nothing until it is seen again.
        """
        worker = self._workers.pop(address)
        self._settlement.died_with(worker.given[future])
        self._ended(worker, future)
        self._give_back_all(worker, "its worker does not answer")

    def _died(self, address: str) -> None:
        """A worker is not there any more: it gets nothing until it is seen again."""
        worker = self._workers.pop(address)
        for future, entry in list(worker.given.items()):
            self._settlement.died_with(entry)
            self._ended(worker, future)

    def _renew(self) -> None:
        now = time.monotonic()
        if now - self._renewed_at < min(self._settings.journal.lease_s / 3, 60.0):
            return
        self._renewed_at = now
        try:
            self._journal.renew(self._settings.journal.lease_s)
        except JournalError as error:  # it does no harm for a while
            self.backoff.refused(error)
