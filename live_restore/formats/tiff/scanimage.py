"""Which plane of a ScanImage file belongs to which stack. Pure.

ScanImage (2016 and later) writes its settings as lines ``SI.hStackManager.numSlices = 5`` into the
Software tag, version 5 as ``scanimage.SI.hFastZ...`` into the description. Planes follow one
another by volume, slice, frame of a slice and channel, the channel fastest; frames that were taken
while the objective flew back close each volume.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from live_restore.formats.tiff.layout import Found, Layout
from live_restore.formats.units import decimal
from live_restore.stack import VoxelSize

MAX_CHANNELS = 64
_LINE = re.compile(r"^(?:scanimage\.)?SI\.(\w+(?:\.\w+)*) = (.*)$", re.MULTILINE | re.ASCII)
_FRAME = re.compile(r"^(?:scanimage\.)?(?:frameNumbers|Frame Number) = (\d{1,9})\s*$", re.MULTILINE)
_MOST = 10**6
_LEAST = 1e-6
"""Volumes per second, and um between planes: what is less is no number of a microscope."""
_NOT_SAID = "ScanImage file that does not say how many slices, frames and channels it has"

Settings = dict[str, str]
"""ScanImage's, without ``SI.``: name to value, as they are written."""


def settings_of(software: str, descriptions: Sequence[str]) -> Settings:
    """Return ScanImage's settings, empty where another program wrote the file.

    Examples
    --------
    >>> settings_of("SI.hFastZ.enable = true\\nSI.hChannels.channelSave = [1;2]", ())
    {'hFastZ.enable': 'true', 'hChannels.channelSave': '[1;2]'}
    """
    for text in (software, *descriptions):
        if text.startswith("SI.") or "scanimage.SI." in text:
            return dict(_LINE.findall(text))
    return {}


def first_frame_of(descriptions: Sequence[str]) -> int:
    """Return the number of a file's first frame, from 1; above 1 in the later files of a run."""
    found = (_FRAME.search(text) for text in descriptions)
    return max(1, next((int(match[1]) for match in found if match), 1))


@dataclass(frozen=True)
class _Volume:
    """How one volume lies in the file: frames of each channel."""

    slices: int
    frames: int
    flyback: int
    channels: int

    @property
    def with_flyback(self) -> int:
        return self.slices * self.frames + self.flyback

    @property
    def planes(self) -> int:
        return self.with_flyback * self.channels


def scanimage(found: Found, settings: Settings, first_frame: int = 1) -> Layout:
    """Lay out a file by ScanImage's settings.

    Parameters
    ----------
    found
        The file.
    settings
        From :func:`settings_of`.
    first_frame
        From :func:`first_frame_of`.

    Raises
    ------
    PlanesMissingError
        Planes are still missing.
    StackRefusedError
        There is no z, the settings do not say enough, or the file begins within a volume.
    """
    volume = _volume(found, settings)
    if (first_frame - 1) % volume.with_flyback:
        raise found.refused(
            f"ScanImage file that begins with frame {first_frame}, within a volume of "
            f"{volume.with_flyback}",
            "let ScanImage write whole volumes into each file (frames per file)",
        )
    frames = _frames_in_file(settings, volume, first_frame - 1)
    declared = None if frames is None else frames * volume.channels
    # Without a number, at least one volume; with it, all that the file is to hold.
    found.need(volume.planes if declared is None else declared)
    there = found.planes if declared is None else declared
    volumes = there // volume.planes
    if not volumes:
        raise found.refused(
            f"ScanImage file of {there} planes, fewer than the {volume.planes} of one volume",
            "let ScanImage write whole volumes into each file (frames per file)",
        )
    frames_in_volume = volume.slices * volume.frames
    table = (
        np.arange(volumes * volume.planes, dtype=np.int64)
        .reshape(volumes, volume.with_flyback, volume.channels)[:, :frames_in_volume]
        .reshape(volumes, volume.slices, volume.frames, volume.channels)
    )
    times = volumes * volume.frames
    planes = table.transpose(0, 2, 3, 1).reshape(1, times, volume.channels, volume.slices)
    left = there - volumes * volume.planes
    rate = _number(settings, "hRoiManager.scanVolumeRate") or 0.0
    return Layout(
        planes,
        "T" * (times > 1) + "Z" + "C" * (volume.channels > 1) + "YX",
        declared,
        _voxel(found, settings),
        _channel_names(settings),
        time_increment_s=1 / rate if rate > _LEAST and times == volumes > 1 else None,
        notes=(
            (f"{volume.flyback} frames of the way back after each volume left out",)
            if volume.flyback
            else ()
        ),
        assumptions=(
            (f"the last {left} planes begin a stack that the file does not end: left out",)
            if left
            else ()
        ),
    )


def _volume(found: Found, settings: Settings) -> _Volume:
    channels = _channel_numbers(settings)
    slices = _count(settings, "hStackManager.actualNumSlices", "hStackManager.numSlices")
    frames = _count(settings, "hStackManager.framesPerSlice") or 1
    averaged = _count(settings, "hScan2D.logAverageFactor") or 1
    if not channels or slices is None:
        raise found.refused(_NOT_SAID, "save as OME-TIFF")
    fast = settings.get("hFastZ.enable") in ("true", "1")
    stack = settings.get("hStackManager.enable") in ("true", "1")
    if slices < 2 or not (fast or stack):
        raise found.refused(
            f"2-D images ({found.height} x {found.width}) without a Z axis (ScanImage's stack is "
            "off)",
            "acquire a z-stack",
        )
    # Averaged frames are logged as one. A fast stack takes one frame at each depth.
    frames = 1 if fast else max(1, frames // averaged)
    with_flyback = slices * frames
    if fast:
        with_flyback = max(with_flyback, _count(
            settings, "hStackManager.numFramesPerVolumeWithFlyback", "hFastZ.numFramesPerVolume"
        ) or 0)  # fmt: skip
    return _Volume(slices, frames, with_flyback - slices * frames, len(channels))


def _frames_in_file(settings: Settings, volume: _Volume, before: int) -> int | None:
    """Return how many frames the file is to hold, ``None`` where nobody said how many volumes."""
    names = ("hStackManager.actualNumVolumes", "hStackManager.numVolumes", "hFastZ.numVolumes")
    volumes = _count(settings, *names)
    if volumes is None:
        return None
    left = max(0, volumes * volume.with_flyback - before)
    per_file = _count(settings, "hScan2D.logFramesPerFile")
    return left if per_file is None else min(left, per_file)


def _voxel(found: Found, settings: Settings) -> VoxelSize:
    lateral = found.voxel()
    names = ("hStackManager.actualStackZStepSize", "hStackManager.stackZStepSize")
    step = next((step for step in (_number(settings, name) for name in names) if step), None)
    return VoxelSize(abs(step) if step and abs(step) > _LEAST else None, lateral.y_um, lateral.x_um)


def _channel_numbers(settings: Settings) -> list[int]:
    saved = re.findall(r"\d{1,3}", settings.get("hChannels.channelSave", ""))
    return list(dict.fromkeys(int(text) for text in saved[:MAX_CHANNELS] if int(text)))


def _channel_names(settings: Settings) -> tuple[str, ...]:
    names = re.findall(r"'([^']*)'", settings.get("hChannels.channelName", ""))
    numbers = _channel_numbers(settings)
    return tuple(names[number - 1] for number in numbers) if max(numbers) <= len(names) else ()


def _number(settings: Settings, name: str) -> float | None:
    return decimal(settings.get(name))


def _count(settings: Settings, *names: str) -> int | None:
    """Return the first of several settings that is a whole number above 0; ``inf`` is none."""
    for name in names:
        value = _number(settings, name)
        if value is not None and value == int(value) and 0 < value <= _MOST:
            return int(value)
    return None
