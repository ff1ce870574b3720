"""A series of stacks as arrays that read their planes when somebody looks at them.

Viewers such as napari take whatever has a shape, a dtype and indices. One array (T, Z, Y, X) is
raw, another restored; a time point that is not restored yet, or cannot be read, is dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from live_restore.errors import LiveRestoreError
from live_restore.overview.entries import ReportFacts, ShownEntry, ShownStack, series_name
from live_restore.page.pixels import Pixels, Side
from live_restore.stack import StackIndex


@dataclass(frozen=True)
class Place:
    """One position and channel of a series: the stacks of its time points, in order.

    Parameters
    ----------
    series, position, channel_name
        What it is called.
    stacks
        (entry, stack) by time point.
    facts
        Shape, voxel size and type, which all of them share.
    """

    series: str
    position: int
    channel_name: str
    facts: ReportFacts
    stacks: tuple[tuple[ShownEntry, ShownStack], ...] = field(repr=False)

    @property
    def name(self) -> str:
        """For people.

        Of a file of its own: its series, which is the folder, goes without saying.
        """
        parts = [self.series or "files", f"pos {self.position}", self.channel_name]
        return " ".join(part for part in parts if part)

    @property
    def scale_um(self) -> tuple[float, float, float, float]:
        """Of (T, Z, Y, X); 1 where the file does not say."""
        z, y, x = self.facts.voxel_um
        return (1.0, z or 1.0, y or 1.0, x or 1.0)


def places_of(shown: Sequence[ShownEntry], series: str | None = None) -> list[Place]:
    """Return the positions and channels of a series; ``None``: of the one with the newest result.

    Stacks of another shape or type than the first have no place among them.
    """
    known = [each for each in shown if each.facts is not None]
    if not known:
        return []
    newest = max(known, key=lambda each: each.entry.finished_at or 0.0)
    wanted = series_name(newest.entry.key) if series is None else series
    found: dict[tuple[int, str], list[tuple[ShownEntry, ShownStack]]] = {}
    for each in known:
        if series_name(each.entry.key) == wanted and each.facts is not None:
            for stack in each.facts.stacks:
                found.setdefault((stack.position, stack.channel_name), []).append((each, stack))
    return [
        _place(wanted, position, channel, stacks)
        for (position, channel), stacks in sorted(found.items(), key=lambda each: each[0])
    ]


def _place(
    series: str, position: int, channel: str, stacks: list[tuple[ShownEntry, ShownStack]]
) -> Place:
    stacks.sort(key=lambda pair: (pair[1].time, pair[0].entry.seen_at, pair[0].entry.key.path))
    facts = stacks[0][0].facts
    assert facts is not None
    kind = (facts.shape_zyx, facts.dtype)
    alike = [
        (each, stack)
        for each, stack in stacks
        if each.facts is not None and (each.facts.shape_zyx, each.facts.dtype) == kind
    ]
    return Place(series, position, channel, facts, tuple(alike))


class LazyStacks:
    """The stacks of a place as one array (T, Z, Y, X), read plane by plane.

    Parameters
    ----------
    place
        Which stacks.
    pixels
        Reads them.
    side
        "raw" or "restored".
    """

    def __init__(self, place: Place, pixels: Pixels, side: Side) -> None:
        self._place = place
        self._pixels = pixels
        self._side = side
        self.shape = (len(place.stacks), *place.facts.shape_zyx)
        self.ndim = 4
        self.dtype = np.dtype(place.facts.dtype)
        if side == "restored" and place.stacks:  # output.units may make it float32
            self.dtype = self._plane(0, 0).dtype

    @property
    def size(self) -> int:
        """Voxels in all."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, wanted: Any) -> NDArray[np.generic]:
        """Return what is asked for with whole numbers and slices, as numpy does."""
        keys = wanted if isinstance(wanted, tuple) else (wanted,)
        if Ellipsis in keys:
            at = keys.index(Ellipsis)
            gap = (slice(None),) * (self.ndim + 1 - len(keys))
            keys = (*keys[:at], *gap, *keys[at + 1 :])
        keys = (*keys, *(slice(None),) * (self.ndim - len(keys)))
        times, planes = (np.arange(n)[key] for n, key in zip(self.shape[:2], keys[:2], strict=True))
        found = [
            [self._plane(int(t), int(z))[keys[2:]] for z in np.atleast_1d(planes)]
            for t in np.atleast_1d(times)
        ]
        array = np.asarray(found)
        return array.reshape((*np.shape(times), *np.shape(planes), *array.shape[2:]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.generic]:
        del copy
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype)

    def _plane(self, time: int, z: int) -> NDArray[np.generic]:
        each, stack = self._place.stacks[time]
        at = StackIndex(*map(int, stack.id.split("-")[1:]))
        try:
            return self._pixels.plane(each, at, self._side, "z", z)
        except LiveRestoreError:
            return np.zeros(self.shape[2:], self.dtype)
