"""Acquisitions of one TIFF per plane, grouped into stacks by the names of their files.

Nothing says how many planes there will be. A stack is complete when a later one has begun and it
reaches from the lowest to the highest z of its channel; or when nothing arrives any more and it has
as many planes as the largest of its channel. Planes that arrive out of order (a copy of a folder)
leave quiet as the only evidence.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from itertools import islice
from pathlib import Path

from live_restore.errors import LiveRestoreError
from live_restore.files.raw_data import names_in, opened
from live_restore.formats.plane_files.follower import PlaneFilesFollower
from live_restore.formats.plane_files.header import is_part_of_a_set
from live_restore.formats.plane_files.patterns import (
    LONGEST_NAME,
    NAMINGS,
    TIFF_ENDINGS,
    PlaneName,
    of_pattern,
)
from live_restore.formats.tiff.structure import walk

_FOREIGN_SHARE = 0.5
"""Of the TIFFs in a folder of planes: what people save beside a run. With more, it is a folder of
files like any other, and its stacks must not be lost."""
_FOLDERS_ASKED = 4
_NAMES_ASKED = 2000
"""TIFFs of one folder: 10 to 20 ms where all look like planes."""
_MICRO_MANAGER = "img_channel"
"""Its separate images belong to a run that ``metadata.txt`` tells, where that is there."""
_METADATA = "metadata.txt"
_METADATA_FOLLOWS_S = 2.0
"""Micro-Manager writes it first; a copy of a folder may bring it last, but then files keep coming.
Less than what a file has to be unchanged (3 s), after which each plane would be refused alone."""
_MAY_BE_A_PLANE = re.compile(r"[zZ]_?\d|_\d{6}(\.ome)?\.tif")
"""Every naming that is known has one of these: most names are decided without trying them all."""


class PlaneFilesFormat:
    """Folders with one TIFF per plane.

    Parameters
    ----------
    pattern
        ``files.plane_pattern``: tried before the namings that are known.
    """

    name = "plane-files"

    def __init__(self, pattern: str | None = None) -> None:
        self._namings = dict(NAMINGS)
        if pattern is not None:
            self._namings = {"files.plane_pattern": of_pattern(pattern), **NAMINGS}
        self._any_name = pattern is not None

    def recognises(self, folder: Path, names: Collection[str]) -> bool:
        """Return whether at least two planes of one stack are in it, and little else.

        By their names; then the beginning of one file is read, as files of whole stacks are named
        by numbers, too.
        """
        if _METADATA in names:  # Micro-Manager's, or one position of it
            return False
        try:
            return self._holds_planes(folder, names) or self._holds_steps(folder, names)
        except (LiveRestoreError, OSError):
            return False  # gone, or not just now; the next scan asks again

    def goes_on(self, folder: Path, names: Collection[str]) -> bool:
        """Return whether any plane is in it: that much else lies there by now changes nothing."""
        if _METADATA in names and any(name.startswith(_MICRO_MANAGER) for name in names):
            return False  # which came after the planes, and says more than their names
        return any(self.plane_name((name,)) for name in names) or self.recognises(folder, names)

    def follow(self, folder: Path) -> PlaneFilesFollower:
        """Return a follower."""
        return PlaneFilesFollower(folder, self.name, self.plane_name)

    def plane_name(self, parts: tuple[str, ...]) -> PlaneName | None:
        """Return what the parts of a path within the folder say, ``None`` for other files."""
        name = parts[-1]
        if (
            len(name) > LONGEST_NAME
            or name.startswith(".")
            or not name.lower().endswith(TIFF_ENDINGS)
            or not (self._any_name or len(parts) > 1 or _MAY_BE_A_PLANE.search(name))
        ):
            return None
        return next((found for each in self._namings.values() if (found := each(parts))), None)

    def _holds_planes(self, folder: Path, names: Collection[str]) -> bool:
        """Return whether these are files of planes.

        In a large folder by some of them: all folders are asked at every scan.
        """
        tiffs = (n for n in names if n.lower().endswith(TIFF_ENDINGS) and not n.startswith("."))
        images = list(islice(tiffs, _NAMES_ASKED))
        planes = [(name, found) for name in images if (found := self.plane_name((name,)))]
        if len(planes) < 2 or len(images) - len(planes) > _FOREIGN_SHARE * len(images):
            return False
        first: dict[object, tuple[int, str]] = {}
        for name, found in planes:
            z, other = first.setdefault((found.run, found.stack_index), (found.z, name))
            if z != found.z:
                if name.startswith(_MICRO_MANAGER) and _has_just_grown(folder):
                    return False
                return all(_is_one_plane(folder / each, names) for each in (other, name))
        return False

    def _holds_steps(self, folder: Path, names: Collection[str]) -> bool:
        """Return whether there are folders of z steps, or of time points with such folders."""
        if "ZStep_1" in names:
            return True
        times = sorted(name for name in names if name.lower().startswith("timepoint_"))
        return any("ZStep_1" in names_in(folder / n)[1] for n in islice(times, _FOLDERS_ASKED))


def _has_just_grown(folder: Path) -> bool:
    return time.time() - folder.stat().st_mtime < _METADATA_FOLLOWS_S


def _is_one_plane(path: Path, names: Collection[str]) -> bool:
    """Return whether a file is one plane, and no part of an image that its OME-XML tells of."""
    with opened(path) as (stream, size):
        structure = walk(stream, size, path)
    whole = not structure.missing and len(structure.series_pages) == 1
    return whole and not is_part_of_a_set(structure.descriptions, path.name, names)
