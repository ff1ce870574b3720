"""How the raw data were recorded, as results and reports say it. Pure."""

from __future__ import annotations

import itertools
from dataclasses import astuple
from typing import Any

from live_restore.recording import ChannelMetadata, ImageMetadata, PlaneMetadata
from live_restore.stack import FileStacks, StackIndex

MOST_PLANES = 50_000
"""Planes described one by one in the OME-XML of a result, at 200 bytes each: whoever looks for the
result's identity behind it reads 10 MB at most. Reports describe all."""

_OME_UNITS = {"um": "\u00b5m", "reference frame": "reference frame"}


def ome_metadata(file_stacks: FileStacks, position: int) -> dict[str, Any]:
    """Return what tifffile is to write about one image (position), by OME's names."""
    metadata: dict[str, Any] = {"axes": file_stacks.axes}
    for axis, size in zip(
        "ZYX", (file_stacks.voxel.z_um, file_stacks.voxel.y_um, file_stacks.voxel.x_um), strict=True
    ):
        if size is not None:
            metadata[f"PhysicalSize{axis}"] = size
            metadata[f"PhysicalSize{axis}Unit"] = "µm"
    if file_stacks.channel_names or _light(file_stacks.metadata):
        metadata["Channel"] = [_ome_channel(file_stacks, c) for c in range(file_stacks.channels)]
    if file_stacks.time_increment_s is not None:
        metadata["TimeIncrement"] = file_stacks.time_increment_s
        metadata["TimeIncrementUnit"] = "s"
    if position < len(file_stacks.position_names):
        metadata["Name"] = xml_text(file_stacks.position_names[position])
    if date := _date(file_stacks.metadata, position):
        metadata["AcquisitionDate"] = date
    if planes := _ome_planes(file_stacks, position):
        metadata["Plane"] = planes
    return metadata


def _ome_channel(file_stacks: FileStacks, channel: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if file_stacks.channel_names:
        found["Name"] = xml_text(file_stacks.channel_name(channel))
    recorded = _channel(file_stacks.metadata, channel)
    if recorded.rgba is not None:
        found["Color"] = int.from_bytes(bytes(recorded.rgba), "big", signed=True)
    for kind, nm in (("Emission", recorded.emission_nm), ("Excitation", recorded.excitation_nm)):
        if nm is not None:
            found[f"{kind}Wavelength"] = nm
            found[f"{kind}WavelengthUnit"] = "nm"
    return found


def _ome_planes(file_stacks: FileStacks, position: int) -> list[dict[str, Any]]:
    """Return the planes of an image in the order in which they lie in the file."""
    recorded = file_stacks.metadata.planes
    if not any(key[0] == position for key in recorded) or file_stacks.plane_count > MOST_PLANES:
        return []
    sizes = {"T": file_stacks.times, "C": file_stacks.channels}
    sizes["Z"] = file_stacks.shape_of(position)[0]
    axes = file_stacks.axes[:-2]
    found = []
    for numbers in itertools.product(*(range(sizes[axis]) for axis in axes)):
        at = {"T": 0, "C": 0, "Z": 0, **dict(zip(axes, numbers, strict=True))}
        stack = recorded.get((position, at["T"], at["C"]), ())
        found.append(_ome_plane(stack[at["Z"]] if at["Z"] < len(stack) else PlaneMetadata()))
    return found


def _ome_plane(plane: PlaneMetadata) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in (("DeltaT", plane.delta_t_s), ("ExposureTime", plane.exposure_s)):
        if value is not None:
            found |= {name: value, f"{name}Unit": "s"}
    for axis, place in (("X", plane.x), ("Y", plane.y), ("Z", plane.z)):
        if place is not None:
            found[f"Position{axis}"] = place
            found[f"Position{axis}Unit"] = _OME_UNITS[plane.stage_unit]
    return found


def source_in_report(file_stacks: FileStacks) -> dict[str, Any]:
    """Return what a report says of a raw file where the file says it; a key for each."""
    metadata = file_stacks.metadata
    found: dict[str, Any] = {}
    if file_stacks.time_increment_s is not None:
        found["time_increment_s"] = file_stacks.time_increment_s
    if file_stacks.shapes_zyx:
        found["shapes_zyx"] = [list(shape) for shape in file_stacks.shapes_zyx]
    if any(metadata.acquired):
        found["acquired"] = list(metadata.acquired)
    if any(each.camera_serial for each in metadata.channels):
        found["camera_serials"] = [each.camera_serial for each in metadata.channels]
    if _light(metadata):
        found["light"] = [
            {
                "rgba": None if each.rgba is None else list(each.rgba),
                "emission_nm": each.emission_nm,
                "excitation_nm": each.excitation_nm,
            }
            for each in metadata.channels
        ]
    if metadata.photometric != "minisblack":
        found["photometric"] = metadata.photometric
    if file_stacks.other_files:
        found["other_files"] = [path.name for path, _ in file_stacks.other_files]
    return found


def planes_in_report(file_stacks: FileStacks, index: StackIndex) -> dict[str, Any]:
    """Return what a report says of the planes of a stack: a list over z for each that is known."""
    planes = file_stacks.metadata.planes.get(index, ())
    names = ("delta_t_s", "exposure_s", "x", "y", "z")
    columns = {name: [getattr(plane, name) for plane in planes] for name in names}
    found: dict[str, Any] = {
        name: values
        for name, values in columns.items()
        if any(value is not None for value in values)
    }
    if {"x", "y", "z"} & found.keys():
        units = {plane.stage_unit for plane in planes if plane.known}
        found["stage_unit"] = units.pop() if len(units) == 1 else "mixed"
    return found


def _channel(metadata: ImageMetadata, channel: int) -> ChannelMetadata:
    known = channel < len(metadata.channels)
    return metadata.channels[channel] if known else ChannelMetadata()


def _light(metadata: ImageMetadata) -> bool:
    """Return whether it is known how any channel is shown, or of what light it is."""
    return any(each[:3] != (None,) * 3 for each in map(astuple, metadata.channels))


def _date(metadata: ImageMetadata, position: int) -> str:
    return metadata.acquired[position] if position < len(metadata.acquired) else ""


def xml_text(text: str) -> str:
    """Drop what XML 1.0 cannot say; names come from files and are not to be trusted."""
    return "".join(c for c in text if c.isprintable())
