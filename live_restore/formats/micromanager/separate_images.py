"""Micro-Manager's "Separate image files": one TIFF per plane, and ``metadata.txt``.

Files lie in the folder of the acquisition, or in one folder per position where there is a position
list. A plane is written under its final name, so it counts when its TIFF is whole: the directory
parses and every byte that it names is there. ``metadata.txt`` is valid JSON only at the end, but
its summary is whole from the first image on; that it ends with both braces says that the
acquisition is over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from live_restore.errors import (
    LiveRestoreError,
    StackBusyError,
    StackChangedError,
    StackUnreadableError,
)
from live_restore.files.raw_data import MAX_SUMMARY_JSON, names_in, opened, read_at
from live_restore.files.values import require_bearable_json
from live_restore.formats.acquisition_format import AcquisitionPlan, AcquisitionState
from live_restore.formats.micromanager.found_planes import FoundPlanes
from live_restore.formats.micromanager.metadata import (
    Summary,
    by_channel,
    camera_serial,
    exposure_ms,
    names_by_channel,
    parse_summary,
    pixel_size_um,
    z_um,
)
from live_restore.formats.micromanager.plane import Plane, UnusableError, dtype_of
from live_restore.formats.own_files import ForeignFiles
from live_restore.formats.tiff.structure import walk
from live_restore.stack import StackIndex, Volume

METADATA = "metadata.txt"

_NEW = re.compile(
    r"img_channel(?P<channel>\d{1,9})_position(?P<position>\d{1,9})"
    r"_time(?P<time>\d{1,9})_z(?P<z>\d{1,9})\.tiff?"
)
"""Micro-Manager 2."""
_OLD = re.compile(r"img_(?P<time>\d{9})_(?P<name>.*)_(?P<z>\d{3,9})\.tiff?", re.DOTALL)
"""Micro-Manager 1.4: the channel by its name."""

_SUMMARY_KEY = re.compile(r'\s*\{\s*"Summary"\s*:\s*')
_NEXT_KEY = re.compile(r'\s*,\s*"(?P<key>[^"\\]{1,1000})"\s*:\s*')
_END = re.compile(rb"\n\}\s*\n\}\s*\Z")
"""The last image's brace and the file's own, both at the start of a line."""

_FORBIDDEN = frozenset("/\\*!'\":;,?<>|^")
"""Characters of labels that Micro-Manager, or a file system, does not have in names."""

HEAD_BYTES = 2**20
MAX_POSITIONS_ASKED = 64
MAX_FIRST_IMAGES = 64
"""Images whose metadata are looked at: enough for pixel size, z step and exposures."""


@dataclass
class _Folder:
    """One position's folder (or the only one)."""

    path: Path
    label: str
    number: int | None = None
    seen: set[str] = field(default_factory=set)
    metadata: bool = False
    ended: bool = False


class MmSeriesFormat:
    """Folders of ``img_*.tif`` with ``metadata.txt``, or of such folders."""

    name = "mm-series"

    def recognises(self, folder: Path, names: Collection[str]) -> bool:
        """Return whether it is such a folder.

        Acquisitions beside each other look like the positions of one. What tells them apart is the
        position list in their summaries, so the beginning of one ``metadata.txt`` is read there.
        """
        try:
            if METADATA in names:
                head = _read_head(folder / METADATA)
                return bool(head) and not _is_position(folder.name, head)
            return _first_position(folder, names) is not None
        except (LiveRestoreError, OSError):
            return False  # not there, or not just now; the next scan asks again

    def goes_on(self, folder: Path, names: Collection[str]) -> bool:
        """Return whether there is ``metadata.txt``, here or for a position."""
        return METADATA in names or self.recognises(folder, names)

    def follow(self, folder: Path) -> MmSeriesFollower:
        """Return a follower."""
        return MmSeriesFollower(folder)


def _read_head(path: Path) -> str:
    with opened(path) as (stream, _):
        return read_at(stream, 0, HEAD_BYTES).decode(errors="replace")


def _summary_in(head: str) -> tuple[dict[str, Any] | None, int]:
    """Return the summary at the beginning of ``metadata.txt``, and where it ends."""
    match = _SUMMARY_KEY.match(head)
    if match is None:
        return None, 0
    return _value(head, match.end())


def _value(head: str, at: int) -> tuple[dict[str, Any] | None, int]:
    try:
        value, end = json.JSONDecoder().raw_decode(head, at)
        require_bearable_json(head[at:end])
    except (ValueError, RecursionError):
        return None, at
    return (value, end) if isinstance(value, dict) else (None, at)


def _is_position(name: str, head: str) -> bool:
    """Return whether a folder of this name holds one position of the acquisition in its parent."""
    raw, end = _summary_in(head)
    if raw is None:
        return False
    # Characters that no file name may have are replaced in the folder's name.
    return (
        any(_named_after(name, label) for label in parse_summary(raw).position_names)
        or f'"Coords-{name}/' in head[end : end + 2000]
    )


def _named_after(name: str, label: str) -> bool:
    """Return whether a folder has the name of a position, forbidden characters replaced.

    >>> _named_after("A_1", "A/1"), _named_after("Pos0 - Copy", "Pos0")
    (True, False)
    """
    return len(name) == len(label) and all(
        n == c or c in _FORBIDDEN for n, c in zip(name, label, strict=True)
    )


def _first_position(folder: Path, names: Collection[str]) -> str | None:
    """Return the name of a folder in ``folder`` that holds a position of it, ``None`` for none."""
    inner = (n for n in names if not n.lower().endswith((".tif", ".txt", ".json")))
    for name in islice(inner, MAX_POSITIONS_ASKED):
        if (folder / name / METADATA).is_file() and _is_position(
            name, _read_head(folder / name / METADATA)
        ):
            return name
    return None


class MmSeriesFollower:
    """Follows one acquisition saved as separate image files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found = FoundPlanes(folder, MmSeriesFormat.name)
        self._folders: dict[str, _Folder] = {}
        self._foreign = ForeignFiles(folder)
        self._summary: Summary | None = None
        self._image: dict[str, Any] = {}
        self._exposures: dict[int, float | None] = {}
        self._cameras: dict[int, str] = {}
        self._channels: dict[str, int] = {}
        self._z_step: float | None = None

    def poll(self, *, over: bool = False, plan: AcquisitionPlan | None = None) -> AcquisitionState:
        """Return what is there now."""
        self._find_folders()
        known = len(self._folders)
        for folder in self._folders.values():
            try:
                # In this order: whatever was written before the end is seen with the end.
                self._read_metadata(folder)
                self._take_new(folder, names_in(folder.path)[0])
            except StackChangedError:
                continue  # a position's folder was removed; the others go on
        self._find_folders()
        summary = self._summary or Summary()
        self._found.describe(
            summary,
            summary.voxel(self._image, self._z_step),
            position_names=summary.position_names or self._position_names(),
            channel_names=summary.channel_names or tuple(self._channels),
            exposure_ms=summary.exposure_ms or by_channel(self._exposures),
            camera_serials=names_by_channel(self._cameras),
        )
        ended: bool | None = None
        why = f"there is no {METADATA}"
        if any(folder.metadata for folder in self._folders.values()):
            ended = all(folder.ended for folder in self._folders.values())
            ended = ended and known == len(self._folders)
            why = f"{METADATA} {'is closed by its last brace' if ended else 'is still open'}"
        state = self._found.state(plan or summary.plan, over, ended, why)
        return replace(state, foreign=self._foreign.names)

    def read(self, stack_index: StackIndex) -> Volume:
        """Return a stack, (Z, Y, X)."""
        return self._found.read(stack_index)

    def _find_folders(self) -> None:
        """Find the folders of positions; or it is the acquisition's own that holds the planes."""
        if "" in self._folders:
            return
        files, folders = names_in(self._folder)
        if not self._folders and not self._has_position(folders):
            if METADATA in files or any(_plane_name(name) for name in files):
                self._folders[""] = _Folder(self._folder, "")
                self._foreign.look((), folders)
            return
        for name in folders:
            if name not in self._folders and self._is_its_position(name):
                self._folders[name] = _Folder(self._folder / name, name)
        self._foreign.look(files, (name for name in folders if name not in self._folders))

    def _has_position(self, folders: list[str]) -> bool:
        try:
            return _first_position(self._folder, folders) is not None
        except (LiveRestoreError, OSError):
            return False

    def _is_its_position(self, name: str) -> bool:
        """Return whether a folder is a position of this acquisition, and no copy of one."""
        path = self._folder / name / METADATA
        try:
            return path.is_file() and _is_position(name, _read_head(path))
        except (LiveRestoreError, OSError):
            return False  # not there, or not just now

    # metadata.txt ---------------------------------------------------------------------------------

    def _read_metadata(self, folder: _Folder) -> None:
        try:
            with opened(folder.path / METADATA) as (stream, size):
                folder.metadata = True
                if not folder.ended:
                    tail = read_at(stream, max(0, size - 64), 64)
                    folder.ended = _END.search(tail) is not None
                if self._summary is None or not self._image:
                    head = read_at(stream, 0, min(size, MAX_SUMMARY_JSON))
                    self._learn(head.decode(errors="replace"))
        except (StackChangedError, StackBusyError):
            return  # not made yet, or locked for a moment

    def _learn(self, head: str) -> None:
        """Take the summary, and what the first images say."""
        raw, at = _summary_in(head)
        if raw is None:
            return
        if self._summary is None:
            self._summary = parse_summary(raw)
            self._channels = {name: n for n, name in enumerate(self._summary.channel_names)}
        heights: dict[int, float] = {}
        for _ in range(2 * MAX_FIRST_IMAGES):
            key = _NEXT_KEY.match(head, at)
            if key is None:
                return
            image, at = _value(head, key.end())
            if image is None:
                return
            if pixel_size_um(image):
                self._image = self._image or {"PixelSizeUm": pixel_size_um(image)}
            channel, z = image.get("ChannelIndex"), image.get("SliceIndex")
            exposure, height = exposure_ms(image), z_um(image)
            if isinstance(channel, int) and 0 <= channel < 4096 and exposure is not None:
                self._exposures.setdefault(channel, exposure)
            if isinstance(channel, int) and 0 <= channel < 4096 and channel not in self._cameras:
                self._cameras[channel] = camera_serial(image)
            if channel == 0 and isinstance(z, int) and height is not None:
                if heights.get(z - 1, height) != height and self._z_step is None:
                    self._z_step = abs(height - heights[z - 1])
                heights[z] = height

    def _position_names(self) -> tuple[str, ...]:
        return tuple(f.label for f in self._folders.values() if f.label)

    # Planes ---------------------------------------------------------------------------------------

    def _take_new(self, folder: _Folder, names: list[str]) -> None:
        for name in names:
            if name in folder.seen:
                continue
            where = self._stack_index(folder, name)
            if where is not None:
                try:
                    taken = self._take(folder.path / name, *where)
                except (StackChangedError, StackBusyError):
                    continue  # gone since the folder was listed, or locked for a moment
                except (StackUnreadableError, UnusableError) as error:
                    self._found.problems.add(f"{name}: {getattr(error, 'what', error)}")
                    taken = True
                if not taken:
                    continue
            elif not folder.label:
                self._foreign.look([name])
            folder.seen.add(name)

    def _stack_index(self, folder: _Folder, name: str) -> tuple[StackIndex, int] | None:
        """Return which plane a file of this name is, ``None`` for other files."""
        new = _NEW.fullmatch(name)
        if new:
            stack_index = StackIndex(int(new["position"]), int(new["time"]), int(new["channel"]))
            return stack_index, int(new["z"])
        old = _OLD.fullmatch(name)
        if not old:
            return None
        if folder.number is None:
            labels = self._summary.position_names if self._summary else ()
            among = list(self._folders).index(folder.label)
            folder.number = labels.index(folder.label) if folder.label in labels else among
        channel = self._channels.setdefault(old["name"], len(self._channels))
        return StackIndex(folder.number, int(old["time"]), channel), int(old["z"])

    def _take(self, path: Path, stack_index: StackIndex, z: int) -> bool:
        """Take one plane if its file is whole; return False if it is to be tried again."""
        with opened(path) as (stream, size):
            structure = walk(stream, size, path)
            if structure.missing or len(structure.pages) != 1:
                if len(structure.pages) > 1:
                    raise UnusableError(f"holds {len(structure.pages)} images instead of one")
                return False
            page = structure.pages[0]
            if not page.contiguous:
                raise UnusableError("is compressed or in tiles, unlike Micro-Manager's own files")
            if page.samples != 1:
                raise UnusableError("is in colour (RGB); record single channels")
            dtype = dtype_of(None, page.width, page.height, page.plane_bytes)
            plane = Plane(
                path, page.offsets[0], page.height, page.width, dtype, structure.byte_order
            )
            self._found.add(stack_index, z, plane, stream)
        return True


def _plane_name(name: str) -> bool:
    return _NEW.fullmatch(name) is not None or _OLD.fullmatch(name) is not None
