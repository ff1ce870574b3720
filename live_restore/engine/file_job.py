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
from live_restore.formats.file_format import Arriving, Complete, FileFormat
from live_restore.formats.table import format_for
from live_restore.inference.model_set import ModelSet
from live_restore.outputs.report import StackOutcome
from live_restore.outputs.result import (
    Published,
    ResultPath,
    choose_result,
    is_current,
    publish_result,
    published_doubt,
)
from live_restore.settings.model import FilesSettings, Settings
from live_restore.sources.completeness import blank_reason
from live_restore.stack import FileStacks, Fingerprint, StackIndex, Volume


@dataclass(frozen=True)
class RawStack:
    """A stack as read, (Z, Y, X), and how long that took (s)."""

    index: StackIndex
    volume: Volume
    read_s: float


@dataclass(frozen=True)
class ResultPlan:
    """Where a job's result goes, named after which model.

    ``current``: it is already there, and ``doubt`` is what its report says against it.
    """

    model_name: str
    result_path: ResultPath
    current: bool
    doubt: str = ""


class Job(Protocol):
    """Something complete that gives one result."""

    @property
    def file_stacks(self) -> FileStacks:
        """What is to be restored."""
        ...

    def plan(self, model_set: ModelSet, settings: Settings) -> ResultPlan:
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
        self,
        plan: ResultPlan,
        outcomes: Iterable[StackOutcome],
        model_set: ModelSet,
        settings: Settings,
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

    file_stacks: FileStacks
    format: FileFormat
    home: Home
    certain: bool = True

    @classmethod
    def open(cls, path: Path, formats: Sequence[FileFormat], files: FilesSettings) -> FileJob:
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
        return cls(evidence.file_stacks, chosen, home, evidence.declared and not evidence.zero_tail)

    def read(self) -> Iterator[RawStack]:
        """Yield every stack; raises ``StackError``."""
        with self.format.open(self.file_stacks) as reader:
            for index in self.file_stacks.indices():
                began = time.perf_counter()
                volume = reader.read(index)
                yield RawStack(index, volume, time.perf_counter() - began)

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
        path = self.file_stacks.path
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
        if Fingerprint.of(status) != self.file_stacks.fingerprint:
            raise StackChangedError(
                "changed while it was being restored", path, "let it be written to its end first"
            )
        return ()

    def plan(self, model_set: ModelSet, settings: Settings) -> ResultPlan:
        """Say where the result goes; see :class:`Job`."""
        model_name = require_a_model(self.file_stacks, model_set)
        template = settings.output.template
        result_path = choose_result(self.file_stacks.path, template, model_name, model_set.recipe)
        current = is_current(result_path, self.file_stacks)
        return ResultPlan(
            model_name, result_path, current, published_doubt(result_path) if current else ""
        )

    def publish(
        self,
        plan: ResultPlan,
        outcomes: Iterable[StackOutcome],
        model_set: ModelSet,
        settings: Settings,
    ) -> Published:
        """Write and publish the outcomes; see :class:`Job`."""
        self.check_unchanged()  # where its folder is gone, that must not be made anew
        result_path = plan.result_path
        if not result_path.taken and result_path.image.exists():
            # Since it was chosen, ``a.tif`` was given the name that ``a.ome.tif`` had found free.
            template = settings.output.template
            result_path = choose_result(
                self.file_stacks.path, template, plan.model_name, model_set.recipe
            )
        return publish_result(
            self.file_stacks,
            outcomes,
            result_path=result_path,
            recipe=model_set.recipe,
            settings_digest=settings.pixel_digest(),
            units=settings.output.units,
            verify=self.check_unchanged,
        )


def require_a_model(file_stacks: FileStacks, model_set: ModelSet) -> str:
    """Return the name of the first model used; refuse a file of which no channel has one.

    Raises
    ------
    StackRefusedError
        Every channel is skipped.
    """
    for channel in range(file_stacks.channels):
        restorer = model_set.restorer_for(file_stacks, channel)
        if restorer is not None:
            return restorer.model.card.name
    names = ", ".join(file_stacks.channel_name(c) for c in range(file_stacks.channels))
    raise StackRefusedError(
        f"no model for any of its channels ({names})", file_stacks.path, "add one to [[models]]"
    )
