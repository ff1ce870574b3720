"""Which plane of a TIFF file belongs to which stack: what its description says.

Pure: texts and numbers in, a ``Layout`` out. Three dialects besides OME-XML (``ome_xml.py``):
ImageJ's ``key=value`` lines, tifffile's ``{"shape": ...}`` and no description at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from live_restore.errors import StackRefusedError, StackUnreadableError
from live_restore.files.values import NotJsonError, json_object
from live_restore.formats.tiff.calibration import (
    Calibration,
    Fields,
    calibrated,
    times_known,
    voxel_size,
)
from live_restore.formats.tiff.tags import ResolutionUnit
from live_restore.recording import ImageMetadata
from live_restore.stack import VoxelSize

SINGLE_PLANE = "a single 2-D plane"
"""How the reason begins why a file of one image is refused."""

UndeclaredAxis = Literal["auto", "Z", "T"]
"""What an axis is that nobody declared; "auto": Z, unless the header knows of time."""


@dataclass(frozen=True)
class Layout:
    """The stacks of one file.

    ``planes`` (positions, times, channels, Z) holds each plane's index in the file;
    ``declared_planes`` is how many the file says it has, ``None`` where it does not say. Planes of
    a file that is not whole, to which nothing leads, are -1; so are those beyond the depth of a
    position. ``shapes_zyx`` holds the shape of each position where the file says it; without it
    all have the same. ``assumptions`` and ``metadata`` are those of ``FileStacks``.
    """

    planes: NDArray[np.int64]
    axes: str
    declared_planes: int | None = None
    voxel: VoxelSize = field(default_factory=VoxelSize)
    channel_names: tuple[str, ...] = ()
    position_names: tuple[str, ...] = ()
    time_increment_s: float | None = None
    notes: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    metadata: ImageMetadata = field(default_factory=ImageMetadata)
    shapes_zyx: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class Found:
    """What the structure says, for reading a description against it.

    ``planes`` counts those really there; ``resolution`` is in pixels per unit, (Y, X), and
    ``resolution_unit`` a :class:`ResolutionUnit`, or whatever else the file says.
    ``interleaved_channels`` alternate along an axis that nobody declared. ``partial``: only what is
    declared is asked for, and planes may be missing.
    """

    path: Path
    planes: int
    height: int
    width: int
    undeclared_axis: UndeclaredAxis = "auto"
    interleaved_channels: int = 1
    resolution: tuple[float, float] | None = None
    resolution_unit: int = ResolutionUnit.INCH
    partial: bool = False

    def voxel(self, fields: Fields = MappingProxyType({})) -> VoxelSize:
        """Return the voxel size by the resolution, and by fields of the description."""
        return voxel_size(self.resolution, self.resolution_unit, fields)

    def refused(self, what: str, remedy: str) -> StackRefusedError:
        """Return the refusal of this file."""
        return StackRefusedError(what, self.path, remedy)

    def contradiction(self, what: str) -> StackUnreadableError:
        """Return the error for a description that does not fit the planes."""
        return StackUnreadableError(
            f"its description contradicts its planes: {what}", self.path, "export the file again"
        )

    def need(self, planes: int) -> None:
        """Raise ``PlanesMissingError`` if there are fewer planes than that."""
        if self.planes < planes:
            raise PlanesMissingError(self.planes, planes)


class PlanesMissingError(Exception):
    """Fewer planes are there than declared."""

    def __init__(self, present: int, expected: int) -> None:
        super().__init__(f"{present} of {expected} planes present")
        self.expected = expected


def arrange(found: Found, axes: str, sizes: tuple[int, ...]) -> tuple[str, NDArray[np.int64]]:
    """Return which plane is which, from axes without Y and X, slowest first.

    Returns
    -------
    axes
        Without axes of size 1 and without positions, such as ``"TZCYX"``.
    planes
        Plane indices (positions, times, channels, Z).

    Raises
    ------
    StackRefusedError
        There is no Z, or an axis whose meaning nobody declared.
    """
    kept = [(axis, size) for axis, size in zip(axes.upper(), sizes, strict=True) if size > 1]
    letters = "".join(axis for axis, _ in kept).replace("R", "P")
    undeclared = [axis for axis in letters if axis in "IQ"]
    wanted = "T" if found.undeclared_axis == "T" else "Z"
    if len(undeclared) == 1 and letters.lstrip("P")[0] == undeclared[0] and wanted not in letters:
        letters = letters.replace(undeclared[0], wanted)
    shown = " x ".join(str(size) for _, size in kept)
    odd = sorted(set(letters) - set("PTCZ"))
    if odd or len(set(letters)) < len(letters):
        raise found.refused(
            f"axes {letters}YX ({shown} planes), and nothing says what "
            f"{'/'.join(odd) or 'the doubled one'} is",
            "declare the axes as T, Z and C (ImageJ: Image > Hyperstacks) and save again",
        )
    if "Z" not in letters:
        raise _no_depth(found, letters, shown)
    lengths = tuple(size for _, size in kept)
    planes = np.arange(math.prod(lengths), dtype=np.int64).reshape(lengths)
    absent = "".join(axis for axis in "PTCZ" if axis not in letters)
    planes = planes.reshape(lengths + (1,) * len(absent))
    order = [(letters + absent).index(axis) for axis in "PTCZ"]
    return letters.replace("P", "") + "YX", planes.transpose(order)


def _no_depth(found: Found, letters: str, shown: str) -> StackRefusedError:
    """Return the refusal of a file without Z."""
    size = f"{found.height} x {found.width}"
    if not letters:
        return found.refused(
            f"{SINGLE_PLANE} ({size}); nothing to restore in 3-D", "acquire a z-stack"
        )
    return found.refused(
        f"2-D images ({size}) along {' and '.join(letters)} ({shown}), without a Z axis",
        f"if {letters[-1]} is depth, declare it as Z (ImageJ: Image > Properties, slices) "
        "and save again",
    )


def undeclared(found: Found, planes: int, of_time: str = "") -> Layout:
    """Lay out planes of which nothing says what they are: by the settings.

    Parameters
    ----------
    found
        The file.
    planes
        How many.
    of_time
        From :func:`times_known`.

    Raises
    ------
    StackRefusedError
        They are a movie, or no whole number of interleaved channels.
    """
    refuse_movie(found, planes, of_time)
    channels = found.interleaved_channels
    if planes % channels:
        raise found.refused(
            f"{planes} planes are no whole number of {channels} interleaved channels",
            "check files.interleaved_channels",
        )
    axes, table = arrange(found, "IC", (planes // channels, channels))
    note = f"an undeclared axis of {planes} planes taken as {axes[0]}"
    said = _undeclared(axes[0])
    if channels > 1:
        note += f" of {channels} interleaved channels"
        said += f", with {channels} channels that alternate (files.interleaved_channels)"
    return Layout(table, axes, None, notes=(note,), assumptions=(said,))


def _undeclared(axis: str) -> str:
    return f"nothing declares what planes are: taken as {axis.lower()} (files.undeclared_axis)"


def refuse_movie(found: Found, planes: int, of_time: str, declared: str = "") -> None:
    """Raise ``StackRefusedError`` for planes that may well be times, unless the settings say no.

    ``declared``: what ImageJ's description does with them.
    """
    if of_time and found.undeclared_axis == "auto" and planes > 1:
        known = f"ImageJ {declared}" if declared else "nothing declares as z"
        raise found.refused(
            f"{planes} planes that {known}, and a header that knows of time "
            f"({of_time}) and of no distance in z: a movie without depth",
            'set files.undeclared_axis = "Z" if they are z-stacks all the same',
        )


def with_calibration(layout: Layout, found: Calibration) -> Layout:
    """Return a layout with its sizes, and with what both have to say."""
    return replace(
        layout,
        voxel=found.voxel,
        time_increment_s=found.time_increment_s,
        notes=layout.notes + found.notes,
        assumptions=layout.assumptions + found.assumptions,
    )


def plain(found: Found) -> Layout:
    """Lay out a file that declares nothing: one plane after the other."""
    return replace(undeclared(found, found.planes), voxel=found.voxel())


def fields_of(text: str) -> dict[str, str]:
    """Return ImageJ's ``key=value`` lines."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _counts(found: Found, fields: dict[str, str]) -> dict[str, int]:
    """Return how many channels, slices, frames and images ImageJ counts."""
    counts = {}
    for axis, name in (("C", "channels"), ("Z", "slices"), ("T", "frames"), ("I", "images")):
        given = fields.get(name, "1").strip()
        if not given.isascii() or not given.isdigit() or not 0 < len(given) < 10:
            raise found.contradiction(f"ImageJ's {name}={given[:40]}")
        counts[axis] = max(1, int(given))
    return counts


def declares_axes(text: str) -> bool:
    """Return whether ImageJ's description says what its planes are.

    >>> declares_axes("ImageJ=1.54f\\nslices=8"), declares_axes("ImageJ=1.54f\\nimages=8")
    (True, False)
    """
    fields = fields_of(text)
    return any(fields.get(name, "1").strip() != "1" for name in ("channels", "slices", "frames"))


def imagej(found: Found, text: str) -> Layout:
    """Lay out a file by ImageJ's description.

    ``images`` is how many planes there are; ``order`` names the hyperstack's axes, fastest first,
    and is "czt" unless said otherwise.

    Raises
    ------
    PlanesMissingError
        Planes are still missing.
    StackRefusedError
        There is no Z.
    StackUnreadableError
        The description contradicts itself.
    """
    fields = fields_of(text)
    counts = _counts(found, fields)
    images = counts.pop("I")
    product = math.prod(counts.values())
    expected = max(images, product)
    calibration = calibrated(found.voxel(fields), fields, times=counts["T"] > 1)
    if expected == 1:
        return replace(plain(found), voxel=calibration.voxel)
    if product > 1 and "images" in fields and product != images:
        raise found.contradiction(f"{images} images, but {product} by channels, slices and frames")
    found.need(expected)
    if product == 1:
        layout = undeclared(found, expected, times_known(fields))
    else:
        order = fields.get("order", "czt").strip().upper()
        if sorted(order) != ["C", "T", "Z"]:
            order = "CZT"
        slowest_first = order[::-1]
        sizes = tuple(counts[axis] for axis in slowest_first)
        axes, planes = arrange(found, slowest_first, sizes)
        layout = Layout(planes, axes)
        if counts["Z"] == product:  # so ImageJ calls the planes of every stack that it opens
            refuse_movie(found, product, times_known(fields), "calls slices")
    layout = replace(with_calibration(layout, calibration), declared_planes=expected)
    return replace(layout, notes=layout.notes + surplus(found, expected))


def surplus(found: Found, expected: int) -> tuple[str, ...]:
    """Return a note on planes that nothing declares."""
    extra = 0 if found.partial else found.planes - expected
    return (f"{extra} planes beyond those declared were left out",) if extra > 0 else ()


def shape_of(text: str) -> tuple[tuple[int, ...], dict[str, object]] | None:
    """Return the shape and the rest of tifffile's JSON description, ``None`` if it is none."""
    if not text.startswith("{"):
        return None
    try:
        fields = json_object(text)
    except NotJsonError:
        return None
    shape = fields.get("shape")
    if not isinstance(shape, list) or not 2 <= len(shape) <= 16:
        return None
    if not all(type(size) is int and 0 < size < 2**40 for size in shape):
        return None
    return tuple(shape), fields


def shaped(found: Found, text: str, later: dict[int, str]) -> Layout:
    """Lay out a file by tifffile's description ``{"shape": [...], "axes": "..."}``.

    Several series of the same shape, each with its own description, are positions.

    Raises
    ------
    PlanesMissingError
        Planes are still missing.
    StackRefusedError
        There is no Z, axes are unknown, or series differ in shape.
    StackUnreadableError
        The shape does not end in the planes' height and width.
    """
    known = shape_of(text)
    if known is None:
        return plain(found)
    shape, fields = known
    axes = fields.get("axes")
    if not isinstance(axes, str) or len(axes) != len(shape):
        axes = "Q" * (len(shape) - 2) + "YX"
    while len(shape) > 2 and shape[-1] == 1 and (found.height, found.width) != shape[-2:]:
        shape, axes = shape[:-1], axes[:-1]
    if shape[-2:] != (found.height, found.width):
        raise found.contradiction(f"shape {shape}, planes {found.height} x {found.width}")
    count = math.prod(shape[:-2])
    found.need(count)
    times = shape[axes.upper().index("T")] if "T" in axes.upper() else 1
    calibration = calibrated(found.voxel(fields), fields, times=times > 1)
    starts = {index: shape_of(other) for index, other in later.items()}
    if count == 1 and found.planes > 1:
        return replace(plain(found), voxel=calibration.voxel)
    if any(other is not None for other in starts.values()):
        if any(other is not None and other[0] != known[0] for other in starts.values()):
            raise found.refused("several image series of different shapes", "save one per file")
        series = len(starts) + 1
        if sorted(starts) != [count * number for number in range(1, series)]:
            raise found.contradiction("its image series overlap")
        found.need(series * count)
        names, planes = arrange(found, "P" + axes[:-2], (series, *shape[:-2]))
        # More series may follow: nothing in the file says how many there will be.
        note = f"{series} image series of the same shape taken as positions"
        said = ("image series of the same shape are taken as positions",)
        return with_calibration(Layout(planes, names, notes=(note,), assumptions=said), calibration)
    named = "".join(axis for axis, size in zip(axes[:-2], shape, strict=False) if size > 1).upper()
    if named in ("I", "Q"):
        layout = undeclared(found, count, times_known(fields))
    else:
        if set(named) & set("IQ") and "T" not in named:
            refuse_movie(found, count, times_known(fields))
        names, planes = arrange(found, axes[:-2], shape[:-2])
        layout = Layout(planes, names)
        if "Z" not in named:
            note = f"an undeclared axis of {count} planes taken as {names[0]}"
            layout = replace(layout, notes=(note,), assumptions=(_undeclared("Z"),))
    layout = replace(with_calibration(layout, calibration), declared_planes=count)
    return replace(layout, notes=layout.notes + surplus(found, count))
