"""What Micro-Manager's metadata say: what was planned, names and sizes. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from live_restore.files.values import (
    NotJsonError,
    integer,
    json_object,
    number,
    positive,
    text,
)
from live_restore.formats.acquisition_format import AcquisitionPlan
from live_restore.formats.plan import ChannelPlan, IntendedPlan, NoPlan, SettingsPlan
from live_restore.recording import PlaneMetadata
from live_restore.stack import VoxelSize

MAX_NAMES = 100_000
"""Positions or channels whose names are kept."""
_NOT_LETTERS = re.compile(r"[^A-Za-z]")


@dataclass(frozen=True)
class Summary:
    """The summary metadata, as far as they matter here.

    Parameters
    ----------
    prefix
        Name of the folder when it was made.
    channel_names, position_names
        By index.
    plan
        What was intended.
    z_step_um, pixel_um, interval_s
        ``None`` where unknown (Micro-Manager 2 keeps the pixel size with each image).
    exposure_ms
        By channel index, empty where the summary does not say.
    """

    prefix: str = ""
    channel_names: tuple[str, ...] = ()
    position_names: tuple[str, ...] = ()
    plan: AcquisitionPlan = field(default_factory=NoPlan)
    z_step_um: float | None = None
    pixel_um: float | None = None
    interval_s: float | None = None
    exposure_ms: tuple[float | None, ...] = ()

    def voxel(self, image: Mapping[str, Any], z_step_um: float | None = None) -> VoxelSize:
        """Return the voxel size, with the help of one image's metadata."""
        pixel = pixel_size_um(image) or self.pixel_um
        return VoxelSize(self.z_step_um or z_step_um, pixel, pixel)


def pixel_size_um(metadata: Mapping[str, Any]) -> float | None:
    """Return the pixel size (um); both spellings occur, 0 means that nobody set it."""
    return positive(metadata.get("PixelSizeUm")) or positive(metadata.get("PixelSize_um"))


def by_channel(values: Mapping[int, float | None]) -> tuple[float | None, ...]:
    """Return values in the order of their channels, ``None`` for those that have none.

    Examples
    --------
    >>> by_channel({2: 10.0, 0: 20.0}), by_channel({})
    ((20.0, None, 10.0), ())
    """
    return tuple(values.get(channel) for channel in range(max(values, default=-1) + 1))


def names_by_channel(values: Mapping[int, str]) -> tuple[str, ...]:
    """Return names in the order of their channels, "" for those that have none; none at all: ().

    Examples
    --------
    >>> names_by_channel({2: "b", 0: "a"}), names_by_channel({0: ""})
    (('a', '', 'b'), ())
    """
    if not any(values.values()):
        return ()
    return tuple(values.get(channel, "") for channel in range(max(values) + 1))


def exposure_ms(metadata: Mapping[str, Any]) -> float | None:
    """Return an image's exposure (ms): Micro-Manager's key, or pycromanager's."""
    return positive(metadata.get("Exposure-ms")) or positive(metadata.get("Exposure"))


_SERIALS = {"serialnumber", "cameraid", "cameraserialnumber", "serialno"}


def camera_serial(metadata: Mapping[str, Any]) -> str:
    """Return the serial number of the camera that took an image, "" where it is not said.

    Adapters call the property by names of their own: Andor's and Hamamatsu's ``CameraID``, others
    ``SerialNumber``.

    Examples
    --------
    >>> camera_serial({"Camera": "Zyla", "Zyla-CameraID": "VSC-01583", "Stage-SerialNumber": "7"})
    'VSC-01583'
    >>> camera_serial({"Core-Camera": "Zyla"})
    ''
    """
    label = text(metadata.get("Camera")) or text(metadata.get("Core-Camera"))
    for key, value in metadata.items() if label else ():
        name = key.removeprefix(f"{label}-")
        if name != key and _NOT_LETTERS.sub("", name).lower() in _SERIALS:
            return text(value).strip()
    return ""


def plane_metadata(metadata: Mapping[str, Any]) -> PlaneMetadata:
    """Return when, how long and where an image was taken.

    Examples
    --------
    >>> plane_metadata({"ElapsedTime-ms": 1500, "Exposure-ms": "20", "XPositionUm": -3.5})
    PlaneMetadata(delta_t_s=1.5, exposure_s=0.02, x=-3.5, y=None, z=None, stage_unit='um')
    """
    elapsed, exposure = number(metadata.get("ElapsedTime-ms")), exposure_ms(metadata)
    return PlaneMetadata(
        None if elapsed is None else elapsed / 1000,
        None if exposure is None else exposure / 1000,
        number(metadata.get("XPositionUm")),
        number(metadata.get("YPositionUm")),
        number(metadata.get("ZPositionUm")),
    )


def z_um(metadata: Mapping[str, Any]) -> float | None:
    """Return where an image was taken (um): the intended place where it is known."""
    intended = number(metadata.get("ZPosition_um_Intended"))
    return intended if intended is not None else number(metadata.get("ZPositionUm"))


def parse_summary(raw: Mapping[str, Any]) -> Summary:
    """Return what a summary says; whatever is missing or odd in it is left out."""
    settings = _settings(raw)
    names = _strings(raw.get("ChNames"))
    step = number(raw.get("z-step_um"))
    interval = positive(raw.get("Interval_ms"))
    irregular = bool(raw.get("CustomIntervals_ms")) or settings.get("useCustomIntervals") is True
    return Summary(
        prefix=text(raw.get("Prefix")),
        channel_names=names,
        position_names=_positions(raw),
        plan=_plan(raw, settings, names),
        z_step_um=abs(step) if step else None,
        pixel_um=pixel_size_um(raw),
        interval_s=interval / 1000 if interval and not irregular else None,
        exposure_ms=_exposures(settings, names),
    )


def _settings(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ``MdaSettings``, which is JSON inside JSON."""
    inner = raw.get("MdaSettings")
    if isinstance(inner, dict):
        return inner
    if isinstance(inner, str):
        try:
            return json_object(inner)
        except NotJsonError:
            return {}
    return {}


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(text(each) for each in value[:MAX_NAMES])


def _positions(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Return labels: StagePositions (Micro-Manager 2) or InitialPositionList (1.4)."""
    for key in ("StagePositions", "InitialPositionList"):
        listed = raw.get(key)
        if isinstance(listed, list) and listed:
            labels = [text(p.get("Label")) if isinstance(p, dict) else "" for p in listed]
            return tuple(labels[:MAX_NAMES])
    return ()


def _dimension(raw: Mapping[str, Any], axis: str, old: str) -> int | None:
    intended = raw.get("IntendedDimensions")
    found = integer(intended.get(axis)) if isinstance(intended, dict) else None
    return found or integer(raw.get(old)) or None


def _used_channels(settings: Mapping[str, Any], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the settings of each channel on disk, empty where they are unknown."""
    listed = settings.get("channels")
    if settings.get("useChannels") is False or not isinstance(listed, list):
        return []
    used = [c for c in listed if isinstance(c, dict) and c.get("useChannel") is not False]
    by_name = {text(c.get("config")): c for c in used}
    if names and len(by_name) == len(used) and all(name in by_name for name in names):
        return [by_name[name] for name in names]
    if used and names and len(names) % len(used) == 0:
        # Several cameras: each channel of the settings makes one channel per camera.
        cameras = len(names) // len(used)
        return [channel for channel in used for _ in range(cameras)]
    return used if not names else []


def _plan(
    raw: Mapping[str, Any], settings: Mapping[str, Any], names: tuple[str, ...]
) -> AcquisitionPlan:
    slices = _dimension(raw, "z", "Slices")
    times = _dimension(raw, "time", "Frames") or 1
    positions = _dimension(raw, "position", "Positions") or 1
    channels = _dimension(raw, "channel", "Channels") or len(names) or 1
    planned = settings.get("slices")
    if isinstance(planned, list) and ("useSlices" in settings or planned):
        deep = settings.get("useSlices") is not False and len(planned) > 1
        count = len(planned) if deep else 1
        used = _used_channels(settings, names)
        if used:
            each = tuple(
                ChannelPlan(
                    deep and c.get("doZStack") is not False,
                    (integer(c.get("skipFactorFrame")) or 0) + 1,
                )
                for c in used
            )
            return SettingsPlan(count, each, times, positions)
        if settings.get("useChannels") is False or not settings.get("channels"):
            return SettingsPlan(count, (ChannelPlan(deep),) * min(channels, 4096), times, positions)
    if slices is None:
        return NoPlan()
    return IntendedPlan(slices, times * positions * channels)


def _exposures(settings: Mapping[str, Any], names: tuple[str, ...]) -> tuple[float | None, ...]:
    used = _used_channels(settings, names)
    return tuple(positive(c.get("exposure")) for c in used)
