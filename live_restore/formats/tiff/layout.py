"""Which plane of a TIFF file belongs to which stack: what its description says.

Pure: texts and numbers in, a ``Layout`` out. Three dialects besides OME-XML (``ome_xml.py``):
ImageJ's ``key=value`` lines, tifffile's ``{"shape": ...}`` and no description at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from live_restore.errors import StackRefusedError, StackUnreadableError
from live_restore.files.values import NotJsonError, json_object, positive
from live_restore.formats.tiff.tags import ResolutionUnit
from live_restore.formats.units import micrometres, micrometres_per
from live_restore.stack import VoxelSize

UndeclaredAxis = Literal["Z", "T"]

PLAUSIBLE_UM = (0.001, 20.0)
"""Pixel sizes of light microscopes. 72, 96, 300 and 600 dpi of drawing programs (42 to 353 um) and
1 per inch lie outside."""

_RESOLUTION_UNITS: dict[int, str] = {
    ResolutionUnit.INCH: "inch",
    ResolutionUnit.CENTIMETRE: "cm",
}


@dataclass(frozen=True)
class Layout:
    """The stacks of one file.

    ``planes`` (positions, times, channels, Z) holds each plane's index in the file;
    ``declared_planes`` is how many the file says it has, ``None`` where it does not say. Of a file
    that is not whole, planes that nothing leads to are -1.
    """

    planes: NDArray[np.int64]
    axes: str
    declared_planes: int | None = None
    voxel: VoxelSize = field(default_factory=VoxelSize)
    channel_names: tuple[str, ...] = ()
    position_names: tuple[str, ...] = ()
    time_increment_s: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """What the structure says, for reading a description against it.

    ``planes`` counts those really there; ``resolution`` is in pixels per unit, (Y, X), and
    ``resolution_unit`` a :class:`ResolutionUnit`, or whatever else the file says. ``partial``: only
    what is declared is asked for, and planes may be missing.
    """

    path: Path
    planes: int
    height: int
    width: int
    undeclared_axis: UndeclaredAxis = "Z"
    resolution: tuple[float, float] | None = None
    resolution_unit: int = ResolutionUnit.INCH
    partial: bool = False

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
    wanted = found.undeclared_axis
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
            f"a single 2-D plane ({size}); nothing to restore in 3-D", "acquire a z-stack"
        )
    return found.refused(
        f"2-D images ({size}) along {' and '.join(letters)} ({shown}), without a Z axis",
        f"if {letters[-1]} is depth, declare it as Z (ImageJ: Image > Properties, slices) "
        "and save again",
    )


def voxel_size(found: Found, spacing: object = None, unit: object = None) -> VoxelSize:
    """Return the voxel size from TIFF's resolution and ImageJ's spacing and unit."""
    per_unit = micrometres_per(_RESOLUTION_UNITS.get(found.resolution_unit, ""))
    low, high = PLAUSIBLE_UM
    lateral: list[float | None] = []
    for pixels in found.resolution or ():
        # Micro-Manager writes "unit=um" for the spacing and the resolution per cm.
        size = per_unit / pixels if per_unit else None
        if size is None or not low <= size <= high:
            size = micrometres(1 / pixels, unit)
        lateral.append(round(size, 9) if size else None)
    y_um, x_um = lateral or (None, None)
    step = abs(spacing) if isinstance(spacing, (int, float)) else spacing
    if isinstance(step, str):
        step = step.lstrip("-")
    return VoxelSize(micrometres(step, unit), y_um, x_um)


def plain(found: Found, notes: tuple[str, ...] = ()) -> Layout:
    """Lay out a file that declares nothing: one plane after the other."""
    axes, planes = arrange(found, "I", (found.planes,))
    taken = (f"an undeclared axis of {found.planes} planes taken as {axes[0]}",)
    return Layout(planes, axes, None, voxel_size(found), notes=notes + taken)


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
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    counts = {}
    for axis, name in (("C", "channels"), ("Z", "slices"), ("T", "frames"), ("I", "images")):
        given = fields.get(name, "1").strip()
        if not given.isascii() or not given.isdigit() or not 0 < len(given) < 10:
            raise found.contradiction(f"ImageJ's {name}={given[:40]}")
        counts[axis] = max(1, int(given))
    images = counts.pop("I")
    product = math.prod(counts.values())
    expected = max(images, product)
    unit = fields.get("unit", "")
    voxel = voxel_size(found, fields.get("spacing"), unit)
    if expected == 1:
        return replace(plain(found), voxel=voxel)
    if product > 1 and "images" in fields and product != images:
        raise found.contradiction(f"{images} images, but {product} by channels, slices and frames")
    found.need(expected)
    order = fields.get("order", "czt").strip().upper()
    if sorted(order) != ["C", "T", "Z"]:
        order = "CZT"
    slowest_first = order[::-1]
    if product == 1:
        axes, planes = arrange(found, "I", (expected,))
        notes: tuple[str, ...] = (f"an undeclared axis of {expected} planes taken as {axes[0]}",)
    else:
        sizes = tuple(counts[axis] for axis in slowest_first)
        axes, planes = arrange(found, slowest_first, sizes)
        notes = ()
    return Layout(
        planes,
        axes,
        expected,
        voxel,
        time_increment_s=positive(fields.get("finterval")) if counts["T"] > 1 else None,
        notes=notes + surplus(found, expected),
    )


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
    spacing = voxel_size(found, fields.get("spacing"), fields.get("unit", ""))
    interval = positive(fields.get("finterval"))
    starts = {index: shape_of(other) for index, other in later.items()}
    if count == 1 and found.planes > 1:
        return replace(plain(found), voxel=spacing)
    if any(other is not None for other in starts.values()):
        if any(other is not None and other[0] != known[0] for other in starts.values()):
            raise found.refused("several image series of different shapes", "save one per file")
        series = len(starts) + 1
        if sorted(starts) != [count * number for number in range(1, series)]:
            raise found.contradiction("its image series overlap")
        found.need(series * count)
        names, planes = arrange(found, "P" + axes[:-2], (series, *shape[:-2]))
        # More series may follow: nothing in the file says how many there will be.
        note = (f"{series} image series of the same shape taken as positions",)
        return Layout(planes, names, None, spacing, time_increment_s=interval, notes=note)
    names, planes = arrange(found, axes[:-2], shape[:-2])
    notes = surplus(found, count)
    if "Z" not in axes.upper():
        notes = (f"an undeclared axis of {count} planes taken as {names[0]}", *notes)
    return Layout(planes, names, count, spacing, time_increment_s=interval, notes=notes)
