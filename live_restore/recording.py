"""What the raw data say about how they were recorded, beyond what restoring them needs.

Carried from the raw file into the result and its report; no voxel depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple

StageUnit = Literal["um", "reference frame"]
"""Of a stage position: micrometres, or the stage's own steps where the file does not say."""


class PlaneMetadata(NamedTuple):
    """When, how long and where one plane was recorded; ``None`` where the file does not say.

    ``delta_t_s`` counts from the beginning of the acquisition (s), ``exposure_s`` is in seconds,
    ``x``, ``y`` and ``z`` are the stage's, in ``stage_unit``.
    """

    delta_t_s: float | None = None
    exposure_s: float | None = None
    x: float | None = None
    y: float | None = None
    z: float | None = None
    stage_unit: StageUnit = "um"

    @property
    def known(self) -> bool:
        """Whether the file says any of it."""
        return any(value is not None for value in self[:5])


@dataclass(frozen=True)
class ChannelMetadata:
    """How a channel is shown, the light that it is of (nm), and what recorded it.

    ``None``: unknown. ``camera_serial`` is the serial number of its camera, "" where unknown.
    """

    rgba: tuple[int, int, int, int] | None = None
    emission_nm: float | None = None
    excitation_nm: float | None = None
    camera_serial: str = ""


@dataclass(frozen=True)
class ImageMetadata:
    """How the stacks of one file were recorded.

    Parameters
    ----------
    acquired
        When each position was recorded, ISO 8601 as the file writes it; "" where it does not say.
    channels
        By channel index, or empty.
    planes
        By position, time and channel (a ``StackIndex`` will do): one entry per z, or absent.
    photometric
        Which end of the grey values is to be shown black.
    """

    acquired: tuple[str, ...] = ()
    channels: tuple[ChannelMetadata, ...] = ()
    planes: Mapping[tuple[int, int, int], tuple[PlaneMetadata, ...]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    photometric: Literal["minisblack", "miniswhite"] = "minisblack"
