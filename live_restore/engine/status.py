"""What a watching daemon shows of itself: numbers, devices, and why something is not restored."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from live_restore.engine.account import Account
from live_restore.errors import JournalError
from live_restore.inference.model_set import ModelSet
from live_restore.journal.journal import Journal
from live_restore.journal.states import State


@dataclass(frozen=True)
class Status:
    """What the display shows, beside the progress of the pipeline.

    ``doubtful_brightness`` are those of which nothing else is doubtful, not among ``doubtful``.
    ``account`` says why something is not restored, a line for each reason. ``paused``: a person
    has asked for a pause. ``waiting``: restoring lets the acquisition go first just now.
    """

    root: Path
    devices: tuple[str, ...]
    models: tuple[str, ...]
    counts: dict[State, int]
    doubtful: int = 0
    doubtful_brightness: int = 0
    account: tuple[str, ...] = ()
    paused: bool = False
    waiting: bool = False


class StatusBoard:
    """Gathers the status; where the journal cannot be asked, its last numbers stand.

    Parameters
    ----------
    root, journal, model_set
        What is watched, what is known of it, and what restores.
    plane_pattern
        ``files.plane_pattern``.
    """

    def __init__(
        self, root: Path, journal: Journal, model_set: ModelSet, plane_pattern: str | None
    ) -> None:
        self._journal = journal
        self._model_set = model_set
        self._account = Account(journal, plane_pattern)
        self._last = Status(root, (), (), journal.counts(), *journal.doubtful())

    def read(
        self, passed_by: Callable[[], Iterable[object]], *, paused: bool, waiting: bool
    ) -> Status:
        """Return the status; ``passed_by`` returns what the source does not look at."""
        models = self._model_set.models
        self._last = replace(
            self._last,
            devices=tuple(dict.fromkeys(device.hardware for device in self._model_set.devices)),
            models=tuple(f"{m.card.name} {m.card.version}" for m in models),
            account=self.account(passed_by),
            paused=paused,
            waiting=waiting,
        )
        with suppress(JournalError):  # the last numbers are better than none
            doubtful, brightness = self._journal.doubtful()
            self._last = replace(
                self._last,
                counts=self._journal.counts(),
                doubtful=doubtful,
                doubtful_brightness=brightness,
            )
        return self._last

    def account(
        self, passed_by: Callable[[], Iterable[object]], *, now: bool = False
    ) -> tuple[str, ...]:
        """Return why something that was seen is not restored; see :class:`Account`."""
        return self._account.lines(passed_by, now=now)
