"""One unit of work on its way through the restorer: a file here, a stack of a data set elsewhere.

The daemon and ``live-restore restore`` share it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from live_restore.errors import (
    StackBusyError,
    StackChangedError,
    StackIncompleteError,
    StackRefusedError,
)
from live_restore.formats.file_format import Arriving, Complete, Format
from live_restore.formats.table import format_for
from live_restore.inference.model_set import Shelf
from live_restore.outputs.report import StackOutcome
from live_restore.outputs.result import (
    Place,
    Published,
    choose_result,
    is_current,
    publish_result,
    published_doubt,
)
from live_restore.settings.model import FilesSettings, Settings
from live_restore.sources.completeness import blank_reason
from live_restore.stack import Dataset, StackKey, Volume


@dataclass(frozen=True)
class RawStack:
    """A stack as read, (Z, Y, X), and how long that took (s)."""

    key: StackKey
    volume: Volume
    read_s: float


@dataclass(frozen=True)
class Plan:
    """Where a job's result goes, named after which model.

    ``current``: it is already there, and ``doubt`` is what its report says against it.
    """

    model_name: str
    place: Place
    current: bool
    doubt: str = ""


class Job(Protocol):
    """Something complete that gives one result."""

    @property
    def dataset(self) -> Dataset:
        """What is to be restored."""
        ...

    def plan(self, shelf: Shelf, settings: Settings) -> Plan:
        """Say where the result goes, before any work is done on it.

        Raises
        ------
        StackRefusedError
            No channel has a model, or the name is too long.
        OutputError
            No name can be had for the result.
        """
        ...

    def read(self) -> Iterator[RawStack]:
        """Yield every stack; raises ``StackError``."""
        ...

    def publish(
        self, plan: Plan, outcomes: Iterable[StackOutcome], shelf: Shelf, settings: Settings
    ) -> Published:
        """Write and publish the outcomes as they come, unless the raw data have changed meanwhile.

        Raises
        ------
        StackError
            They changed while they were being restored; or what ``outcomes`` raise.
        OutputError
            The disk refused.
        """
        ...


@dataclass(frozen=True)
class Home:
    """The folder that raw data lie in, known even if another folder has its name by now.

    Where a network share was there may be an empty folder of the local disk: a result made there
    would be hidden as soon as the share comes back.
    """

    folder: Path
    identity: tuple[int, int] | None

    @classmethod
    def of(cls, folder: Path) -> Home:
        """Look at the folder as it is now."""
        return cls(folder, _identity(folder))

    def require(self) -> None:
        """Make sure that it is still there; raises ``StackBusyError``."""
        if self.identity is None or _identity(self.folder) != self.identity:
            raise StackBusyError(
                "its folder is gone, or another one has its name", self.folder,
                "check the disk or the network",
            )  # fmt: skip


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@dataclass(frozen=True)
class FileJob:
    """A complete file, ready to be read.

    ``certain`` is False where only quiet tells that nobody is still writing to it: the file does
    not say how many planes it will have, or ends in zeros. ``home`` is its folder.
    """

    dataset: Dataset
    format: Format
    home: Home
    certain: bool = True

    @classmethod
    def open(cls, path: Path, formats: Sequence[Format], files: FilesSettings) -> FileJob:
        """Inspect ``path`` and return the job.

        Raises
        ------
        StackError
            Not complete, nothing to restore, damaged, vanished, or one of our own results.
        """
        home = Home.of(path.parent)
        chosen = format_for(path, formats)
        if chosen is None:
            raise StackRefusedError(
                "is of no format that live-restore reads", path, "give it a TIFF stack"
            )
        evidence: Arriving | Complete | None = chosen.inspect(path)
        if evidence is None:
            raise StackRefusedError(
                "is a result of live-restore itself", path, "give it the raw stack"
            )
        if isinstance(evidence, Arriving):
            raise StackIncompleteError(
                evidence.reason, path, "wait until it is written, or record it again"
            )
        if evidence.blank_planes and files.blank_planes == "incomplete":
            raise StackIncompleteError(blank_reason(evidence), path)
        return cls(evidence.dataset, chosen, home, evidence.declared and not evidence.zero_tail)

    def read(self) -> Iterator[RawStack]:
        """Yield every stack; raises ``StackError``."""
        with self.format.open(self.dataset) as reader:
            for key in self.dataset.keys():  # noqa: SIM118 - a method of Dataset, not a dict
                began = time.perf_counter()
                volume = reader.read(key)
                yield RawStack(key, volume, time.perf_counter() - began)

    def check_unchanged(self) -> tuple[str, ...]:
        """Compare the file with the one that was inspected; return what the report must warn of.

        A file that was moved or deleted after it was read has a result all the same: that its name
        is gone changes no pixel. One that is another now has none.

        Raises
        ------
        StackChangedError
            It has another size or time.
        StackBusyError
            It cannot be looked at just now, or its whole folder is gone.
        """
        path = self.dataset.path
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            self.home.require()
            return ("the raw file was moved or deleted after it had been read",)
        except OSError as error:
            raise StackBusyError(
                f"cannot be looked at ({error.strerror or error})", path,
                "check the disk or the network",
            ) from error  # fmt: skip
        if (status.st_size, status.st_mtime_ns) != tuple(self.dataset.fingerprint):
            raise StackChangedError(
                "changed while it was being restored", path, "let it be written to its end first"
            )
        return ()

    def plan(self, shelf: Shelf, settings: Settings) -> Plan:
        """Say where the result goes; see :class:`Job`."""
        model_name = require_a_model(self.dataset, shelf)
        template = settings.output.template
        place = choose_result(self.dataset.path, template, model_name, shelf.recipe)
        current = is_current(place, self.dataset)
        return Plan(model_name, place, current, published_doubt(place) if current else "")

    def publish(
        self, plan: Plan, outcomes: Iterable[StackOutcome], shelf: Shelf, settings: Settings
    ) -> Published:
        """Write and publish the outcomes; see :class:`Job`."""
        self.check_unchanged()  # where its folder is gone, that must not be made anew
        place = plan.place
        if not place.taken and place.image.exists():
            # Since it was chosen, ``a.tif`` was given the name that ``a.ome.tif`` had found free.
            template = settings.output.template
            place = choose_result(self.dataset.path, template, plan.model_name, shelf.recipe)
        return publish_result(
            self.dataset,
            outcomes,
            place=place,
            recipe=shelf.recipe,
            settings_digest=settings.pixel_digest(),
            units=settings.output.units,
            verify=self.check_unchanged,
        )


def require_a_model(dataset: Dataset, shelf: Shelf) -> str:
    """Return the name of the first model used; refuse a file of which no channel has one.

    Raises
    ------
    StackRefusedError
        Every channel is skipped.
    """
    for channel in range(dataset.channels):
        restorer = shelf.restorer_for(dataset, channel)
        if restorer is not None:
            return restorer.model.card.name
    names = ", ".join(dataset.channel_name(c) for c in range(dataset.channels))
    raise StackRefusedError(
        f"no model for any of its channels ({names})", dataset.path, "add one to [[models]]"
    )
