"""Pixels of raw and restored stacks, plane by plane where that is possible; bounded caches.

A restored TIFF is this program's own and lies plane after plane: one plane is one read. Raw data
come through their formats, which give whole stacks: the last ones are kept in memory.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
from numpy.typing import NDArray

from live_restore.errors import (
    LiveRestoreError,
    StackBusyError,
    StackChangedError,
    StackError,
    StackUnreadableError,
)
from live_restore.files.raw_data import read_at
from live_restore.files.reading import open_regular
from live_restore.formats.file_format import Complete, GrowingFileFormat
from live_restore.formats.following import Following, Followings
from live_restore.formats.table import format_for, make_acquisition_formats, make_formats
from live_restore.formats.tiff.layout import UndeclaredAxis
from live_restore.outputs.growing_tiff import HeldStack, contents_of
from live_restore.page.entries import ReportFacts, ShownEntry
from live_restore.stack import FileStacks, StackIndex, Volume, plane_number

Side = Literal["raw", "restored"]
Axis = Literal["z", "y", "x"]
Plane = NDArray[np.generic]

_NOT_HELD = HeldStack(0, 0, 0)
_FOLLOWED = 4
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
    undeclared_axis
        As the daemon takes it, or its stacks would be other ones.
    """

    def __init__(self, root: Path, undeclared_axis: UndeclaredAxis = "Z") -> None:
        self._root = root
        self._formats = make_formats(undeclared_axis=undeclared_axis)
        self._followings = Followings(make_acquisition_formats(), _FOLLOWED)
        self._files: OrderedDict[Path, tuple[FileStacks, bool]] = OrderedDict()
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
            with _Result(shown, at) as result:
                return result.plane(index)
        volume = self._volume(shown, at, side)
        number = _AXES[axis]
        if not 0 <= index < volume.shape[number]:
            raise StackUnreadableError("has no such plane", shown.entry.key.acquisition.name)
        return np.asarray(np.take(volume, index, axis=number))

    def projection(self, shown: ShownEntry, at: StackIndex, side: Side, axis: Axis) -> Plane:
        """Return the maximum along an axis; raises as :meth:`plane`."""
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
        with _Result(shown, at) as result:
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
            with _Result(shown, at) as result:
                return _project_planes(result.planes())
        return _project_planes(iter(self._loaded(shown, at, side)))

    def _volume(self, shown: ShownEntry, at: StackIndex, side: Side) -> Volume:
        found = self._volumes.get((_identity(shown), at, side))
        if found is None:
            with self._loading:
                found = self._loaded(shown, at, side)
        return np.asarray(found)

    def _loaded(self, shown: ShownEntry, at: StackIndex, side: Side) -> Volume:
        """Return a volume, read where it is not kept; for whoever holds the lock of loading."""
        key = (_identity(shown), at, side)
        found = self._volumes.get(key)
        if found is None:
            if side == "raw":
                found = self._read_raw(shown, at)
            else:
                with _Result(shown, at) as result:
                    found = np.stack(list(result.planes()))
            self._volumes.put(key, found)
        return np.asarray(found)

    def _read_raw(self, shown: ShownEntry, at: StackIndex) -> Volume:
        source = self._root / shown.entry.key.acquisition
        index = shown.entry.key.index
        if index is None:
            return self._read_file(source, at)
        fresh = source not in self._followings
        following = self._follow(source)
        try:
            if fresh:
                following.poll()
            return following.read(index)
        except StackError:
            # The follower knew the folder as it was, or has not seen this stack yet.
            self._followings.drop(source)
            following = self._follow(source)
            following.poll()
            return following.read(index)

    def _follow(self, source: Path) -> Following:
        following = self._followings.of(source)
        if following is None:
            raise StackBusyError("the raw data are not there", source.name, "put them back")
        return following

    def _read_file(self, source: Path, at: StackIndex) -> Volume:
        chosen = format_for(source, self._formats)
        if chosen is None:
            raise StackUnreadableError("is of no format that can be read", source.name)
        for attempt in range(2):
            known = self._files.pop(source, None)
            if known is None:
                found = chosen.inspect(source)
                if found is not None and found.stacks is not None:
                    known = found.stacks.file_stacks, True
                elif isinstance(found, Complete):
                    known = found.file_stacks, False
                else:
                    raise StackBusyError("is not complete", source.name, "wait for the rest of it")
            self._files[source] = known
            if len(self._files) > 256:
                self._files.popitem(last=False)
            try:
                with (
                    chosen.open_growing(known[0])
                    if known[1] and isinstance(chosen, GrowingFileFormat)
                    else chosen.open(known[0])
                ) as reader:
                    return np.ascontiguousarray(reader.read(at))
            except StackChangedError:
                self._files.pop(source, None)
                if attempt:
                    raise
        raise AssertionError("unreachable")


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


class _Result:
    """An open result: planes (Y, X) of one stack of it. Raises ``LiveRestoreError``."""

    def __init__(self, shown: ShownEntry, at: StackIndex) -> None:
        if shown.facts is None or not shown.entry.result:
            raise StackBusyError("has no result yet", None, "wait until it is restored")
        self._path = Path(shown.entry.result)
        self._facts: ReportFacts = shown.facts
        self.shape_zyx = shown.facts.shape_zyx
        # Which stack of the run it is; a file of one stack of an acquisition holds no other.
        self._at = at if shown.entry.key.index is None else shown.entry.key.index
        self._in_file = at if shown.entry.key.index is None else StackIndex()
        self._plane: Callable[[int], Plane]
        self._close: Callable[[], None] = lambda: None

    def __enter__(self) -> _Result:
        try:
            if self._path.name.endswith(".ome.zarr"):
                self._open_zarr()
            else:
                self._open_tiff()
        except LiveRestoreError:
            raise
        except Exception as error:  # tifffile and zarr raise what they like of damaged files
            raise StackUnreadableError(
                f"the result cannot be read ({type(error).__name__})", self._path.name,
                "restore it again with live-restore watch --redo-missing",
            ) from error  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def plane(self, z: int) -> Plane:
        """Return one plane across z."""
        if not 0 <= z < self.shape_zyx[0]:
            raise StackUnreadableError("has no such plane", self._path.name)
        try:
            plane = self._plane(z)
        except (OSError, ValueError, KeyError) as error:
            raise StackUnreadableError("the result cannot be read", self._path.name) from error
        if plane.shape != self.shape_zyx[1:]:
            raise StackUnreadableError("the result is of another shape", self._path.name)
        return plane

    def planes(self) -> Iterator[Plane]:
        """Yield every plane across z."""
        return map(self.plane, range(self.shape_zyx[0]))

    def _open_zarr(self) -> None:
        try:
            import zarr
        except ImportError as error:
            raise StackUnreadableError(
                "results in OME-Zarr need the package zarr", self._path.name,
                "pip install 'live-restore[zarr]'",
            ) from error  # fmt: skip
        array: Any = zarr.open_array(str(self._path / "0"), mode="r")
        self._plane = lambda z: np.asarray(array[self._at.time, self._at.channel, z])

    def _open_tiff(self) -> None:
        import tifffile

        at = self._in_file
        stream = open_regular(self._path)
        self._close = stream.close
        try:
            with tifffile.TiffFile(stream, name=self._path.name, _multifile=False) as tif:
                series = tif.series[at.position]
                offset, dtype = series.dataoffset, np.dtype(series.dtype)
                order = tif.byteorder
                grown = contents_of(self._path)
                held = None if grown is None else grown.stacks.get(at, _NOT_HELD)
                if held is not None:  # its planes lie one behind the other
                    offset = tif.pages[held.directory].dataoffsets[0] if held.planes else None
                elif offset is None:  # laid out for stacks that were left out, too
                    planes = math.prod(self._facts.sizes_ptc[1:]) * self.shape_zyx[0]
                    offset = tif.pages[at.position * planes].dataoffsets[0]
        except BaseException:
            stream.close()
            raise
        if offset is None or dtype.kind not in "uif":
            stream.close()
            raise StackUnreadableError("the result is laid out in another way", self._path.name)
        _, times, channels = self._facts.sizes_ptc
        sizes = {"T": times, "C": channels, "Z": self.shape_zyx[0]}
        height, width = self.shape_zyx[1:]
        count = height * width * dtype.itemsize

        def plane(z: int) -> Plane:
            place = {"T": at.time, "C": at.channel, "Z": z}
            number = plane_number(self._facts.axes, sizes, place)
            if held is not None:
                number = z - held.first_z
                if not 0 <= number < held.planes:
                    raise ValueError("a plane that is not there")
            data = read_at(stream, offset + number * count, count)
            read = np.frombuffer(data, dtype.newbyteorder(order)).reshape(height, width)
            return read.astype(dtype, copy=False)

        self._plane = plane
