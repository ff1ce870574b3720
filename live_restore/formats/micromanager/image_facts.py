"""What only the metadata of single images say of an NDTiff acquisition. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from live_restore.files.values import text
from live_restore.formats.micromanager.metadata import (
    by_channel,
    camera_serial,
    exposure_ms,
    names_by_channel,
    pixel_size_um,
    z_um,
)
from live_restore.stack import StackIndex

_NO_CHANNEL = "Default"
"""What the engine calls the channel of an acquisition without channels."""


class ImageFacts:
    """Pixel size, z step, exposures, cameras, channel names."""

    def __init__(self) -> None:
        self.image: Mapping[str, Any] = {}
        self.z_step_um: float | None = None
        self._exposures: dict[int, float | None] = {}
        self._cameras: dict[int, str] = {}
        self._channels: dict[int, str] = {}
        self._stack: StackIndex | None = None
        self._heights: dict[int, float] = {}

    @property
    def exposures(self) -> tuple[float | None, ...]:
        """Exposure (ms) by channel index, empty where no image has one."""
        if not any(self._exposures.values()):
            return ()
        return by_channel(self._exposures)

    @property
    def camera_serials(self) -> tuple[str, ...]:
        """Serial numbers by channel index, empty where no image has one."""
        return names_by_channel(self._cameras)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names by channel index, empty where none has one: axes had none before version 3.2."""
        if not self._channels:
            return ()
        return tuple(self._channels.get(c, str(c)) for c in range(max(self._channels) + 1))

    def wants(self, stack_index: StackIndex) -> bool:
        """Return whether an image's metadata could add anything."""
        return (
            self._stack is None
            or (self.z_step_um is None and stack_index == self._stack and len(self._heights) < 4)
            or (stack_index.channel not in self._exposures and stack_index.channel < 4096)
        )

    def learn(self, stack_index: StackIndex, z: int, metadata: Mapping[str, Any]) -> None:
        """Learn from one image; the z step is the distance of two neighbours."""
        if not self.wants(stack_index):
            return
        if stack_index.channel < 4096:
            self._exposures.setdefault(stack_index.channel, exposure_ms(metadata))
            self._cameras.setdefault(stack_index.channel, camera_serial(metadata))
            name = text(metadata.get("Channel"))
            if name and name != _NO_CHANNEL:
                self._channels.setdefault(stack_index.channel, name)
        if self._stack is None:
            self._stack = stack_index
            self.image = {"PixelSizeUm": pixel_size_um(metadata)}
        height = z_um(metadata)
        if stack_index != self._stack or height is None:
            return
        for neighbour in (z - 1, z + 1):
            step = abs(height - self._heights.get(neighbour, height))
            if step:
                self.z_step_um = step
        self._heights[z] = height
