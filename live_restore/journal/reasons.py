"""Reasons that are alike: what they have in common, and what to say of all of them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from live_restore.formats.plane_files.advice import FEWEST_PLANES, single_planes
from live_restore.formats.tiff.layout import SINGLE_PLANE
from live_restore.stack import StackKey

# But kinds of voxels, and the value of all voxels, are what a person has to know.
_NUMBER = re.compile(r"(?<!int)(?<!float)(?<!every voxel is )(?<![\d.])\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_SHARE = re.compile(r"^\d+ of \d+ stacks: ")


@dataclass(frozen=True)
class ReasonKind:
    """What reasons of one kind have in common.

    ``words`` is all but their numbers: files differ in those (3 of 7 planes), and the remedy is the
    same. ``folder`` is that of single planes, which may belong to one stack; ``None`` for others.
    """

    words: str
    folder: Path | None = None

    @classmethod
    def of(cls, reason: str, key: StackKey) -> ReasonKind:
        """Return the kind of the reason of a file or stack.

        Examples
        --------
        >>> file = StackKey(Path("a.tif"))
        >>> ReasonKind.of("3 of 8 stacks: signal-to-noise 2.1e-3 is below 4", file).words
        'signal-to-noise # is below #'
        >>> ReasonKind.of("int32 voxels in 5 planes; every voxel is 17", file).words
        'int32 voxels in # planes; every voxel is 17'
        """
        folder = key.acquisition.parent if reason.startswith(SINGLE_PLANE) else None
        return cls(_NUMBER.sub("#", _SHARE.sub("", reason)), folder)

    def of_all(self, count: int, plane_pattern: str | None) -> str:
        """Return what is to be said of ``count`` of them together, "" if no more than of each.

        ``plane_pattern`` is ``files.plane_pattern``: nobody is told to set it who has.
        """
        if self.folder is None or count < FEWEST_PLANES:
            return ""
        return single_planes(self.folder, plane_pattern)
