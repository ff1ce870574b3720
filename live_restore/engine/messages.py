"""What the stages of the pipeline hand to each other.

::

    reader ──StackRead, WorkEnd──> restorer ──StackDone, WorkEnd──> writer

Every piece of work ends with exactly one ``WorkEnd``, whatever happened to it on the way.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass

from live_restore.engine.channel_groups import ChannelGroups
from live_restore.engine.job import Job, RawStack, ResultPlan
from live_restore.files.shared_lease import SharedLease
from live_restore.journal.entry import Entry
from live_restore.outputs.output import FinishedStack


@dataclass
class Work:
    """Something leased, on its way.

    Parameters
    ----------
    entry
        Its row in the journal.
    job, plan
        What is to be read, and where its result goes; ``None`` until the reader knows.
    groups
        Its stacks, as they are restored together; ``None`` until the first is read.
    last
        The stack handed to a worker last.
    shared_lease
        Keeps other computers from its result; ``None`` where there are none.
    error
        The first error that any stage met; the stages behind do nothing more for it.
    """

    entry: Entry
    job: Job | None = None
    plan: ResultPlan | None = None
    groups: ChannelGroups | None = None
    last: Future[list[FinishedStack]] | None = None
    shared_lease: SharedLease | None = None
    error: BaseException | None = None

    def fail(self, error: BaseException) -> None:
        """It has no result, because of ``error``, or of an earlier one."""
        self.error = self.error or error


@dataclass(frozen=True)
class StackRead:
    """A raw stack of some work."""

    work: Work
    raw: RawStack


@dataclass(frozen=True)
class StackDone:
    """Stacks of some work that a worker is restoring, in the order in which they were read."""

    work: Work
    finished: Future[list[FinishedStack]]


@dataclass(frozen=True)
class WorkEnd:
    """Nothing more comes of some work."""

    work: Work
