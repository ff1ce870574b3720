"""Pixels of raw and restored stacks, plane by plane where that is possible; bounded caches.

A restored TIFF is this program's own and lies plane after plane: one plane is one read. Raw data
come through their formats, which give whole stacks: the last ones are kept in memory.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil

from live_restore.errors import (
    StackBusyError,
    StackUnreadableError,
)
from live_restore.outputs.result_planes import Plane, ResultPlanes
from live_restore.overview.entries import ShownEntry
from live_restore.page.raw_volumes import RawVolumes
from live_restore.page.tasks import read_preview
from live_restore.settings.model import FilesSettings
from live_restore.stack import StackIndex, Volume

Side = Literal["raw", "restored", "preview"]
Axis = Literal["z", "y", "x"]

_MOST_CACHED = 2**30
_SHARE_OF_MEMORY = 0.08
_PROJECTIONS_BYTES = 96 * 2**20
_AXES: dict[Axis, int] = {"z": 0, "y": 1, "x": 2}


class ByteCache:
    """Keeps the arrays used last, up to so many bytes; the newest is kept however large."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: OrderedDict[Hashable, Any] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Any:
        """Return what is kept under a key, or ``None``."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, key: Hashable, value: Any) -> None:
        """Keep an array or bytes, and let the oldest go."""
        with self._lock:
            old = self._held.pop(key, None)
            self._bytes -= 0 if old is None else _size(old)
            self._held[key] = value
            self._bytes += _size(value)
            while self._bytes > self._limit and len(self._held) > 1:
                self._bytes -= _size(self._held.popitem(last=False)[1])

    @property
    def bytes(self) -> int:
        """Bytes that are kept."""
        return self._bytes


def _size(value: Any) -> int:
    return len(value) if isinstance(value, bytes) else int(value.nbytes)


class Pixels:
    """Reads stacks of a run for people to look at; safe to use from several threads.

    Parameters
    ----------
    root
        The watched folder.
    files
        How files are understood, as the daemon does, or its stacks would be other ones.
    preview_of
        Returns number and file of the newest preview of a stack.
    """

    def __init__(
        self,
        root: Path,
        files: FilesSettings | None = None,
        preview_of: Callable[[str], tuple[int, Path] | None] = lambda _: None,
    ) -> None:
        self._preview_of = preview_of
        self.plane_pattern = None if files is None else files.plane_pattern
        self._raw = RawVolumes(root, files)
        budget = min(_MOST_CACHED, int(_SHARE_OF_MEMORY * psutil.virtual_memory().total))
        self._volumes = ByteCache(budget)
        self._projections = ByteCache(_PROJECTIONS_BYTES)
        # One volume is loaded at a time: what twenty people want is read once.
        self._loading = threading.Lock()

    def plane(self, shown: ShownEntry, at: StackIndex, side: Side, axis: Axis, index: int) -> Plane:
        """Return one plane across an axis: (Y, X) across z, (Z, X) across y, (Z, Y) across x.

        Raises
        ------
        LiveRestoreError
            It cannot be read; ``StackUnreadableError`` also where there is no such plane.
        """
        if side == "restored" and axis == "z":
            with _result(shown, at) as result:
                return result.plane(index)
        volume = self._volume(shown, at, side)
        number = _AXES[axis]
        if not 0 <= index < volume.shape[number]:
            raise StackUnreadableError("has no such plane", shown.entry.key.acquisition.name)
        return np.asarray(np.take(volume, index, axis=number))

    def projection(self, shown: ShownEntry, at: StackIndex, side: Side, axis: Axis) -> Plane:
        """Return the maximum along an axis; raises as :meth:`plane`."""
        if side == "preview":
            return np.asarray(self._preview(shown, at).max(axis=_AXES[axis]))
        key = (_identity(shown), at, side, axis)
        found = self._projections.get(key)
        if found is None:
            with self._loading:
                found = self._projections.get(key)
                if found is None:
                    projected = self._project(shown, at, side)
                    for name, plane in projected.items():
                        self._projections.put((*key[:3], name), plane)
                    found = projected[axis]
        return np.asarray(found)

    def rough_projection(self, shown: ShownEntry, at: StackIndex, planes: range) -> Plane:
        """Return the maximum over some restored planes; raises as :meth:`plane`."""
        with _result(shown, at) as result:
            return np.asarray(np.maximum.reduce([result.plane(z) for z in planes]))

    def voxel(
        self, shown: ShownEntry, at: StackIndex, side: Side, zyx: tuple[int, int, int]
    ) -> Any:
        """Return one grey value as it stands in the file; raises as :meth:`plane`."""
        plane = self.plane(shown, at, side, "z", zyx[0])
        if not (0 <= zyx[1] < plane.shape[0] and 0 <= zyx[2] < plane.shape[1]):
            raise StackUnreadableError("has no such voxel", shown.entry.key.acquisition.name)
        return plane[zyx[1], zyx[2]].item()

    def _project(self, shown: ShownEntry, at: StackIndex, side: Side) -> dict[Axis, Plane]:
        if side == "restored" and self._volumes.get((_identity(shown), at, side)) is None:
            with _result(shown, at) as result:
                return _project_planes(result.planes())
        return _project_planes(iter(self._loaded(shown, at, side)))

    def _volume(self, shown: ShownEntry, at: StackIndex, side: Side) -> Volume:
        if side == "preview":
            return self._preview(shown, at)
        found = self._volumes.get((_identity(shown), at, side))
        if found is None:
            with self._loading:
                found = self._loaded(shown, at, side)
        return np.asarray(found)

    def _preview(self, shown: ShownEntry, at: StackIndex) -> Volume:
        found = self._preview_of(f"{shown.id}-{at.position}-{at.time}-{at.channel}")
        if found is None:
            raise StackBusyError("has no preview", None, "ask for one")
        volume: Volume = read_preview(found[1])
        if shown.facts is None or volume.shape != shown.facts.shape_of(at.position):
            raise StackUnreadableError("the preview is of another shape")
        return volume

    def _loaded(self, shown: ShownEntry, at: StackIndex, side: Side) -> Volume:
        """Return a volume, read where it is not kept; for whoever holds the lock of loading."""
        key = (_identity(shown), at, side)
        found = self._volumes.get(key)
        if found is None:
            if side == "raw":
                found = self._raw.read(shown.entry.key, at)
            else:
                with _result(shown, at) as result:
                    found = np.stack(list(result.planes()))
            self._volumes.put(key, found)
        return np.asarray(found)


def _identity(shown: ShownEntry) -> Hashable:
    return (shown.id, shown.entry.fingerprint, shown.entry.finished_at)


def _project_planes(planes: Iterator[Plane]) -> dict[Axis, Plane]:
    along_z: Plane | None = None
    along_y, along_x = [], []
    for plane in planes:
        along_z = plane.copy() if along_z is None else np.maximum(along_z, plane, out=along_z)
        along_y.append(plane.max(axis=0))
        along_x.append(plane.max(axis=1))
    assert along_z is not None
    return {"z": along_z, "y": np.stack(along_y), "x": np.stack(along_x)}


def _result(shown: ShownEntry, at: StackIndex) -> ResultPlanes:
    """Return the planes of one stack of a result; raises ``StackBusyError`` where there is none."""
    facts, own = shown.facts, shown.entry.key.index
    if facts is None or not shown.entry.result:
        raise StackBusyError("has no result yet", None, "wait until it is restored")
    # A file of one stack of an acquisition holds no other.
    in_file = at if own is None else StackIndex()
    _, times, channels = facts.sizes_ptc
    before = times * channels * sum(facts.shape_of(n)[0] for n in range(in_file.position))
    return ResultPlanes(
        Path(shown.entry.result),
        facts.axes,
        facts.sizes_ptc,
        facts.shape_of(in_file.position),
        in_file,
        own or at,
        before,
    )
