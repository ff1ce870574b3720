"""The seam behind which acquisition folders live: one folder, many stacks, complete one by one.

The life of an acquisition, from its first name in a folder to a stack in memory:

>>> import json, tempfile, numpy, tifffile
>>> from live_restore.formats.table import acquisition_format_for, make_acquisition_formats
>>> temporary = tempfile.TemporaryDirectory()
>>> folder = Path(temporary.name) / "run_1"
>>> folder.mkdir()
>>> acquisition_format_for(folder, make_acquisition_formats()) is None  # nobody's, yet
True
>>> summary = {"Summary": {"Slices": 2, "Frames": 1, "ChNames": ["DAPI"]}}
>>> _ = (folder / "metadata.txt").write_text(json.dumps(summary)[:-1])
>>> def plane(z):
...     name = f"img_channel000_position000_time000000000_z{z:03}.tif"
...     image = numpy.full((8, 8), z + 1, "uint16")
...     tifffile.imwrite(folder / name, image, photometric="minisblack")
>>> found = acquisition_format_for(folder, make_acquisition_formats())  # 1. recognised
>>> found.name
'mm-series'
>>> follower = found.follow(folder)  # 2. followed, by one follower for as long as it goes on
>>> first = StackIndex(position=0, time=0, channel=0)
>>> plane(0)
>>> follower.poll().stacks[first].reason  # 3. polled, again and again
'1 of 2 planes'
>>> plane(1)
>>> follower.poll().stacks[first].stage
<Stage.COMPLETE: 'complete'>
>>> follower.read(first)[:, 0, 0].tolist()  # 4. read, while others are still arriving
[1, 2]
>>> follower.poll().ended, follower.poll(over=True).ended_reason  # 5. over, by whoever knows
(False, 'metadata.txt is still open')
>>> temporary.cleanup()

A new format is one file here and one line in ``live_restore/formats/table.py``; or, in a package of
its own, an entry point of the group ``live_restore.acquisition_formats``: its name is the format's,
its object is called without arguments (a class will do) and returns an :class:`AcquisitionFormat`::

    [project.entry-points."live_restore.acquisition_formats"]
    nd2-series = "my_package:Nd2SeriesFormat"

Either runs through ``live_restore.testing.formats.AcquisitionFormatCompliance``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np

from live_restore.recording import PlaneMetadata
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
    """What was intended."""

    def planes(self, stack_index: StackIndex) -> Planned | None:
        """Return the planes that a stack is to have, ``None`` where the plan does not say."""
        ...

    def stacks(self) -> int | None:
        """Return how many stacks there are to be."""
        ...


class Stage(StrEnum):
    """How far a stack is."""

    ARRIVING = "arriving"
    COMPLETE = "complete"
    PARTIAL = "partial"
    REFUSED = "refused"


@dataclass(frozen=True)
class StackEvidence:
    """What is on disk of one stack that has begun.

    Parameters
    ----------
    stage
        How far it is. ``PARTIAL`` only after the acquisition is over. ``REFUSED``: what is there
        cannot be one stack, whatever else arrives.
    present
        z indices whose planes are whole on disk and hold something, ascending.
    planes_expected
        How many planes were planned; ``None`` while that is unknown.
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
        """Whether the acquisition is over and planes are missing."""
        return self.stage is Stage.PARTIAL


@dataclass(frozen=True)
class AcquisitionInfo:
    """What an acquisition says about itself.

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
    camera_serials
        Serial numbers of cameras by channel index, "" where unknown; possibly empty.
    stacks_planned
        How many stacks there were to be, ``None`` where that is unknown.
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
    camera_serials: tuple[str, ...] = ()
    stacks_planned: int | None = None

    @property
    def plane_bytes(self) -> int | None:
        """Bytes of one plane's voxels, uncompressed; ``None`` before the first plane."""
        if self.dtype is None or self.shape_yx is None:
            return None
        return self.shape_yx[0] * self.shape_yx[1] * self.dtype.itemsize

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
        Grows while the acquisition goes on; what it holds does not change.
    stacks
        Every stack that has begun.
    ended
        Whether the acquisition is over: ``True`` and ``False`` by the format's own end marker,
        ``None`` where the format has none. Between two files of one acquisition it may be ``True``
        for a moment: act on it only when it stays.
    ended_reason
        The evidence for ``ended``.
    problems
        Parts of the acquisition that are damaged or of no use, one line each; the rest goes on.
    pause_s
        The longest pause (s) between the planes of a stack that the files tell of: where only quiet
        says that a stack is whole, it has to be longer.
    foreign
        Names of files and folders in its folder that may hold images and are not its own.
    unusable
        Files and folders in it that could hold stacks and cannot be read as they are, by name, and
        why. One that is being written may be among them for a while: it is lost only once the
        acquisition is over.
    """

    info: AcquisitionInfo
    stacks: Mapping[StackIndex, StackEvidence] = field(default_factory=lambda: MappingProxyType({}))
    ended: bool | None = None
    ended_reason: str = ""
    problems: tuple[str, ...] = ()
    pause_s: float = 0.0
    foreign: tuple[str, ...] = ()
    unusable: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def all_that_is_wrong(self) -> tuple[str, ...]:
        """Return the problems and what is unusable, a line each."""
        lost = (f"{name}: {reason}" for name, reason in self.unusable.items())
        return tuple(dict.fromkeys((*self.problems, *lost)))


class Follower(Protocol):
    """Follows one acquisition folder. Incremental: a poll looks only at what it does not know yet.

    Files are opened read-only and late, closed soon, and never mapped into memory: Micro-Manager
    truncates its files at the end, which Windows refuses for a mapped file.
    """

    def poll(self, *, over: bool = False, plan: AcquisitionPlan | None = None) -> AcquisitionState:
        """Return what is there now.

        Parameters
        ----------
        over
            The caller knows that the acquisition is over (its hook ended, or nothing has moved for
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
            It is not one acquisition: files of several acquisitions, a plate.
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


@runtime_checkable
class RecordingFollower(Protocol):
    """A follower that knows how single planes were recorded; not every format says."""

    def recorded(self, stack_index: StackIndex) -> tuple[PlaneMetadata, ...]:
        """Return an entry for each plane that ``read`` returns, or none."""
        ...


class AcquisitionFormat(Protocol):
    """How the stacks of an acquisition folder lie on disk."""

    name: str

    def recognises(self, folder: Path, names: Collection[str]) -> bool:
        """Return whether a folder with these entries is an acquisition of this format.

        By names alone, except where two layouts share them; then a few kB are read. ``False``
        may become ``True`` as files appear. What a person saves beside an acquisition's own files
        does not make it ``False`` where those leave no doubt. Raises nothing.
        """
        ...

    def goes_on(self, folder: Path, names: Collection[str]) -> bool:
        """Return whether a folder that was an acquisition of this format still holds one.

        Its own files among these entries are enough, whatever lies beside them. Of a plug-in that
        lacks it, :meth:`recognises` is asked instead. Raises nothing.
        """
        ...

    def follow(self, folder: Path) -> Follower:
        """Return a follower that has looked at nothing yet."""
        ...
