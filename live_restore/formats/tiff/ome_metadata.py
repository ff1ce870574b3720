"""What OME-XML says of how an image was recorded: its units are turned into ours. Pure.

Units that are not written are the schema's (2016-06): um for sizes, s for times, nm for
wavelengths, and for stage positions the "reference frame", of which nobody knows the length.
"""

from __future__ import annotations

import datetime
import itertools
import re
from collections import defaultdict
from collections.abc import Sequence

from live_restore.files.values import integer, positive
from live_restore.formats.tiff.calibration import NEGATIVE_STEP
from live_restore.formats.tiff.ome_xml import CAMERA_SERIAL, Attributes, Image
from live_restore.formats.units import decimal, duration, length
from live_restore.recording import ChannelMetadata, ImageMetadata, PlaneMetadata, StageUnit
from live_restore.stack import VoxelSize

_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_NO_LENGTH = ("reference frame", "pixel")
_STEP_TOLERANCE = 0.02
"""By which the steps of a stage may differ from their mean: encoders are good to a per cent."""


def image_metadata(images: Sequence[Image], shape: Sequence[int]) -> ImageMetadata:
    """Return what images, one per position, say.

    Parameters
    ----------
    images
        In the order of the positions.
    shape
        Times, channels and the most planes of a stack.
    """
    dates = tuple(each.acquired if _is_date(each.acquired) else "" for each in images)
    channels = tuple(map(_channel, images[0].channels[: shape[1]]))
    planes: dict[tuple[int, int, int], tuple[PlaneMetadata, ...]] = {}
    for position, image in enumerate(images):
        for (time, channel), stack in _stacks(image, shape).items():
            planes[position, time, channel] = stack
    return ImageMetadata(
        acquired=dates if any(dates) else (),
        channels=channels if any(each != ChannelMetadata() for each in channels) else (),
        planes=planes,
    )


def voxel_of(image: Image, tiff: VoxelSize) -> tuple[VoxelSize, tuple[str, ...], tuple[str, ...]]:
    """Return the voxel size, notes, and assumptions.

    Where OME does not say, ``tiff``, the size by TIFF's own resolution, does for Y and X; and for Z
    the steps between the planes' stage positions.
    """
    notes: list[str] = []
    assumed: tuple[str, ...] = ()
    size: dict[str, float | None] = {}
    for axis in "ZYX":
        written = image.pixels.get(f"PhysicalSize{axis}")
        unit = image.pixels.get(f"PhysicalSize{axis}Unit", "um")
        um = length(written, unit)
        if um is None and written is not None:
            notes.append(
                f"{axis.lower()} size of {written[:20]} {unit[:20]!r}: no length that is known"
            )
        if um is not None and um < 0 and axis == "Z":
            assumed = (NEGATIVE_STEP,)
        size[axis] = positive(abs(um)) if um is not None and axis == "Z" else positive(um)
    if size["Z"] is None:
        size["Z"] = _step_um(image)
        if size["Z"] is not None:
            notes.append("the z step is that between the stage positions of its planes")
    voxel = VoxelSize(size["Z"], size["Y"] or tiff.y_um, size["X"] or tiff.x_um)
    return voxel, tuple(notes), assumed


def _is_date(text: str) -> bool:
    try:
        return bool(_DATE.fullmatch(text) and datetime.datetime.fromisoformat(text))
    except ValueError:
        return False


def _channel(attributes: Attributes) -> ChannelMetadata:
    emission_nm, excitation_nm = (
        _nanometres(attributes.get(f"{kind}Wavelength"), attributes, f"{kind}WavelengthUnit")
        for kind in ("Emission", "Excitation")
    )
    return ChannelMetadata(
        _rgba(attributes.get("Color")),
        emission_nm,
        excitation_nm,
        attributes.get(CAMERA_SERIAL, ""),
    )


def _rgba(text: str | None) -> tuple[int, int, int, int] | None:
    """Return the red, green, blue and alpha of OME's signed 32-bit integer.

    >>> _rgba("65280"), _rgba("-1"), _rgba("red")
    ((0, 0, 255, 0), (255, 255, 255, 255), None)
    """
    value = decimal(text)
    if value is None or value != int(value) or not -(2**31) <= value < 2**32:
        return None
    red, green, blue, alpha = (int(value) % 2**32).to_bytes(4, "big")
    return red, green, blue, alpha


def _nanometres(text: str | None, attributes: Attributes, unit: str) -> float | None:
    um = length(text, attributes.get(unit, "nm"))
    return None if um is None else positive(round(um * 1e3, 6))


def _stacks(image: Image, shape: Sequence[int]) -> dict[tuple[int, int], tuple[PlaneMetadata, ...]]:
    """Return the planes of each stack that any of them tells something about."""
    times, channels, depth = shape
    depth = min(depth, integer(image.pixels.get("SizeZ", 1)) or 1)
    found: dict[tuple[int, int], dict[int, PlaneMetadata]] = defaultdict(dict)
    for attributes in image.planes:
        c, z, t = (integer(attributes.get(f"The{axis}", 0)) for axis in "CZT")
        if c is None or z is None or t is None or c >= channels or z >= depth or t >= times:
            continue  # says nothing about a plane that there is
        plane = _plane(attributes)
        if plane.known:
            found[t, c][z] = plane
    unknown = PlaneMetadata()
    return {
        key: tuple(planes.get(z, unknown) for z in range(depth)) for key, planes in found.items()
    }


def _plane(attributes: Attributes) -> PlaneMetadata:
    places = {axis: attributes.get(f"Position{axis}") for axis in "XYZ"}
    units = {
        axis: attributes.get(f"Position{axis}Unit", "reference frame")
        for axis, place in places.items()
        if place is not None
    }
    stage: StageUnit = "um"
    if units and all(unit in _NO_LENGTH for unit in units.values()):
        stage = "reference frame"
        x, y, z = (decimal(places[axis]) for axis in "XYZ")
    else:
        x, y, z = (length(places[axis], units.get(axis)) for axis in "XYZ")
    exposure = duration(attributes.get("ExposureTime"), attributes.get("ExposureTimeUnit", "s"))
    return PlaneMetadata(
        duration(attributes.get("DeltaT"), attributes.get("DeltaTUnit", "s")),
        exposure if exposure is None or exposure >= 0 else None,
        x,
        y,
        z,
        stage,
    )


def _step_um(image: Image) -> float | None:
    """Return the distance of the planes of the first stack, ``None`` where it is not even."""
    depth = integer(image.pixels.get("SizeZ", 1)) or 1
    planes = _stacks(image, (1, 1, depth)).get((0, 0), ())
    heights, units = [plane.z for plane in planes], {plane.stage_unit for plane in planes}
    if len(heights) < 2 or None in heights or units != {"um"}:
        return None
    steps = [b - a for a, b in itertools.pairwise(each for each in heights if each is not None)]
    mean = sum(steps) / len(steps)
    even = all(abs(step - mean) <= _STEP_TOLERANCE * abs(mean) for step in steps)
    return positive(round(abs(mean), 6)) if even else None
