"""What the reader waits for just now: a read may hang, and then somebody else ends its work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from live_restore.engine.messages import Work
from live_restore.engine.progress import Progress


class Reading:
    """The one read that is under way.

    Attributes
    ----------
    work
        What is being read; ``None`` while the reader waits for nothing, or for other stages.
    given_up
        Whether the work has been ended by somebody else.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.work: Work | None = None
        self.given_up = False

    @contextmanager
    def of(self, work: Work, what: str) -> Iterator[None]:
        """The block may hang; ``what`` it does goes on the display, such as "reading"."""
        self.work = work
        try:
            with self._progress.waiting_for(f"{what} {work.entry.key}"):
                yield
        finally:
            self.work = None

    def give_up(self) -> Work:
        """Return what is being read; whoever asks ends it."""
        work, self.given_up = self.work, True
        assert work is not None
        return work
