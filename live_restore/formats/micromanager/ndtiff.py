"""NDTiff: Micro-Manager's and pycromanager's, live and finished, versions 2 and 3.

An acquisition is ``NDTiff.index`` and one or more TIFF files that were reserved at 4 GiB, so that
sizes say nothing. Micro-Manager writes an index entry, unbuffered, after each image. The Python
writer never flushes its index (it was seen 41 images late, and its end is lost with the process),
but keeps each image's axes in the image's metadata, which are written last: there the chain of
directories is followed past the end of the index. Layout: NDTiff specification, and measured on
versions 3.0 to 3.3 of both writers.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
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
from live_restore.formats.axes import AxisError, AxisLabels
from live_restore.formats.micromanager.found_planes import FoundPlanes
from live_restore.formats.micromanager.image_facts import ImageFacts
from live_restore.formats.micromanager.metadata import Summary, parse_summary
from live_restore.formats.micromanager.ndtiff_files import (
    FULL_RESOLUTION,
    INDEX,
    MAGIC,
    NAME,
    SUMMARY,
    Entry,
    file_number,
    indexed_stems,
    is_genuine,
    parse_index,
    stem_of,
    stems_in,
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
from live_restore.formats.own_files import ForeignFiles, grouped, is_image, own_group
from live_restore.formats.planes import MAX_PROBLEMS
from live_restore.formats.tiff.tags import ByteOrder, byte_order_of
from live_restore.stack import StackIndex, Volume

INDEX_AT_ONCE = 4 * 2**20
METADATA_TAIL = 64
ALIGNMENT = 8
"""Bytes at most between the end of the last image and the end of a closed file."""


@dataclass
class _File:
    """One TIFF file and how far its chain of directories has been followed."""

    path: Path
    order: ByteOrder = "<"
    begun: bool = False
    next_at: int = 0
    closed: bool = False
    unplaced: bool = False
    known: set[int] = field(default_factory=set)
    end: int = 0


class NdTiffFormat:
    """Folders with ``NDTiff.index`` and ``*NDTiffStack*.tif``."""

    name = "ndtiff"

    def recognises(self, folder: Path, names: Collection[str]) -> bool:
        """Return whether there is an index; or such files, and nothing makes them doubtful.

        Where there is no index, other images may lie beside the files only where the folder has
        their name.
        """
        if FULL_RESOLUTION in names or INDEX in names:
            return True
        groups = grouped(names, stem_of)
        own = [each for stem, each in groups.items() if stem in stems_in(folder.name)]
        if sum(map(len, groups.values())) == sum(map(is_image, names)):
            own = list(groups.values())
        return any(is_genuine(folder / name) for each in own for name in each)

    def goes_on(self, folder: Path, names: Collection[str]) -> bool:  # noqa: ARG002
        """Return whether there is an index or such a file."""
        return not {FULL_RESOLUTION, INDEX}.isdisjoint(names) or bool(grouped(names, stem_of))

    def follow(self, folder: Path) -> NdTiffFollower:
        """Return a follower."""
        return NdTiffFollower(folder)


class NdTiffFollower:
    """Follows one acquisition saved as NDTiff."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found = FoundPlanes(folder, NdTiffFormat.name)
        self._facts = ImageFacts()
        self._labels = AxisLabels()
        self._files: dict[str, _File] = {}
        self._summary: Summary | None = None
        self._index_at = 0
        self._index_broken = False
        self._indexed = False
        self._own: str | None = None
        self._foreign = ForeignFiles(folder)

    def poll(self, *, over: bool = False, plan: AcquisitionPlan | None = None) -> AcquisitionState:
        """Return what is there now."""
        folder, names = self._list()
        for name in names:
            self._files.setdefault(name, _File(folder / name))
        self._indexed = INDEX in names_in(folder)[0]
        if self._indexed:
            self._read_index(folder / INDEX)
        for name in names:
            file = self._files[name]
            if not file.closed:
                self._follow(file)
        summary = self._summary or Summary()
        self._found.describe(
            summary,
            summary.voxel(self._facts.image, self._facts.z_step_um),
            channel_names=(
                self._labels.channel_names or summary.channel_names or self._facts.channel_names
            ),
            position_names=self._labels.position_names or summary.position_names,
            exposure_ms=summary.exposure_ms or self._facts.exposures,
            camera_serials=self._facts.camera_serials,
        )
        ended = bool(names) and all(self._files[name].closed for name in names)
        ended = ended and self._found.any
        why = (
            "the chain of directories ends and the reserved space is cut off"
            if ended
            else "the last file still has reserved space"
        )
        state = self._found.state(plan or summary.plan, over, ended, why)
        return replace(state, foreign=self._foreign.names, unusable=self._unusable(names))

    def _unusable(self, names: list[str]) -> dict[str, str]:
        """Return what holds images that nothing places, and what is named and not there."""
        if not names:
            return {INDEX: "the TIFF files that belong to it are not there"}
        if self._indexed and not self._index_broken:
            return {}
        state = "is damaged" if self._indexed else "is not there"
        return {
            name: f"holds images, and {INDEX}, which says where they belong, {state}"
            for name in names[:MAX_PROBLEMS]
            if self._files[name].unplaced
        }

    def read(self, stack_index: StackIndex) -> Volume:
        """Return a stack, (Z, Y, X)."""
        return self._found.read(stack_index)

    def _list(self) -> tuple[Path, list[str]]:
        """Return the folder of the images and its TIFF files, in the order of their writing."""
        folder = self._folder
        files, folders = names_in(folder)
        if INDEX not in files and FULL_RESOLUTION in folders:
            folder = folder / FULL_RESOLUTION
            files, _ = names_in(folder)
        groups = grouped(files, stem_of)
        named = next((stem for stem in stems_in(self._folder.name) if stem in groups), None)
        if self._own is not None and named not in (None, self._own):
            raise StackChangedError("holds an acquisition of its own name by now", self._folder)
        if groups and self._own not in groups:
            self._own = named or self._own_stem(folder, groups)
        own = groups.get(self._own or "", [])
        self._foreign.look(name for name in files if name not in own)
        if folder == self._folder:
            self._foreign.look((), folders)
        return folder, sorted(own, key=file_number)

    def _own_stem(self, folder: Path, groups: Mapping[str, list[str]]) -> str:
        """Return what its own files begin with, where the folder's name does not tell."""
        own = own_group(
            "",
            groups,
            companions=indexed_stems(folder / INDEX),
            genuine=lambda stem: any(is_genuine(folder / name) for name in groups[stem]),
        )
        if own is None:
            raise StackUnreadableError(
                "holds NDTiff files of several acquisitions",
                folder,
                "put each acquisition into a folder of its own",
            )
        return own

    # The index ----------------------------------------------------------------------------------

    def _read_index(self, path: Path) -> None:
        """Take the images of new index entries."""
        if self._index_broken:
            return
        try:
            with opened(path) as (stream, _):
                while True:
                    data = read_at(stream, self._index_at, INDEX_AT_ONCE)
                    used = self._entries(data)
                    self._index_at += used
                    if used == 0 or len(data) < INDEX_AT_ONCE:
                        return
        except (StackChangedError, StackBusyError):
            return  # gone since the folder was listed, or locked for a moment
        except UnusableError as error:
            self._index_broken = True
            self._found.problems.add(f"{INDEX}: {error}; following the TIFF files alone")

    def _entries(self, data: bytes) -> int:
        """Take entries; return how many bytes are done with."""
        used = last = 0
        by_file: dict[str, list[tuple[int, Entry]]] = {}
        damage: UnusableError | None = None
        try:
            for start, entry, behind in parse_index(data):
                by_file.setdefault(entry.file, []).append((start, entry))
                last, used = start, behind
        except UnusableError as error:
            damage = error  # what stands before it is good
        for name, entries in by_file.items():
            file = self._files.get(name)
            if file is None:
                # Only names that the folder's own listing gave are ever opened.
                known_later = NAME.fullmatch(name) and "/" not in name and "\\" not in name
                if known_later or entries[0][0] == last:
                    return entries[0][0]  # listed before it was made, or half written
                self._found.problems.add(f"{INDEX}: names a file that is not there: {name[:80]}")
                continue
            try:
                with opened(file.path) as (stream, size):
                    for start, entry in entries:
                        try:
                            if not self._take_entry(file, stream, size, entry):
                                return start
                        except OverlapError:
                            raise
                        except (NotJsonError, UnusableError, AxisError) as error:
                            if start == last:
                                return start  # it may be half written
                            self._found.problems.add(f"{INDEX}: {error}")
            except (StackChangedError, StackBusyError):
                return entries[0][0]
        if damage is not None:
            raise damage
        return used

    def _take_entry(self, file: _File, stream: BinaryIO, size: int, entry: Entry) -> bool:
        """Take an image that the index names; return False while it is not there.

        Raises
        ------
        NotJsonError, UnusableError, AxisError
            The entry is half written, or of no use.
        """
        if entry.pixels_at in file.known:
            return True
        if entry.metadata_at + entry.metadata_bytes > size:
            return False
        axes = json_object(entry.axes)
        if entry.compression or entry.metadata_compression:
            raise UnusableError("its images are compressed")
        if entry.pixel_type == 2:
            raise UnusableError("its images are in colour (RGB); record single channels")
        # Pixels end where the metadata begin, whatever depth the writer believed in.
        stored = entry.metadata_at - entry.pixels_at
        dtype = dtype_of(None, entry.width, entry.height, stored)
        tail = min(entry.metadata_bytes, METADATA_TAIL)
        end = read_at(stream, entry.metadata_at + entry.metadata_bytes - tail, tail)
        if not end.rstrip(b"\0 \r\n").endswith(b"}"):
            return False
        order = file.order
        plane = Plane(file.path, entry.pixels_at, entry.height, entry.width, dtype, order)
        try:
            self._keep(file, stream, plane, axes, (entry.metadata_at, entry.metadata_bytes))
        except NotYetError:
            return False
        return True

    # The chain of directories ---------------------------------------------------------------------

    def _follow(self, file: _File) -> None:
        """Take the images that the index does not name yet."""
        try:
            with opened(file.path) as (stream, size):
                if not file.begun and not self._begin(file, stream):
                    return
                while self._next(file, stream, size):
                    pass
                if file.next_at == 0 and file.end:
                    file.closed = size <= file.end + ALIGNMENT
        except (StackChangedError, StackBusyError):
            return  # gone since the folder was listed, or locked for a moment
        except UnusableError as error:
            file.closed = True
            self._found.problems.add(f"{file.path.name}: {error}")

    def _begin(self, file: _File, stream: BinaryIO) -> bool:
        """Read the header; return False while it is not whole."""
        head = read_at(stream, 0, 28)
        if len(head) < 28 or not any(head):
            return False
        if head[:4] not in (b"II*\0", b"MM\0*"):
            raise UnusableError("not a TIFF file")
        file.order = byte_order_of(head)
        first, magic, major = struct.unpack_from(file.order + "III", head, 4)
        # Version 3 put a minor version in between.
        at = 16 if major < 3 else 20
        kind, length = struct.unpack_from(file.order + "II", head, at)
        if magic != MAGIC:
            raise UnusableError("not NDTiff of version 2 or 3, in spite of its name")
        if kind != SUMMARY or length > MAX_SUMMARY_JSON:
            raise UnusableError("its header is damaged")
        try:
            summary = parse_summary(json_object(read_at(stream, at + 8, length)))
        except NotJsonError:
            return False
        self._summary = self._summary or summary
        file.next_at, file.begun = first, True
        return True

    def _next(self, file: _File, stream: BinaryIO, size: int) -> bool:
        """Follow the chain by one directory; return False where it ends for now."""
        at, file.unplaced = file.next_at, False
        if at == 0:
            return False
        try:
            where = read_directory(stream, at, size, file.order)
            dtype = dtype_of(where, where.width, where.height, where.pixels_bytes)
            if where.pixels_at not in file.known:
                metadata = read_metadata(stream, where.metadata_at, where.metadata_bytes)
                axes = metadata.get("Axes")
                if not isinstance(axes, dict):
                    file.unplaced = True
                    return False  # Micro-Manager's: the index will tell
                order = file.order
                plane = Plane(file.path, where.pixels_at, where.height, where.width, dtype, order)
                self._keep(file, stream, plane, axes, metadata)
        except NotYetError:
            return False
        except AxisError as error:
            self._found.problems.add(f"{file.path.name}: {error}")
        file.end = max(file.end, where.metadata_at + where.metadata_bytes)
        # Checked at each look, as the last image's pointer is set to 0 when the file is closed.
        if where.following and where.following <= at:
            raise UnusableError("its directories form a loop")
        if where.following:
            following = read_at(stream, where.following, 2)
            if len(following) < 2 or following == b"\0\0":
                return False
        file.next_at = where.following
        return bool(where.following)

    def _keep(
        self,
        file: _File,
        stream: BinaryIO,
        plane: Plane,
        axes: Mapping[str, Any],
        metadata: tuple[int, int] | Mapping[str, Any],
    ) -> None:
        """Take a plane; ``metadata`` are its image's, or where they lie and how long they are."""
        stack_index, z = self._labels.stack_index(axes)
        beside = 0
        if isinstance(metadata, tuple):
            beside = metadata[1]
            metadata = read_metadata(stream, *metadata) if self._facts.wants(stack_index) else {}
        file.known.add(plane.at)
        self._found.add(stack_index, z, plane, stream, beside)
        self._facts.learn(stack_index, z, metadata)
