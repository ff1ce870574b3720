"""What OME-Zarr metadata say, and where planes lie in an array's chunks. Pure.

Sources: OME-NGFF 0.4 and 0.5; the keys that pymmcore-plus and ome-writers add, as measured on
pymmcore-plus 0.18.1 with ome-writers 0.3.2.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from live_restore.files.values import integer, positive, text
from live_restore.formats.plan import ChannelPlan
from live_restore.formats.units import micrometres_per, seconds_per
from live_restore.formats.zarr.arrays import Array
from live_restore.formats.zarr.useq_frames import FrameOrder, frame_order
from live_restore.stack import StackIndex, Volume, VoxelSize

MAX_PLANES = 2_000_000
MAX_STACKS = 250_000
"""Of one image; a stack that has begun takes about 1.1 kB of memory."""
MAX_CHUNK_PLANES = 65_536
MAX_NAMES = 10_000

StackAxis = Literal["t", "c", "z"]
STACK_AXES: tuple[StackAxis, ...] = ("t", "c", "z")


class OmeZarrError(Exception):
    """An image that cannot be used; the message says why."""


@dataclass(frozen=True)
class Image:
    """One image (position): its axes, and what they measure.

    Parameters
    ----------
    path
        Of the full-resolution array, relative to the image.
    axes
        One letter per dimension, slowest first; the last two are ``y`` and ``x``.
    order
        What the frames are where all lie in one row, whatever the axis is called.
    """

    path: str
    axes: tuple[str, ...]
    voxel: VoxelSize
    interval_s: float | None
    channel_names: tuple[str, ...]
    name: str
    order: FrameOrder | None = None

    def check(self, array: Array) -> None:
        """Raise ``OmeZarrError`` where the array does not fit."""
        if len(array.shape) != len(self.axes):
            raise OmeZarrError(f"{len(self.axes)} axes for {len(array.shape)} dimensions")
        planes = math.prod(array.shape[:-2])
        sizes = self.sizes(array.shape)
        if planes > MAX_PLANES or sizes["t"] * sizes["c"] > MAX_STACKS or not all(array.shape):
            raise OmeZarrError(f"claims a shape of {array.shape}")
        if math.prod(array.chunks[:-2]) > MAX_CHUNK_PLANES:
            raise OmeZarrError(f"claims chunks of {array.chunks}")

    def sizes(self, shape: Sequence[int]) -> dict[StackAxis, int]:
        """Return how many time points, channels and planes there are."""
        return {
            axis: shape[self.axes.index(axis)] if axis in self.axes else 1 for axis in STACK_AXES
        }

    def planes_share_chunks(self, chunks: Sequence[int]) -> bool:
        """Return whether a chunk can hold more than one plane."""
        return any(chunk > 1 for chunk in chunks[:-2])

    def covered(self, array: Array, prefix: tuple[int, ...]) -> Iterator[tuple[StackIndex, int]]:
        """Yield the planes, as stack and z, of the chunks that begin with ``prefix``."""
        ranges = [
            range(n * chunk, min((n + 1) * chunk, size))
            for n, chunk, size in zip(prefix, array.chunks[:-2], array.shape[:-2], strict=True)
        ]
        for index in itertools.product(*ranges):
            if self.order is not None:
                if index[0] < len(self.order.frames):
                    yield self.order.frame(index[0])
                continue
            at = dict(zip(self.axes, index, strict=False))
            yield StackIndex(0, at.get("t", 0), at.get("c", 0)), at.get("z", 0)

    def _index(self, stack_index: StackIndex, z: int) -> tuple[int, ...]:
        if self.order is not None:
            return (self.order.number(stack_index, z),)
        at = {"t": stack_index.time, "c": stack_index.channel, "z": z}
        return tuple(at[axis] for axis in self.axes[:-2])

    def chunks_of(
        self, array: Array, stack_index: StackIndex, indices: Sequence[int]
    ) -> Iterator[tuple[int, ...]]:
        """Yield the chunks that hold these planes of a stack, each once."""
        prefixes = dict.fromkeys(
            tuple(
                n // chunk
                for n, chunk in zip(self._index(stack_index, z), array.chunks, strict=False)
            )
            for z in indices
        )
        for prefix in prefixes:
            for rest in itertools.product(*map(range, array.grid[-2:])):
                yield (*prefix, *rest)

    def place_chunk(
        self,
        volume: Volume,
        part: NDArray[np.generic],
        array: Array,
        index: tuple[int, ...],
        stack_index: StackIndex,
        indices: Sequence[int],
    ) -> None:
        """Copy what a decoded chunk holds of these planes into ``volume`` (Z, Y, X)."""
        top, left = (n * c for n, c in zip(index[-2:], array.chunks[-2:], strict=True))
        target = volume[:, top : top + array.chunks[-2], left : left + array.chunks[-1]]
        for number, z in enumerate(indices):
            inside = tuple(
                n - i * chunk
                for n, i, chunk in zip(
                    self._index(stack_index, z), index, array.chunks, strict=False
                )
            )
            if all(0 <= n < chunk for n, chunk in zip(inside, array.chunks, strict=False)):
                target[number] = part[inside][: target.shape[1], : target.shape[2]]


def with_order(image: Image, order: FrameOrder) -> Image:
    """Return an image whose frames lie in one row, with what the sequence says of them."""
    voxel = replace(image.voxel, z_um=order.z_step_um)
    return replace(image, order=order, voxel=voxel, interval_s=order.interval_s)


def series(attributes: Mapping[str, Any]) -> list[str]:
    """Return the paths of the images that a ``bioformats2raw`` layout lists."""
    listed = attributes.get("series")
    if not isinstance(listed, list):
        return []
    return [each for each in listed[:MAX_NAMES] if isinstance(each, str) and each]


def parse_image(attributes: Mapping[str, Any]) -> Image:
    """Return what an image's attributes say.

    Raises
    ------
    OmeZarrError
        There is no image that can be used.
    """
    multiscales = attributes.get("multiscales")
    first = multiscales[0] if isinstance(multiscales, list) and multiscales else None
    if not isinstance(first, dict):
        raise OmeZarrError("no multiscales")
    listed = first.get("axes")
    axes = _axes(listed)
    datasets = first.get("datasets")
    full = datasets[0] if isinstance(datasets, list) and datasets else None
    path = full.get("path") if isinstance(full, dict) else None
    if not isinstance(path, str):
        raise OmeZarrError("no full-resolution array")
    assert isinstance(full, dict)
    scale = [a * b for a, b in zip(_scale(full, len(axes)), _scale(first, len(axes)), strict=True)]
    size = {
        axis: positive(step * factor) if factor and step else None
        for axis, step, factor in zip(axes, scale, _factors(listed, axes), strict=True)
    }
    return Image(
        path=path,
        axes=axes,
        voxel=VoxelSize(size.get("z"), size.get("y"), size.get("x")),
        interval_s=size.get("t"),
        channel_names=_channel_names(attributes.get("omero")),
        name=text(first.get("name")),
    )


def _axes(listed: object) -> tuple[str, ...]:
    """Return the axes' letters: objects since 0.4, plain letters in 0.3."""
    if not isinstance(listed, list) or len(listed) > 8:
        raise OmeZarrError("no axes")
    names = [each.get("name") if isinstance(each, dict) else each for each in listed]
    axes = tuple(str(name).lower()[:8] for name in names)
    if axes[-2:] != ("y", "x") or len(set(axes)) < len(axes) or not set(axes) <= set("tczyx"):
        raise OmeZarrError(f"axes {', '.join(axes)}; of t, c, z and then y, x are read")
    return axes


def _factors(listed: object, axes: tuple[str, ...]) -> list[float | None]:
    """Return what turns each axis's unit into um or s, ``None`` where there is no unit."""
    assert isinstance(listed, list)
    units = [each.get("unit") if isinstance(each, dict) else None for each in listed]
    return [
        (seconds_per if axis == "t" else micrometres_per)(unit) if isinstance(unit, str) else None
        for axis, unit in zip(axes, units, strict=True)
    ]


def _scale(level: Mapping[str, Any], dimensions: int) -> list[float]:
    listed = level.get("coordinateTransformations")
    for each in listed if isinstance(listed, list) else ():
        values = each.get("scale") if isinstance(each, dict) else None
        if isinstance(values, list) and len(values) == dimensions:
            return [positive(value) or 0.0 for value in values]
    return [1.0] * dimensions


def _channel_names(omero: object) -> tuple[str, ...]:
    listed = omero.get("channels") if isinstance(omero, dict) else None
    if not isinstance(listed, list):
        return ()
    return tuple(text(c.get("label")) if isinstance(c, dict) else "" for c in listed[:MAX_NAMES])


class RunFacts:
    """What pymmcore-plus and ome-writers add: the sequence, and a record of every frame."""

    def __init__(self) -> None:
        self.writer = False
        self.frames: int | None = None
        self.channels: tuple[ChannelPlan, ...] = ()
        self.channel_names: tuple[str, ...] = ()
        self.position_names: tuple[str, ...] = ()
        self.exposure_ms: tuple[float | None, ...] = ()
        self.order: FrameOrder | None = None

    def read(self, attributes: Mapping[str, Any]) -> None:
        """Learn what is there now."""
        writer = attributes.get("ome_writers")
        self.writer = isinstance(writer, dict)
        frames = writer.get("frame_metadata") if isinstance(writer, dict) else None
        self.frames = len(frames) if isinstance(frames, list) else None
        found: object = attributes
        for key in ("pymmcore_plus", "summary_metadata", "mda_sequence"):
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, dict):
            self._sequence(found)

    def _sequence(self, sequence: Mapping[str, Any]) -> None:
        listed = sequence.get("channels")
        positions = sequence.get("stage_positions")
        if not isinstance(listed, list) or not all(isinstance(c, dict) for c in listed):
            return
        self.channel_names = tuple(text(c.get("config")) for c in listed[:MAX_NAMES])
        self.exposure_ms = tuple(positive(c.get("exposure")) for c in listed[:MAX_NAMES])
        inner = positions[:MAX_NAMES] if isinstance(positions, list) else []
        self.position_names = tuple(
            text(p.get("name")) if isinstance(p, dict) else "" for p in inner
        )
        if any(isinstance(p, dict) and p.get("sequence") for p in inner):
            return  # a position with a sequence of its own: the array's shape must do
        self.channels = tuple(
            ChannelPlan(
                c.get("do_stack") is not False, max(1, integer(c.get("acquire_every")) or 1)
            )
            for c in listed[:MAX_NAMES]
        )
        self.order = frame_order(sequence, self.channels)
