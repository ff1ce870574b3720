"""The writer: publishes results in the order in which their raw data were read, and ends leases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from live_restore.engine.handover import Handover
from live_restore.engine.in_hand import InHand
from live_restore.engine.jobs import Jobs
from live_restore.engine.messages import StackDone, Work, WorkEnd
from live_restore.engine.outcome import OutcomeRecorder
from live_restore.engine.progress import Progress
from live_restore.files.publish import remove_leftovers
from live_restore.outputs.output import FinishedStack, Publication, Published

log = structlog.get_logger()


class Writer:
    """Publishes one piece of work after the other, each as its stacks come in.

    Parameters
    ----------
    jobs
        Begins the publication of a result.
    restored
        Where finished stacks come from.
    outcomes
        Where it is recorded how the work ended.
    in_hand
        Told that a piece of work has ended.
    progress
        Told when nothing is worked on.
    ended
        Called after each piece of work.
    """

    def __init__(
        self,
        jobs: Jobs,
        restored: Handover[StackDone | WorkEnd],
        outcomes: OutcomeRecorder,
        in_hand: InHand,
        progress: Progress,
        ended: Callable[[], None],
    ) -> None:
        self._jobs = jobs
        self._restored = restored
        self._outcomes = outcomes
        self._in_hand = in_hand
        self._progress = progress
        self._ended = ended
        self._publication: Publication | None = None
        self._cleaned_folders: set[Path] = set()

    def run(self) -> None:
        """Publish until nothing more is restored."""
        try:
            for message in self._restored:
                # A result is begun, and its folder looked at, when its first stack is there.
                if isinstance(message, StackDone):
                    self._take(message.work, message.finished.result())
                else:
                    self._close(message.work)
        finally:
            self._abandon()

    def _take(self, work: Work, stacks: list[FinishedStack]) -> None:
        """Write stacks of some work, which is begun with the first of them."""
        if work.error is not None:
            self._abandon()
            return
        try:
            if self._publication is None:
                self._publication = self._begin(work)
            for stack in stacks:
                self._publication.take(stack)
        except Exception as error:  # noqa: BLE001 - worker boundary: it is the work's outcome
            work.fail(error)
            self._abandon()

    def _close(self, work: Work) -> None:
        """Publish some work, and end its lease, whatever has happened to it."""
        there = work.plan is not None and work.plan.current and work.error is None
        published = None if there else self._published(work)
        # Before the outcome is recorded: after it, nobody comes back for what a kill has left.
        if work.shared_lease is not None and self._jobs.shared is not None:
            self._jobs.shared.end(work.shared_lease)
        self._record(work, published)
        if self._in_hand.end(work.entry.key):
            self._progress.working_on("")
        self._ended()

    def _published(self, work: Work) -> Published | None:
        """Publish what was written; where that fails, it is in ``work.error``."""
        publication, self._publication = self._publication, None
        try:
            if work.error is not None:
                if publication is not None:
                    publication.abandon()
                raise work.error
            if publication is None:  # nothing was read
                publication = self._begin(work)
            with publication:
                if work.shared_lease is not None:
                    work.shared_lease.require()
                return publication.close()
        except Exception as error:  # noqa: BLE001 - worker boundary: it is the work's outcome
            work.fail(error)
            if work.plan is not None:  # a disk that went away keeps what it could not remove
                self._cleaned_folders.discard(work.plan.result_path.image.parent)
            return None

    def _record(self, work: Work, published: Published | None) -> None:
        if work.error is not None:
            self._outcomes.bad(work.entry, work.error)
            return
        assert work.job is not None
        assert work.plan is not None
        if published is None:
            self._outcomes.already_restored(work.entry, work.plan, work.job.remainder)
        else:
            self._outcomes.good(work.entry, published, work.job.remainder, work.plan.note)

    def _begin(self, work: Work) -> Publication:
        assert work.job is not None
        assert work.plan is not None
        self._clean(work.plan.result_path.image.parent)
        return self._jobs.begin(work.job, work.plan)

    def _abandon(self) -> None:
        publication, self._publication = self._publication, None
        if publication is not None:
            publication.abandon()

    def _clean(self, folder: Path) -> None:
        """Remove what a killed process left where results go, once per folder."""
        if folder not in self._cleaned_folders:
            self._cleaned_folders.add(folder)
            for leftover in remove_leftovers(folder):
                log.info("removed what a killed process left", file=str(leftover))
