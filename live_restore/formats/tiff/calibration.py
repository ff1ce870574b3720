"""Sizes and times in TIFF's tags and in the ``key=value`` fields of ImageJ and tifffile. Pure.

ImageJ's fields: ``spacing`` (z step), ``unit`` with ``yunit`` and ``zunit`` where these differ,
``finterval`` (frame interval) with ``tunit``, "sec" unless it is there, and ``fps``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from live_restore.formats.tiff.tags import ResolutionUnit
from live_restore.formats.units import decimal, length, micrometres, micrometres_per, seconds
from live_restore.stack import VoxelSize

PLAUSIBLE_UM = (0.001, 20.0)
"""Pixel sizes of light microscopes. 72, 96, 300 and 600 dpi of drawing programs (42 to 353 um) and
1 per inch lie outside."""

NEGATIVE_STEP = "the z step is negative: its size is kept, and so is the order of the planes"

_RESOLUTION_UNITS: dict[int, str] = {
    ResolutionUnit.INCH: "inch",
    ResolutionUnit.CENTIMETRE: "cm",
}
_OF_TIME = ("finterval", "fps", "frame_interval", "TimeIncrement")

Fields = Mapping[str, object]


@dataclass(frozen=True)
class Calibration:
    """Voxel size, frame interval, and what is odd about them; see ``FileStacks``."""

    voxel: VoxelSize
    time_increment_s: float | None = None
    notes: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()


def voxel_size(
    resolution: tuple[float, float] | None,
    resolution_unit: int,
    fields: Fields = MappingProxyType({}),
) -> VoxelSize:
    """Return the voxel size from TIFF's resolution (pixels per unit, Y and X) and the fields."""
    per_unit = micrometres_per(_RESOLUTION_UNITS.get(resolution_unit, ""))
    unit = fields.get("unit")
    low, high = PLAUSIBLE_UM
    lateral: list[float | None] = []
    for pixels, own in zip(resolution or (), (fields.get("yunit", unit), unit), strict=False):
        # Micro-Manager writes "unit=um" for the spacing and the resolution per cm.
        size = per_unit / pixels if per_unit else None
        if size is None or not low <= size <= high:
            size = micrometres(1 / pixels, own)
        lateral.append(round(size, 9) if size else None)
    y_um, x_um = lateral or (None, None)
    step = length(fields.get("spacing"), fields.get("zunit", unit))
    return VoxelSize(abs(step) if step else None, y_um, x_um)


def calibrated(voxel: VoxelSize, fields: Fields, *, times: bool) -> Calibration:
    """Return what the fields say, and what of it cannot be used.

    ``times``: whether there are several time points, without which an interval means nothing.
    """
    step, interval = decimal(fields.get("spacing")), decimal(fields.get("finterval"))
    interval_s = seconds(interval, fields.get("tunit", "sec")) if times else None
    notes = []
    if step and voxel.z_um is None:
        unit = str(fields.get("zunit", fields.get("unit", "")))[:20]
        notes.append(f"z step of {step:g} {unit!r}: no unit that is known, so taken as unknown")
    if times and interval and interval > 0 and interval_s is None:
        unit = str(fields.get("tunit"))[:20]
        notes.append(
            f"frame interval of {interval:g} {unit!r}: no unit that is known, so taken as unknown"
        )
    negative = (NEGATIVE_STEP,) if step and step < 0 else ()
    return Calibration(voxel, interval_s, tuple(notes), negative)


def times_known(fields: Fields) -> str:
    """Return what a header says of time: evidence that an undeclared axis is no depth; or "".

    Examples
    --------
    >>> times_known({"finterval": "0.1", "fps": "10"}), times_known({"fps": "7", "spacing": "0.3"})
    ('finterval and fps', '')
    """
    # Whoever gives the distance of planes means depth; a frame interval may be left from before.
    if decimal(fields.get("spacing")):
        return ""
    return " and ".join(name for name in _OF_TIME if (decimal(fields.get(name)) or 0) > 0)
