"""One unit of work: what is read together, and gives one result.

The daemon and ``live-restore restore`` share it. There are two kinds: a file with all its stacks
(``file_job.py``), and one stack of an acquisition folder (``stack_job.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from live_restore.errors import StackRefusedError
from live_restore.inference.model_set import ModelSet
from live_restore.journal.states import State
from live_restore.outputs.output import Publication, ResultPath
from live_restore.outputs.provenance import published_doubt
from live_restore.settings.model import Settings
from live_restore.stack import FileStacks, StackIndex, Volume


@dataclass(frozen=True)
class RawStack:
    """A stack as read, (Z, Y, X), and how long that took (s)."""

    index: StackIndex
    volume: Volume
    read_s: float


@dataclass(frozen=True)
class ResultPlan:
    """Where a job's result goes, named after which model.

    ``current``: it is already there, and ``doubt`` is what its report says against it. ``note``:
    what a person should know of all results of the acquisition. ``renamed``: it was made when the
    raw data had another name.
    """

    model_name: str
    result_path: ResultPath
    current: bool
    doubt: str = ""
    note: str = ""
    renamed: bool = False


@dataclass(frozen=True)
class Remainder:
    """What a result does not hold of the raw data.

    ``left``: stacks of a file that are not restored, their states and why; ``growing``: the file is
    still being written, and there will be more.
    """

    left: Mapping[StackIndex, tuple[State, str]] = field(default_factory=dict)
    growing: bool = False


class Job(Protocol):
    """Something complete that gives one result."""

    @property
    def file_stacks(self) -> FileStacks:
        """What is to be restored."""
        ...

    @property
    def result_bytes(self) -> int:
        """Bytes of the voxels that are to be written, in the raw type."""
        ...

    @property
    def remainder(self) -> Remainder:
        """What of it is not; certain once :meth:`read` has come to its end."""
        ...

    def plan(self, model_set: ModelSet, settings: Settings) -> ResultPlan:
        """Choose where the result goes, before any work is done on it.

        Raises
        ------
        StackRefusedError
            No channel has a model, or the name is too long.
        OutputError
            No name can be had for the result.
        """
        ...

    def read(self) -> Iterator[RawStack | None]:
        """Yield every stack that is to be restored; raises ``StackError``.

        ``None`` stands for one that was looked at and is not: a moment to see whether to stop.
        """
        ...

    def begin(self, plan: ResultPlan, model_set: ModelSet, settings: Settings) -> Publication:
        """Begin to publish the result, unless the raw data have changed meanwhile.

        Raises
        ------
        StackError
            They have changed; :meth:`Publication.close` looks once more, and raises the same.
        OutputError
            The disk refused.
        """
        ...


def planned(
    model_name: str,
    result_path: ResultPath,
    *,
    current: bool,
    note: str = "",
    renamed: bool = False,
) -> ResultPlan:
    """Return the plan; where the result is there already, with what its report says against it."""
    doubt = published_doubt(result_path) if current else ""
    return ResultPlan(model_name, result_path, current, doubt, note, renamed)


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


def channels_together(file_stacks: FileStacks, model_set: ModelSet) -> dict[int, frozenset[int]]:
    """Return for each channel those that are restored together with it, and itself."""
    restorers = [model_set.restorer_for(file_stacks, c) for c in range(file_stacks.channels)]
    return {
        channel: frozenset(c for c, other in enumerate(restorers) if other is restorer)
        for channel, restorer in enumerate(restorers)
        if restorer is not None and restorer.model.card.input_channels > 1
    }
