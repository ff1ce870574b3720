"""The restoring stage: hands raw stacks to the workers, in order."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from live_restore.engine.channel_groups import ChannelGroup, ChannelGroups
from live_restore.engine.handover import Handover
from live_restore.engine.messages import StackDone, StackRead, Work, WorkEnd
from live_restore.engine.microscope_first import MicroscopeFirst
from live_restore.engine.progress import Progress
from live_restore.engine.workers import WorkerPool
from live_restore.inference.model_set import ModelSet
from live_restore.outputs.output import FinishedStack
from live_restore.trust.over_time import TimeLapses


class Restoring:
    """Takes raw stacks, lets workers restore them, and hands on what will come of them.

    Parameters
    ----------
    model_set
        Which model restores which channel.
    workers
        Who restores.
    newest_first
        Whether each piece of work has reserved a worker.
    raw, restored
        Where stacks come from, and go.
    progress
        Told what is worked on.
    microscope
        Asked before every tile.
    stopping
        Whether a stop is asked for.
    """

    def __init__(
        self,
        model_set: ModelSet,
        workers: WorkerPool,
        raw: Handover[StackRead | WorkEnd],
        restored: Handover[StackDone | WorkEnd],
        progress: Progress,
        microscope: MicroscopeFirst,
        stopping: Callable[[], bool],
        *,
        newest_first: bool,
    ) -> None:
        self._model_set = model_set
        self._workers = workers
        self._raw = raw
        self._restored = restored
        self._progress = progress
        self._microscope = microscope
        self._stopping = stopping
        self._newest_first = newest_first
        self._time_lapses = TimeLapses()

    def run(self) -> None:
        """Restore until nothing more is read."""
        try:
            for message in self._raw:
                work = message.work
                if isinstance(message, WorkEnd):
                    self._restored.put(message)
                    if self._newest_first:
                        self._workers.release_after(work.last)
                elif (group := self._gather(message)) is not None:
                    work.last = self._submit(work, group)
                    self._restored.put(StackDone(work, work.last))
        finally:
            self._workers.close()
            self._restored.close()

    def _gather(self, message: StackRead) -> ChannelGroup | None:
        work = message.work
        if work.error is not None or work.job is None:
            return None
        try:
            if work.groups is None:
                stacks = work.job.file_stacks
                work.groups = ChannelGroups(
                    stacks, self._model_set, self._before_tile, self._time_lapses
                )
            return work.groups.gather(message.raw)
        except Exception as error:  # noqa: BLE001 - worker boundary: the writer ends the lease
            work.fail(error)
            return None

    def _submit(self, work: Work, group: ChannelGroup) -> Future[list[FinishedStack]]:
        def restore(model_set: ModelSet) -> list[FinishedStack]:
            try:
                if work.error is not None:
                    return []
                self._progress.working_on(str(work.entry.key))
                finished = group.restore(model_set)
            except Exception as error:  # noqa: BLE001 - worker boundary: the writer ends the lease
                work.fail(error)
                return []
            for stack in finished:
                if stack.restored is not None and stack.restored.seconds:  # else of a group's first
                    self._microscope.tile_took(stack.restored.tile_s)
            return finished

        return self._workers.submit(restore)

    def _before_tile(self) -> bool:
        return self._microscope.before_tile(self._stopping)
