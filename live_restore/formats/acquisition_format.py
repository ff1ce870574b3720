"""The seam behind which dataset folders live: one folder, many stacks, complete one by one.

A new format is one file here and one line in ``live_restore/formats/table.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np

from live_restore.stack import StackIndex, Volume, VoxelSize


@dataclass(frozen=True)
class Planned:
    """Planes that a stack is to have.

    ``anywhere`` is True for a channel without z-stack: one plane, whose index depends on the
    engine (0, or the middle of the other channels' stack).
    """

    count: int
    anywhere: bool = False

    @property
    def indices(self) -> range | None:
        """z indices, ``None`` where only the number is known."""
        # Never a list of them: metadata may claim two thousand million planes.
        return None if self.anywhere else range(self.count)


class AcquisitionPlan(Protocol):
    """What a run intended."""

    def planes(self, stack_index: StackIndex) -> Planned | None:
        """Return the planes that a stack is to have, ``None`` where the plan does not tell."""
        ...

    def stacks(self) -> int | None:
        """Return how many stacks the run is to have."""
        ...


class Stage(StrEnum):
    """How far a stack is."""

    ARRIVING = "arriving"
    COMPLETE = "complete"
    PARTIAL = "partial"


@dataclass(frozen=True)
class StackEvidence:
    """What is on disk of one stack that has begun.

    Parameters
    ----------
    stage
        The verdict. ``PARTIAL`` only after the run is over.
    present
        z indices whose planes are whole on disk and hold something, ascending.
    planes_expected
        How many planes were planned; ``None`` where nothing tells yet.
    expected
        z indices planned; ``None`` where only their number is known, or not even that.
    blank
        z indices whose planes are on disk but hold nothing but zeros.
    reason
        Why this stage, for the person at the microscope.
    may_change
        Pixels that are there may be written again (a chunk that holds several planes): complete
        only once the folder has been quiet for a while.
    """

    stage: Stage
    present: tuple[int, ...]
    planes_expected: int | None = None
    expected: Sequence[int] | None = None
    blank: tuple[int, ...] = ()
    reason: str = ""
    may_change: bool = False

    @property
    def complete(self) -> bool:
        """Whether every planned plane is there."""
        return self.stage is Stage.COMPLETE

    @property
    def partial(self) -> bool:
        """Whether the run is over and planes are missing."""
        return self.stage is Stage.PARTIAL


@dataclass(frozen=True)
class AcquisitionInfo:
    """What a dataset says about itself.

    Parameters
    ----------
    name
        The folder's name; also the ``acquisition`` of its stack keys.
    format
        Name of the format.
    dtype, shape_yx
        Of every plane (rows, columns); ``None`` before the first plane.
    channel_names, position_names
        By index, possibly empty or shorter than what is on disk. Labels only: never a path.
    voxel
        In micrometres.
    time_increment_s
        Seconds between time points as planned, ``None`` where they are irregular or unknown.
    exposure_ms
        By channel index, possibly empty.
    stacks_planned
        How many stacks the run was to have, ``None`` where nothing tells.
    """

    name: str
    format: str
    dtype: np.dtype[np.generic] | None = None
    shape_yx: tuple[int, int] | None = None
    channel_names: tuple[str, ...] = ()
    position_names: tuple[str, ...] = ()
    voxel: VoxelSize = field(default_factory=VoxelSize)
    time_increment_s: float | None = None
    exposure_ms: tuple[float | None, ...] = ()
    stacks_planned: int | None = None

    def channel_name(self, channel: int) -> str:
        """Return the channel's name, or its number as text where it has none."""
        return self.channel_names[channel] if channel < len(self.channel_names) else str(channel)

    def position_name(self, position: int) -> str:
        """Return the position's name, or its number as text where it has none."""
        if position < len(self.position_names):
            return self.position_names[position]
        return str(position)


@dataclass(frozen=True)
class AcquisitionState:
    """What is there now.

    Parameters
    ----------
    info
        Grows while the run goes on; what it holds does not change.
    stacks
        Every stack that has begun.
    ended
        Whether the run is over: ``True`` and ``False`` by the format's own end marker, ``None``
        where the format has none. Between two files of one run it may be ``True`` for a moment:
        act on it only when it stays.
    ended_reason
        The evidence for ``ended``.
    problems
        Parts of the dataset that are damaged or of no use, one line each; the rest goes on.
    """

    info: AcquisitionInfo
    stacks: Mapping[StackIndex, StackEvidence] = field(default_factory=lambda: MappingProxyType({}))
    ended: bool | None = None
    ended_reason: str = ""
    problems: tuple[str, ...] = ()


class Follower(Protocol):
    """Follows one dataset folder. Incremental: a poll looks only at what it does not know yet.

    Files are opened read-only and late, closed soon, and never mapped into memory: Micro-Manager
    truncates its files at the end, which Windows refuses for a mapped file.
    """

    def poll(self, *, over: bool = False, plan: AcquisitionPlan | None = None) -> AcquisitionState:
        """Return what is there now.

        Parameters
        ----------
        over
            The caller knows that the run is over (its hook was told, or nothing has moved for
            long): what is missing is judged as after an end marker.
        plan
            What the caller knows to be planned (its script submitted the events), better than
            the files do. Has to compare equal while it says the same.

        Raises
        ------
        StackChangedError
            The folder vanished.
        StackBusyError
            It cannot be listed just now. (A file in it that is locked is tried again.)
        StackUnreadableError
            It is not one data set: files of several runs, a plate.
        """
        ...

    def read(self, stack_index: StackIndex) -> Volume:
        """Return the planes that are present, ascending in z, (Z, Y, X), native byte order.

        Raises
        ------
        StackIncompleteError
            No plane is there, one between others is missing, or one holds nothing but zeros.
        StackError
            It could not be read.
        """
        ...


class AcquisitionFormat(Protocol):
    """How the stacks of a dataset folder lie on disk."""

    name: str

    def recognises(self, folder: Path, names: Collection[str]) -> bool:
        """Return whether a folder with these entries is a dataset of this format.

        By names alone, except where two layouts share them; then a few kB are read. ``False``
        may become ``True`` as files appear. Raises nothing.
        """
        ...

    def follow(self, folder: Path) -> Follower:
        """Return a follower that has looked at nothing yet."""
        ...
