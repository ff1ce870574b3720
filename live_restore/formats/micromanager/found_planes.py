"""The planes of an acquisition of Micro-Manager: where they lie, which are there, reading them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import numpy as np

from live_restore.errors import StackChangedError, StackUnreadableError
from live_restore.files.raw_data import is_blank, new_volume, opened, read_at
from live_restore.formats.acquisition_format import (
    AcquisitionInfo,
    AcquisitionPlan,
    AcquisitionState,
    StackEvidence,
)
from live_restore.formats.micromanager.metadata import Summary
from live_restore.formats.micromanager.plane import OverlapError, Plane
from live_restore.formats.plan import Ledger
from live_restore.formats.planes import Problems, require_pixels, require_whole
from live_restore.recording import PlaneMetadata
from live_restore.stack import StackIndex, Volume, VoxelSize

MAX_CHANNEL, MAX_POSITION, MAX_TIME, MAX_Z = 4095, 999_999, 9_999_999, 999_999
"""Highest indices; tables are as long as the highest of them."""


class FoundPlanes:
    """Planes of one acquisition folder whose pixels lie uncompressed in files.

    Parameters
    ----------
    folder
        The acquisition's.
    format_name
        For the information on it.
    """

    def __init__(self, folder: Path, format_name: str) -> None:
        self.folder = folder
        self.problems = Problems()
        self._ledger = Ledger()
        self._planes: dict[StackIndex, dict[int, Plane]] = {}
        self._recorded: dict[StackIndex, dict[int, PlaneMetadata]] = {}
        self._first: Plane | None = None
        self._evidence: Mapping[StackIndex, StackEvidence] = {}
        self._taken: dict[Path, int] = {}
        self._info = AcquisitionInfo(folder.name, format_name)

    @property
    def any(self) -> bool:
        """Whether there is a plane."""
        return self._first is not None

    def add(
        self,
        stack_index: StackIndex,
        z: int,
        plane: Plane,
        stream: BinaryIO,
        beside: int = 0,
        recorded: PlaneMetadata | None = None,
    ) -> None:
        """Take a plane that is whole on disk.

        Parameters
        ----------
        stream
            Its open file.
        beside
            Bytes that the file holds for it besides its pixels.
        recorded
            How it was recorded.

        Raises
        ------
        OverlapError
            The planes of its file are larger together than the file: an index that names the same
            bytes again and again would make stacks without end.
        """
        highest = max(
            stack_index.channel - MAX_CHANNEL,
            stack_index.position - MAX_POSITION,
            stack_index.time - MAX_TIME,
        )
        if highest > 0 or abs(z) > MAX_Z:
            self.problems.add(
                f"a plane at {stack_index.label}, z {z}, is left out: no acquisition has so many"
            )
            return
        taken = self._taken.get(plane.path, 0) + plane.stored_bytes + beside
        if taken > os.fstat(stream.fileno()).st_size:
            raise OverlapError("its planes overlap")
        known = self._planes.get(stack_index, {}).get(z)
        # Before anything is taken down: a file that is locked just now is tried again.
        copied = known is not None and known.path != plane.path and _is_copy(plane, stream, known)
        self._taken[plane.path] = taken
        if self._first is None:
            self._first = plane
        if (plane.height, plane.width, plane.dtype) != (
            self._first.height,
            self._first.width,
            self._first.dtype,
        ):
            self.problems.add(
                f"{plane.path.name}: a plane of {plane.width} x {plane.height} pixels, "
                f"{plane.dtype}, among others of {self._first.width} x {self._first.height}, "
                f"{self._first.dtype}, is left out"
            )
            return
        planes = self._planes.setdefault(stack_index, {})
        if known is not None and copied:
            self.problems.add(f"{plane.path.name}: a copy of {known.path.name}; it is passed by")
            return
        if known is not None and (known.path, known.at) != (plane.path, plane.at):
            self._ledger.refuse(stack_index, z)
            self.problems.add(
                f"{plane.path.name}: two images were recorded at the same place "
                f"(first {stack_index.label}, z {z}), as two cameras do that write under the same "
                "axes; the stack is refused, give each camera a channel of its own"
            )
            return
        blank = is_blank(stream, plane.at, plane.stored_bytes)
        planes[z] = plane
        if recorded is not None and recorded.known:
            self._recorded.setdefault(stack_index, {})[z] = recorded
        self._ledger.add(stack_index, z, blank=blank)

    def describe(
        self,
        summary: Summary,
        voxel: VoxelSize,
        *,
        channel_names: tuple[str, ...] = (),
        position_names: tuple[str, ...] = (),
        exposure_ms: tuple[float | None, ...] = (),
        camera_serials: tuple[str, ...] = (),
    ) -> None:
        """Record what is known about the acquisition; names given here win over the summary's."""
        first = self._first
        self._info = replace(
            self._info,
            dtype=first.dtype if first else None,
            shape_yx=(first.height, first.width) if first else None,
            channel_names=channel_names or summary.channel_names,
            position_names=position_names or summary.position_names,
            voxel=voxel,
            time_increment_s=summary.interval_s,
            exposure_ms=exposure_ms or summary.exposure_ms,
            camera_serials=camera_serials,
            stacks_planned=summary.plan.stacks(),
        )

    def state(
        self, plan: AcquisitionPlan, over: bool, ended: bool | None, why: str
    ) -> AcquisitionState:
        """Return what a poll returns."""
        self._evidence = self._ledger.evidence(plan, over or ended is True)
        stacks = dict(self._evidence)
        return AcquisitionState(
            self._info, MappingProxyType(stacks), ended, why, self.problems.lines
        )

    def recorded(self, stack_index: StackIndex) -> tuple[PlaneMetadata, ...]:
        """Return how the planes of a stack were recorded; see ``RecordingFollower``."""
        known, evidence = self._recorded.get(stack_index, {}), self._evidence.get(stack_index)
        if not known or evidence is None:
            return ()
        return tuple(known.get(z, PlaneMetadata()) for z in evidence.present)

    def read(self, stack_index: StackIndex) -> Volume:
        """Return a stack's planes, (Z, Y, X); see ``Follower.read``."""
        indices = require_whole(stack_index, self._evidence.get(stack_index), self.folder)
        planes = [self._planes[stack_index][z] for z in indices]
        first = planes[0]
        # A damaged index may name the same bytes many times.
        files = {plane.path for plane in planes}
        if sum(plane.stored_bytes for plane in planes) > sum(map(_size, files)):
            raise StackUnreadableError(
                "its planes overlap", first.path, "copy the acquisition again"
            )
        shape = (len(planes), first.height, first.width)
        volume = new_volume(shape, first.dtype, first.path)
        number = 0
        while number < len(planes):
            path = planes[number].path
            with opened(path) as (stream, _):
                while number < len(planes) and planes[number].path == path:
                    plane = planes[number]
                    data = read_at(stream, plane.at, plane.stored_bytes)
                    if len(data) < plane.stored_bytes:
                        raise StackChangedError(
                            "got shorter since its planes were found", path, "look at the folder"
                        )
                    pixels = np.frombuffer(data, plane.dtype.newbyteorder(plane.order))
                    volume[number] = pixels.reshape(plane.height, plane.width)
                    number += 1
        require_pixels(stack_index, volume, self.folder)
        return volume


def _is_copy(plane: Plane, stream: BinaryIO, known: Plane) -> bool:
    """Return whether two planes hold the same pixels, as those of two cameras never do.

    Zeros may be pixels that have not been written yet.
    """
    if (plane.stored_bytes, plane.order) != (known.stored_bytes, known.order):
        return False
    with opened(known.path) as (other, _):
        pixels = read_at(other, known.at, known.stored_bytes)
    same = pixels == read_at(stream, plane.at, plane.stored_bytes)
    return same and not is_blank(stream, plane.at, plane.stored_bytes)


def _size(path: Path) -> int:
    with opened(path) as (_, size):
        return size
