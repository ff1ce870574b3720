"""The pipeline: read, restore and write overlap; bounded queues keep memory flat.

::

    reader thread ──(1 stack)──> restorer thread ──(1 stack)──> writer thread
    claims a file, or            hands it to a worker           publishes, ends the claim
    a stack of a data set        per device: warm model

Several devices restore a stack each at the same time; the writer waits for them in order.

Every claim is ended by the writer, in order, whatever happened on the way; the exception is a
process that dies, after which the journal finds the claim without an owner. What was in hand then
is worked on alone the next time, so that a stack that kills takes no other with it. With
``watch.newest_first`` nothing is claimed while another stack is being restored: what arrives last
waits for no more than that one.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import structlog

from live_restore.engine.backoff import Backoff
from live_restore.engine.channel_groups import ChannelGroup, ChannelGroups
from live_restore.engine.disk_space import DiskSpace
from live_restore.engine.file_job import FileJob, Job, RawStack, ResultPlan
from live_restore.engine.outcome import Deferrals, NotNow, OutcomeRecorder
from live_restore.engine.progress import Progress
from live_restore.engine.stack_job import StackJobs
from live_restore.errors import JournalError, LiveRestoreError, StackChangedError
from live_restore.files.naming import results_folder
from live_restore.files.publish import remove_leftovers
from live_restore.formats.acquisition_format import AcquisitionFormat
from live_restore.formats.file_format import FileFormat
from live_restore.inference.model_set import ModelSet
from live_restore.inference.restorer import CancelledError
from live_restore.journal.journal import Entry, Journal
from live_restore.outputs.report import StackOutcome
from live_restore.settings.model import Settings
from live_restore.stack import StackIndex

log = structlog.get_logger()

_LONGEST_BEAT_S = 60.0
_TICK_S = 0.1
_LONGEST_PAUSE_S = 1.0


@dataclass
class _Work:
    """Something claimed on its way; ``error`` is set by whichever stage it failed in."""

    entry: Entry
    job: Job | None = None
    plan: ResultPlan | None = None
    channel_groups: ChannelGroups | None = None
    error: BaseException | None = None
    last: _Promise | None = None


@dataclass(frozen=True)
class _Item:
    """A stack of some work, or the end of it (``payload`` is None)."""

    work: _Work
    payload: RawStack | _Promise | None


_Promise = Future[list[StackOutcome]]
_Queue = queue.Queue[_Item | None]


class Pipeline:
    """Restores what waits in the journal until told to stop.

    Parameters
    ----------
    root
        The watched folder (absolute).
    journal, formats, dataset_formats, shelf, settings
        What to work on, how to read it, what to restore it with.
    progress
        Told of every event.
    reconsider
        Called with a source that changed between being found and being read.
    retry
        Try again, after growing waits, what the disk refused; else it counts as failed this time
        and stays waiting in the journal. The same for a journal whose disk refuses: wait for it,
        or else crash.
    stop_asked
        Whether somebody has asked for a stop; looked at several times per second.
    """

    def __init__(
        self,
        root: Path,
        journal: Journal,
        formats: Sequence[FileFormat],
        acquisition_formats: Sequence[AcquisitionFormat],
        model_set: ModelSet,
        settings: Settings,
        progress: Progress,
        reconsider: Callable[[Path], None],
        *,
        retry: bool = True,
        stop_asked: Callable[[], bool] = lambda: False,
    ) -> None:
        self._root = root
        self._journal = journal
        self._formats = formats
        self._stack_jobs = StackJobs(acquisition_formats)
        self._model_set = model_set
        self._settings = settings
        self._progress = progress
        self._stopping = threading.Event()
        self._stop_asked = stop_asked
        self.backoff = Backoff(progress)
        self._work_there = threading.Event()
        # The newest is only the newest if nothing is claimed ahead of it.
        self._newest_first = settings.watch.newest_first
        self._free_workers = threading.Semaphore(len(model_set.workers))
        self._in_hand = 0
        self._hand = threading.Condition()
        self._deferrals = Deferrals(settings.journal.retry_s, retry=retry)
        self._disk_space = DiskSpace(progress, settings.output.min_free_gb)
        self._verdicts = OutcomeRecorder(
            journal,
            progress,
            self._deferrals,
            reconsider,
            self.backoff,
            self._disk_space,
            self._results_folder,
            settings.journal.max_attempts,
            self._is_stopping,
            said=[model.session.device.warning for model in model_set.models],
        )
        self._cleaned_folders: set[Path] = set()
        self._raw: _Queue = queue.Queue(maxsize=1)
        # Beside the stack that the writer waits for and the one in the restorer thread's hand.
        self._restored: _Queue = queue.Queue(maxsize=max(1, len(model_set.workers) - 1))
        self.crash: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._guard, args=(stage,), name=name, daemon=True)
            for name, stage in (
                ("reader", self._read_all),
                ("restorer", self._restore_all),
                ("writer", self._write_all),
                ("heartbeat", self._beat),
            )
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def notify(self) -> None:
        """There may be new work in the journal."""
        self._work_there.set()

    def idle(self) -> bool:
        """Return whether nothing is in hand and nothing that could be claimed now waits."""
        with self._hand:
            if self._in_hand:
                return False
        return not self._journal.waits(self._deferrals.all())

    def stop(self, tick: Callable[[], None] = lambda: None) -> None:
        """Finish or give back what is in hand, end the threads, and return.

        ``tick`` is called several times per second meanwhile.
        """
        self._stopping.set()
        self._work_there.set()
        for thread in self._threads:
            while thread.is_alive():
                thread.join(_TICK_S)
                tick()

    def _is_stopping(self) -> bool:
        return self._stopping.is_set() or self._stop_asked()

    # Stages -----------------------------------------------------------------------------------

    def _guard(self, stage: Callable[[], None]) -> None:
        """Thread boundary: an error that no stage expected ends the daemon, loudly."""
        try:
            stage()
        except BaseException as error:
            self.crash = self.crash or error
            self._stopping.set()
            log.exception("internal error", stage=threading.current_thread().name)

    def _beat(self) -> None:
        lease_s = self._settings.journal.lease_s
        while not self._stopping.wait(min(lease_s / 3, _LONGEST_BEAT_S)):
            try:
                self._journal.renew(lease_s)
            except LiveRestoreError as error:
                # A claim that looks hung for a while does no harm; whoever writes verdicts finds
                # out whether the journal is broken for good.
                self.backoff.refused(error)

    def _read_all(self) -> None:
        try:
            while not self._is_stopping():
                self._work_there.clear()
                if self._newest_first and not self._free_workers.acquire(timeout=_TICK_S):
                    continue
                entry = self._lease()
                if entry is None:
                    if self._newest_first:
                        self._free_workers.release()
                    self._work_there.wait(self._deferrals.next_in_s())
                    continue
                self._read_one(_Work(entry))
                if entry.attempts > 1:
                    self._wait_until_free()
        finally:
            self._put(self._raw, None)

    def _lease(self) -> Entry | None:
        # Counted before it is claimed, so that idle() never misses what is between the two.
        with self._hand:
            alone = self._in_hand == 0
            self._in_hand += 1
        entry = None
        try:
            entry = self._journal.lease(
                self._settings.journal.lease_s,
                NotNow(self._deferrals.not_yet(), self._without_room),
                alone=alone,
                newest_first=self._newest_first,
            )
            if entry is not None:  # else nothing was written
                self.backoff.accepted()
        except JournalError as error:
            if not self._deferrals.retry:
                raise
            self._stopping.wait(min(self.backoff.refused(error), _LONGEST_PAUSE_S))
        finally:
            if entry is None:
                self._let_go()
        return entry

    def _let_go(self) -> int:
        """Count one unit of work less in hand; return how many are left."""
        with self._hand:
            self._in_hand -= 1
            self._hand.notify_all()
            return self._in_hand

    def _wait_until_free(self) -> None:
        with self._hand:
            while self._in_hand and not self._is_stopping():
                self._hand.wait(0.2)

    def _read_one(self, work: _Work) -> None:
        try:
            folder = self._results_folder(work.entry.source)
            self._disk_space.require(folder)
            job = self._open(work.entry)
            # A name that cannot be had is better known before the work than after it; and a
            # result that is already there (the journal was lost) needs no work at all.
            work.plan = job.plan(self._model_set, self._settings)
            work.job = job
            if not work.plan.current:
                self._disk_space.require(folder, job.file_stacks.voxel_bytes)
                self._read_stacks(work, job)
        except Exception as error:  # noqa: BLE001 - worker boundary: the writer ends the claim
            work.error = work.error or error
        self._put(self._raw, _Item(work, None))

    def _results_folder(self, source: Path) -> Path:
        is_stack = StackIndex.from_label(source.name) is not None
        template = self._settings.output.template
        return results_folder(self._root / source, template, of_acquisition=is_stack)

    def _without_room(self, source: Path) -> bool:
        return self._disk_space.is_resting(self._results_folder(source))

    def _open(self, entry: Entry) -> Job:
        path = self._root / entry.source
        if entry.stack_index is not None:
            return self._stack_jobs.open(path.parent, entry.stack_index, entry.fingerprint)
        job = FileJob.open(path, self._formats, self._settings.files)
        if job.file_stacks.fingerprint != entry.fingerprint:
            raise StackChangedError("changed after it was found complete", path)
        return job

    def _read_stacks(self, work: _Work, job: Job) -> None:
        for raw in job.read():
            if self._is_stopping():
                raise CancelledError
            if work.error is not None:
                break
            self._put(self._raw, _Item(work, raw))

    def _restore_all(self) -> None:
        free: queue.SimpleQueue[ModelSet] = queue.SimpleQueue()
        for worker in self._model_set.workers:
            free.put(worker)
        try:
            with ThreadPoolExecutor(free.qsize(), thread_name_prefix="worker") as pool:
                for item in self._take(self._raw):
                    work = item.work
                    if not isinstance(item.payload, RawStack):
                        self._put(self._restored, item)
                        self._make_way_after(work)
                    elif (group := self._gather(work, item.payload)) is not None:
                        model_set = free.get()
                        work.last = pool.submit(self._restore_one, work, group, model_set, free)
                        self._put(self._restored, _Item(work, work.last))
        finally:
            self._put(self._restored, None)

    def _make_way_after(self, work: _Work) -> None:
        """Let the next one be claimed as soon as a piece of work is restored; newest first only."""
        if not self._newest_first:
            return
        if work.last is None:
            self._free_workers.release()
        else:
            work.last.add_done_callback(lambda _: self._free_workers.release())

    def _gather(self, work: _Work, raw: RawStack) -> ChannelGroup | None:
        if work.error is not None or work.job is None:
            return None
        try:
            if work.channel_groups is None:
                work.channel_groups = ChannelGroups(
                    work.job.file_stacks, self._model_set, self._is_stopping
                )
            return work.channel_groups.gather(raw)
        except Exception as error:  # noqa: BLE001 - worker boundary: the writer ends the claim
            work.error = work.error or error
            return None

    def _restore_one(
        self,
        work: _Work,
        group: ChannelGroup,
        model_set: ModelSet,
        free: queue.SimpleQueue[ModelSet],
    ) -> list[StackOutcome]:
        try:
            if work.error is not None:
                return []
            self._progress.working_on(str(work.entry.source))
            return group.restore(model_set)
        except Exception as error:  # noqa: BLE001 - worker boundary: the writer ends the claim
            work.error = work.error or error
            return []
        finally:
            free.put(model_set)

    def _write_all(self) -> None:
        items = self._take(self._restored)
        for item in items:
            self._write_one(item, items)
            if not self._let_go():
                self._progress.working_on("")
            self._work_there.set()

    def _write_one(self, first: _Item, items: Iterator[_Item]) -> None:
        """Publish the work that ``first`` belongs to, and end its claim."""
        work = first.work
        ended = first.payload is None
        if work.plan is not None and work.plan.current:
            self._verdicts.already_restored(work.entry, work.plan)
            return

        def outcomes() -> Iterator[StackOutcome]:
            nonlocal ended
            item = first
            while isinstance(item.payload, Future):
                yield from item.payload.result()
                following = next(items, None)
                if following is None:
                    raise CancelledError  # another stage crashed: nothing more will come
                item = following
            ended = True
            if work.error is not None:
                raise work.error

        published = None
        if isinstance(first.payload, Future):
            first.payload.result()  # a file is begun, and its folder looked at, when it is needed
        try:
            if work.error is not None and ended:
                raise work.error
            assert work.job is not None
            assert work.plan is not None
            self._clean_output_folder(work.plan)
            published = work.job.publish(work.plan, outcomes(), self._model_set, self._settings)
        except Exception as error:  # noqa: BLE001 - worker boundary: becomes the entry's verdict
            work.error = work.error or error
            if work.plan is not None:  # a disk that went away keeps what it could not remove
                self._cleaned_folders.discard(work.plan.result_path.image.parent)
        while not ended:  # the disk refused in mid-file: let the rest of it pass by
            following = next(items, None)
            ended = following is None or following.payload is None
        if published is not None:
            assert work.job is not None
            self._verdicts.good(work.entry, work.job.file_stacks, published)
        else:
            assert work.error is not None
            self._verdicts.bad(work.entry, work.error)

    def _clean_output_folder(self, plan: ResultPlan) -> None:
        """Remove what a killed process left where results go, once per folder."""
        folder = plan.result_path.image.parent
        if folder not in self._cleaned_folders:
            self._cleaned_folders.add(folder)
            for leftover in remove_leftovers(folder):
                log.info("removed what a killed process left", file=str(leftover))

    # Queues that never hang -------------------------------------------------------------------

    def _put(self, target: _Queue, item: _Item | None) -> None:
        """Put, but give up when the daemon has crashed: nobody may be left to take it."""
        while self.crash is None:
            try:
                target.put(item, timeout=0.2)
                return
            except queue.Full:
                continue

    def _take(self, origin: _Queue) -> Iterator[_Item]:
        while self.crash is None:
            try:
                item = origin.get(timeout=0.2)
            except queue.Empty:
                continue
            if item is None:
                return
            yield item
