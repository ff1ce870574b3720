"""Follows a folder of one TIFF per plane."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import numpy as np

from live_restore.errors import StackBusyError, StackChangedError, StackUnreadableError
from live_restore.files.raw_data import names_in, new_volume, opened
from live_restore.formats.acquisition_format import (
    AcquisitionInfo,
    AcquisitionPlan,
    AcquisitionState,
)
from live_restore.formats.own_files import ForeignFiles
from live_restore.formats.plane_files.completeness import PlaneLedger
from live_restore.formats.plane_files.header import voxel_of_plane
from live_restore.formats.plane_files.patterns import PlaneName
from live_restore.formats.planes import Problems, require_pixels, require_whole
from live_restore.formats.tiff.blank import is_blank_plane
from live_restore.formats.tiff.decode import COMPRESSIONS, DecodeError, dtype_name, read_plane
from live_restore.formats.tiff.page import Page, Structure
from live_restore.formats.tiff.palette import is_of_greys
from live_restore.formats.tiff.reader import require_finite
from live_restore.formats.tiff.structure import walk
from live_restore.formats.tiff.tags import PALETTE
from live_restore.stack import DTYPES, StackIndex, Volume

MAX_CHANNEL, MAX_POSITION, MAX_TIME, MAX_Z = 4095, 1_999_999, 9_999_999, 999_999
_STEPS = ("timepoint_", "zstep_")
_RUNS_NAMED = 3


class _UnusableError(Exception):
    """The file is there and of no use; the message says why."""


class _DamagedError(_UnusableError):
    """It would have been of use."""


class _BesideError(_UnusableError):
    """It is no plane of a stack, whatever its name says."""


@dataclass(frozen=True)
class _Grey:
    """What all planes of an acquisition have in common."""

    shape_yx: tuple[int, int]
    dtype: np.dtype[np.generic]


class PlaneFilesFollower:
    """Follows one folder.

    Large because one walk tells planes, names, runs, doubles and what is foreign, file by file.

    Parameters
    ----------
    folder
        The folder.
    format_name
        For the information on it.
    plane_name
        What the parts of a path within the folder say.
    """

    def __init__(
        self,
        folder: Path,
        format_name: str,
        plane_name: Callable[[tuple[str, ...]], PlaneName | None],
    ) -> None:
        self._folder = folder
        self._plane_name = plane_name
        self._done: dict[tuple[str, ...], bool] = {}
        self._files: dict[StackIndex, dict[int, Path]] = {}
        self._doubles: dict[StackIndex, list[int]] = {}
        self._run_of: dict[tuple[str, ...], str] = {}
        self._several = False
        self._position_names: dict[int, str] = {}
        self._ledger = PlaneLedger()
        self._problems = Problems()
        self._grey: _Grey | None = None
        self._info = AcquisitionInfo(folder.name, format_name)
        self._state: AcquisitionState | None = None
        self._foreign = ForeignFiles(folder)

    def poll(self, *, over: bool = False, plan: AcquisitionPlan | None = None) -> AcquisitionState:
        """Return what is there now; a script's ``plan`` says nothing about other programs' files.

        Raises
        ------
        StackUnreadableError
            Planes of several runs lie in it.
        StackChangedError
            They did, and all have been moved away.
        """
        del plan
        there: set[tuple[str, ...]] = set()
        dated: list[tuple[int, tuple[str, ...], PlaneName]] = []
        for parts in self._paths():
            there.add(parts)
            if self._done.get(parts):
                continue
            named = self._plane_name(parts)
            if named is None:
                self._pass_by(parts)
                continue
            if parts not in self._done:
                self._run_of[parts] = named.run
                self._done[parts] = False
            with suppress(OSError):  # gone since the folder was listed
                status = self._folder.joinpath(*parts).lstat()
                dated.append((status.st_mtime_ns, parts, named))
        run = self._only_run(there)
        # As they were written: a follower that starts anew comes to the same.
        for written_ns, parts, named in sorted(dated):
            if named.run == run:
                self._take_file(parts, named, written_ns)
            elif run is not None:
                self._pass_by(parts)
        evidence = self._ledger.evidence(over=over)
        self._state = AcquisitionState(
            self._info,
            MappingProxyType(evidence),
            None,
            "files of one plane each have no end marker",
            self._problems.lines,
            self._ledger.pause_s,
            self._foreign.names,
        )
        return self._state

    def read(self, stack_index: StackIndex) -> Volume:
        """Return the planes that are present, (Z, Y, X)."""
        stacks = self._state.stacks if self._state else {}
        indices = require_whole(stack_index, stacks.get(stack_index), self._folder)
        assert self._grey is not None
        shape = (len(indices), *self._grey.shape_yx)
        volume = new_volume(shape, self._grey.dtype, self._folder)
        for number, z in enumerate(indices):
            path = self._files[stack_index][z]
            with _one_plane(path) as (stream, structure, page):
                if _grey_of(structure, page) != self._grey:
                    raise StackChangedError("is another image by now", path, "look at the folder")
                try:
                    volume[number] = read_plane(
                        stream, page, structure.byte_order, self._grey.dtype
                    )
                except DecodeError as error:
                    raise StackUnreadableError(
                        f"is damaged ({error})", path, "copy or export it again"
                    ) from error
        require_pixels(stack_index, volume, self._folder)
        require_finite(volume, stack_index, self._folder)
        return volume

    # Finding --------------------------------------------------------------------------------------

    def _paths(self) -> Iterator[tuple[str, ...]]:
        """Yield the parts of the path of every file that may be a plane."""
        pending: list[tuple[str, ...]] = [()]
        while pending:
            parts = pending.pop()
            try:
                files, folders = names_in(self._folder.joinpath(*parts))
            except StackChangedError:
                if not parts:
                    raise
                continue  # a time point's folder was removed; the others go on
            yield from ((*parts, name) for name in files)
            if len(parts) < len(_STEPS):
                inner = [name for name in folders if name.lower().startswith(_STEPS)]
                pending += [(*parts, name) for name in inner]

    def _only_run(self, there: Set[tuple[str, ...]]) -> str | None:
        """Return the name of the run whose planes are there, ``None`` before its second file.

        One file of another is what people save beside it.

        Raises
        ------
        StackUnreadableError
            There are several.
        StackChangedError
            There were, and nothing of them is left.
        """
        if self._several:  # a person may have moved files away since
            self._run_of = {parts: run for parts, run in self._run_of.items() if parts in there}
            if not self._run_of:
                raise StackChangedError("holds no planes any more", self._folder)
        runs = Counter(self._run_of.values())
        several = [run for run, files in runs.items() if files > 1]
        self._several = len(several) > 1
        if self._several:
            first = {run: parts[-1] for parts, run in reversed(self._run_of.items())}
            shown = ", ".join(f"{first[run]} ..." for run in several[:_RUNS_NAMED])
            more = len(several) - _RUNS_NAMED
            raise StackUnreadableError(
                f"holds planes of {len(several)} runs ({shown}"
                f"{f' and {more} more' if more > 0 else ''})",
                self._folder,
                f"make {len(several)} folders in it and move the files of each run into one: "
                "each is then restored as an acquisition of its own",
            )
        return several[0] if several else None

    def _pass_by(self, parts: tuple[str, ...]) -> None:
        name = parts[-1].lower()
        self._done[parts] = True
        if name[0] != "." and "_thumb" not in name:
            self._foreign.look(["/".join(parts)])

    def _take_file(self, parts: tuple[str, ...], named: PlaneName, written_ns: int) -> None:
        try:
            taken = self._take(self._folder.joinpath(*parts), named, written_ns)
        except (StackChangedError, StackBusyError):
            return  # gone since the folder was listed, or locked for a moment
        except (StackUnreadableError, _UnusableError) as error:
            what = f"{'/'.join(parts)}: {getattr(error, 'what', error)}"
            self._problems.add(what)
            if not isinstance(error, _BesideError):
                damaged = isinstance(error, StackUnreadableError | _DamagedError)
                self._ledger.fault(named.stack_index, named.z, what, damaged=damaged)
            taken = True
        self._done[parts] = taken

    def _take(self, path: Path, named: PlaneName, written_ns: int) -> bool:
        """Take one plane if its file is whole; return False if it is to be tried again."""
        index, z = named.stack_index, named.z
        highest = max(
            index.position - MAX_POSITION, index.time - MAX_TIME, index.channel - MAX_CHANNEL
        )
        if highest > 0 or z > MAX_Z:
            raise _BesideError("is left out: no acquisition has so many")
        with opened(path) as (stream, size):
            structure = walk(stream, size, path)
            if structure.missing:
                what = f"{path.name} is damaged or was not written to its end"
                self._ledger.fault(index, z, what, damaged=True)
                return False
            page = _only_page(structure)
            grey = _grey_of(structure, page)
            if self._grey not in (None, grey):
                raise _UnusableError("is left out: its size or type is not that of the others")
            other = self._files.get(index, {}).get(z)
            if other is not None:
                self._doubled(index, z)
                raise _BesideError(f"is left out: {other.name} is the same plane by its name")
            try:
                blank = is_blank_plane(stream, page, structure.byte_order, grey.dtype)
            except DecodeError as error:
                raise _DamagedError(f"is damaged ({error})") from error
        if self._grey is None:
            self._describe(structure, grey, path)
        self._files.setdefault(index, {})[z] = path
        self._name_position(named)
        self._ledger.add(index, z, written_ns, blank=blank)
        return True

    def _doubled(self, index: StackIndex, z: int) -> None:
        """Record a plane that two files claim: one is a copy, more are another acquisition."""
        self._doubles.setdefault(index, []).append(z)
        if len(self._doubles[index]) > 1:
            for each in self._doubles[index]:
                self._ledger.refuse(index, each)

    # Describing -----------------------------------------------------------------------------------

    def _describe(self, structure: Structure, grey: _Grey, path: Path) -> None:
        self._grey = grey
        voxel = voxel_of_plane(structure, path)
        self._info = replace(self._info, dtype=grey.dtype, shape_yx=grey.shape_yx, voxel=voxel)

    def _name_position(self, named: PlaneName) -> None:
        position = named.stack_index.position
        if not named.position_name or position in self._position_names:
            return
        self._position_names[position] = named.position_name
        highest = max(self._position_names)
        names = [""] * (highest + 1)
        for number, name in self._position_names.items():
            names[number] = name
        self._info = replace(self._info, position_names=tuple(names))


def _only_page(structure: Structure) -> Page:
    pages = structure.series_pages
    if len(pages) != 1:
        raise _UnusableError(f"holds {len(pages)} images instead of one plane")
    return pages[0]


def _grey_of(structure: Structure, page: Page) -> _Grey:
    kind = dtype_name(page)
    palette = page.photometric == PALETTE and not is_of_greys(structure.colour_table)
    if page.samples != 1 or palette:
        raise _UnusableError("is in colour (RGB or palette); save the camera's grey values")
    if kind not in DTYPES:
        raise _UnusableError(f"has {kind} pixels; only {', '.join(DTYPES)} are restored")
    if page.compression not in COMPRESSIONS:
        raise _UnusableError(f"has TIFF compression {page.compression}, which is not read")
    return _Grey((page.height, page.width), np.dtype(kind))


@contextmanager
def _one_plane(path: Path) -> Iterator[tuple[BinaryIO, Structure, Page]]:
    """Open a file that held one plane when it was found; raises ``StackChangedError`` if not so."""
    with opened(path, buffered=True) as (stream, size):
        structure = walk(stream, size, path)
        if structure.missing or len(structure.series_pages) != 1:
            raise StackChangedError("is another file by now", path, "look at the folder")
        try:
            _grey_of(structure, structure.series_pages[0])
        except _UnusableError as error:
            raise StackChangedError("is another image by now", path) from error
        yield stream, structure, structure.series_pages[0]
