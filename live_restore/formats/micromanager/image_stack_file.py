"""Micro-Manager's "Image stack file": MMStack OME-TIFF, one or more files per position.

The file begins with a header, the summary as JSON, and an index map: records of 20 bytes
(channel, z, time, position, offset of the plane's directory) in space that was reserved for as many
images as fit into 4 GiB. A record is written *before* its image, so it counts only when the
directory and the metadata behind it parse. Everything else is written when the acquisition ends;
the comments' offset in the header is the last of it. Layout: Micro-Manager "Image File Stacks"
documentation, and measured on Micro-Manager 1.4.22, 1.4.23 and 2.0.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from live_restore.errors import (
    StackBusyError,
    StackChangedError,
    StackUnreadableError,
)
from live_restore.files.raw_data import MAX_SUMMARY_JSON, names_in, opened, read_at
from live_restore.files.values import NotJsonError, json_object
from live_restore.formats.acquisition_format import AcquisitionPlan, AcquisitionState
from live_restore.formats.micromanager.found_planes import FoundPlanes
from live_restore.formats.micromanager.metadata import (
    Summary,
    by_channel,
    camera_serial,
    exposure_ms,
    names_by_channel,
    parse_summary,
    plane_metadata,
    z_um,
)
from live_restore.formats.micromanager.plane import (
    NotYetError,
    OverlapError,
    Plane,
    UnusableError,
    dtype_of,
    read_directory,
    read_metadata,
)
from live_restore.formats.own_files import ForeignFiles, begins_with, grouped, is_image, own_group
from live_restore.formats.tiff.tags import ByteOrder, byte_order_of
from live_restore.recording import PlaneMetadata
from live_restore.stack import StackIndex, Volume

NAME = re.compile(r"(?P<prefix>.*)_MMStack(?:_(?P<rest>.*))?\.ome\.tif", re.DOTALL)

METADATA = re.compile(r"(?P<prefix>.*)_MMStack(?:_.*)?_metadata\.txt", re.DOTALL)
ONCE_PER_RUN = frozenset(("DisplaySettings.json", "display_and_comments.txt", "comments.txt"))
"""Micro-Manager 2.0, 1.4, both; nobody copies them along with a single file."""

INDEX_MAP_OFFSET = 54773648
INDEX_MAP = 3453623
SUMMARY = 2355492
COMMENTS_OFFSET = 99384722
HEADER_BYTES = 40
RECORD_BYTES = 20
RECORDS_AT_ONCE = 4096
MAX_PENDING = 256
"""Records without an image that are tried again at each poll; more than one is an accident."""


@dataclass
class _File:
    """One file and how far it has been read."""

    path: Path
    order: ByteOrder = "<"
    records_at: int = 0
    capacity: int = 0
    next_record: int = 0
    pending: list[tuple[int, ...]] = field(default_factory=list)
    finished: bool = False
    done: bool = False


def _prefix(name: str) -> str | None:
    """Return what all image stack files of one acquisition begin with, ``None`` for other files."""
    match = NAME.fullmatch(name)
    return match["prefix"] if match else None


def _companions(names: Collection[str]) -> set[str]:
    """Return the prefixes of the metadata files beside image stack files."""
    return {match["prefix"] for name in names if (match := METADATA.fullmatch(name))}


def is_genuine(path: Path) -> bool:
    """Return whether Micro-Manager has begun this file, or reserved space for it.

    Fiji gives a projection the name of its stack with ``MAX_`` before it.
    """
    return begins_with(path, INDEX_MAP_OFFSET)


def _never(_: str) -> bool:
    return False


class MmStackFormat:
    """Folders of ``*_MMStack*.ome.tif``."""

    name = "mm-stack"

    def recognises(self, folder: Path, names: Collection[str]) -> bool:
        """Return whether there are such files, and nothing makes them doubtful.

        A folder into which people copy single files of several acquisitions is none: other images
        may lie beside the files only where the folder has their name, or holds what Micro-Manager
        writes once per run.
        """
        groups = grouped(names, _prefix)
        own = own_group(folder.name, groups, companions=_companions(names), genuine=_never)
        if own is None:
            return False
        alone = len(groups[own]) == sum(map(is_image, names))
        certain = own == folder.name or not ONCE_PER_RUN.isdisjoint(names)
        return (alone or certain) and any(is_genuine(folder / name) for name in groups[own])

    def goes_on(self, folder: Path, names: Collection[str]) -> bool:  # noqa: ARG002
        """Return whether there is such a file."""
        return any(_prefix(name) is not None for name in names)

    def follow(self, folder: Path) -> MmStackFollower:
        """Return a follower."""
        return MmStackFollower(folder)


class MmStackFollower:
    """Follows one acquisition saved as image stack files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found = FoundPlanes(folder, MmStackFormat.name)
        self._files: dict[str, _File] = {}
        self._prefix: str | None = None
        self._foreign = ForeignFiles(folder)
        self._summary: Summary | None = None
        self._image: dict[str, Any] = {}
        self._exposures: dict[int, float | None] = {}
        self._cameras: dict[int, str] = {}
        self._positions: dict[int, str] = {}
        self._heights: dict[StackIndex, dict[int, float]] = {}
        self._z_step: float | None = None

    def poll(self, *, over: bool = False, plan: AcquisitionPlan | None = None) -> AcquisitionState:
        """Return what is there now."""
        for name in self._names():
            file = self._files.setdefault(name, _File(self._folder / name))
            if file.done:
                continue
            try:
                with opened(file.path) as (stream, size):
                    self._look(file, stream, size)
            except (StackChangedError, StackBusyError):
                continue  # gone since the folder was listed, or locked for a moment
            except StackUnreadableError as error:
                self._found.problems.add(error)
                file.done = file.finished = True
        summary = self._summary or Summary()
        self._found.describe(
            summary,
            summary.voxel(self._image, self._z_step),
            position_names=self._position_names(summary),
            exposure_ms=summary.exposure_ms or by_channel(self._exposures),
            camera_serials=names_by_channel(self._cameras),
        )
        open_files = sum(not file.finished for file in self._files.values())
        ended = bool(self._files) and not open_files
        why = (
            "every file has its comments, which are written last"
            if ended
            else f"{open_files} of {len(self._files)} files are still being written"
        )
        state = self._found.state(plan or summary.plan, over, ended, why)
        return replace(state, foreign=self._foreign.names)

    def read(self, stack_index: StackIndex) -> Volume:
        """Return a stack, (Z, Y, X)."""
        return self._found.read(stack_index)

    def recorded(self, stack_index: StackIndex) -> tuple[PlaneMetadata, ...]:
        """Return how the planes of a stack were recorded."""
        return self._found.recorded(stack_index)

    def _names(self) -> list[str]:
        """Return the acquisition's own image stack files."""
        files, folders = names_in(self._folder)
        groups = grouped(files, _prefix)
        if self._prefix not in (None, self._folder.name) and self._folder.name in groups:
            raise StackChangedError("holds an acquisition of its own name by now", self._folder)
        if groups and self._prefix not in groups:
            self._prefix = own_group(
                self._folder.name,
                groups,
                companions=_companions(files),
                genuine=lambda prefix: any(
                    is_genuine(self._folder / name) for name in groups[prefix]
                ),
            )
            if self._prefix is None:
                raise StackUnreadableError(
                    f"holds image stack files of {len(groups)} acquisitions",
                    self._folder,
                    "put each acquisition into a folder of its own",
                )
        own = groups.get(self._prefix or "", [])
        self._foreign.look((name for name in files if name not in own), folders)
        return own

    def _look(self, file: _File, stream: BinaryIO, size: int) -> None:
        """Read what is new in one file."""
        head = read_at(stream, 0, HEADER_BYTES)
        if len(head) < HEADER_BYTES or not any(head):
            return
        if not file.records_at and not self._begin(file, stream, head, size):
            return
        # Asked before the records are read: what is finished afterwards is looked at once more.
        marker, comments = struct.unpack_from(file.order + "II", head, 24)
        finished = marker == COMMENTS_OFFSET and 0 < comments < size
        file.pending = [each for each in file.pending if not self._take(file, stream, size, each)]
        while len(file.pending) < MAX_PENDING and self._records(file, stream, size):
            pass
        file.finished = finished
        file.done = finished and not file.pending

    def _begin(self, file: _File, stream: BinaryIO, head: bytes, size: int) -> bool:
        """Read the header; return False while it is not whole."""
        if head[:4] not in (b"II*\0", b"MM\0*"):
            raise StackUnreadableError("not a TIFF file", file.path, "leave it out of the folder")
        order = byte_order_of(head)
        marker, map_at = struct.unpack_from(order + "II", head, 8)
        kind, length = struct.unpack_from(order + "II", head, 32)
        if not (marker and map_at and kind and length):
            return False
        if marker != INDEX_MAP_OFFSET:
            raise StackUnreadableError(
                "not an image stack file of Micro-Manager, in spite of its name",
                file.path,
                "give live-restore the file itself, outside of this folder",
            )
        if kind != SUMMARY or length > MAX_SUMMARY_JSON:
            raise StackUnreadableError(
                "its header is damaged", file.path, "copy or export the file again"
            )
        try:
            summary = parse_summary(json_object(read_at(stream, HEADER_BYTES, length)))
        except NotJsonError:
            return False
        marker_and_count = read_at(stream, map_at, 8)
        if len(marker_and_count) < 8 or not any(marker_and_count):
            return False
        marker, capacity = struct.unpack(order + "II", marker_and_count)
        if marker != INDEX_MAP:
            raise StackUnreadableError(
                "its index map is not where its header says",
                file.path,
                "copy or export the file again",
            )
        if self._summary is None:
            self._summary = summary
        file.order, file.records_at = order, map_at + 8
        # At the end the reserved number is replaced by the real one.
        file.capacity = min(capacity, max(0, size - file.records_at) // RECORD_BYTES)
        return True

    def _records(self, file: _File, stream: BinaryIO, size: int) -> bool:
        """Read the next records; return whether there may be more."""
        at = file.records_at + file.next_record * RECORD_BYTES
        most = min(RECORDS_AT_ONCE, file.capacity - file.next_record)
        block = read_at(stream, at, max(0, most) * RECORD_BYTES)
        count = 0
        for record in struct.iter_unpack(
            file.order + "5I", block[: len(block) // RECORD_BYTES * RECORD_BYTES]
        ):
            if record[4] == 0:
                break
            count += 1
            if not self._take(file, stream, size, record):
                file.pending.append(record)
                if len(file.pending) >= MAX_PENDING:
                    break
        file.next_record += count
        return count == RECORDS_AT_ONCE

    def _take(self, file: _File, stream: BinaryIO, size: int, record: tuple[int, ...]) -> bool:
        """Take one plane if it is whole; return False if it is to be tried again."""
        channel, z, time, position, at = record
        try:
            where = read_directory(stream, at, size, file.order)
            metadata = read_metadata(stream, where.metadata_at, where.metadata_bytes)
            dtype = dtype_of(where, where.width, where.height, where.pixels_bytes)
        except NotYetError:
            return False
        except UnusableError as error:
            self._found.problems.add(f"{file.path.name}: {error}")
            return True
        if max(record[:4]) >= 2**31:
            self._found.problems.add(f"{file.path.name}: a record of the index map is damaged")
            return True
        stack_index = StackIndex(position, time, channel)
        plane = Plane(file.path, where.pixels_at, where.height, where.width, dtype, file.order)
        try:
            self._found.add(
                stack_index,
                z,
                plane,
                stream,
                where.metadata_bytes + RECORD_BYTES,
                plane_metadata(metadata),
            )
        except OverlapError as error:
            raise StackUnreadableError(
                str(error), file.path, "copy the acquisition again"
            ) from error
        self._learn(file, stack_index, z, metadata)
        return True

    def _learn(
        self, file: _File, stack_index: StackIndex, z: int, metadata: dict[str, Any]
    ) -> None:
        """Keep what only an image's metadata say."""
        self._image = self._image or {
            key: metadata[key] for key in ("PixelSizeUm", "PixelSize_um") if key in metadata
        }
        exposure = exposure_ms(metadata)
        if exposure is not None and stack_index.channel < 4096:
            self._exposures.setdefault(stack_index.channel, exposure)
        if stack_index.channel < 4096 and stack_index.channel not in self._cameras:
            self._cameras[stack_index.channel] = camera_serial(metadata)
        match = NAME.fullmatch(file.path.name)
        if match and match["rest"] and len(self._positions) < 100_000:
            self._positions.setdefault(stack_index.position, match["rest"])
        height = z_um(metadata)
        if self._z_step is None and height is not None and stack_index == StackIndex(0, 0, 0):
            heights = self._heights.setdefault(stack_index, {})
            if z - 1 in heights and height != heights[z - 1]:
                self._z_step = abs(height - heights[z - 1])
            heights[z] = height

    def _position_names(self, summary: Summary) -> tuple[str, ...]:
        """Return the labels of the position list, or what the files are called after."""
        if summary.position_names or not self._positions:
            return summary.position_names
        highest = min(max(self._positions), 2 * len(self._positions))
        return tuple(self._positions.get(number, "") for number in range(highest + 1))
