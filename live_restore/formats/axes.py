"""Named axes, as NDTiff's images and the events of scripts have them, turned into indices. Pure.

Axes are free: a name, and a number or a label. Time, channel, z and position have their place;
whatever else there is (row, column, view ...) makes more positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from live_restore.files.values import integer, text
from live_restore.stack import StackIndex

MAX_LABELS = 1_000_000
MAX_AXES = 16


class AxisError(Exception):
    """Axes that no image can have."""


Label = int | str


class _Labels:
    """Labels of one axis, numbered in the order in which they appear."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[Label, ...], int] = {}
        self.plain = False

    def index(self, key: tuple[Label, ...]) -> int:
        """Return a label's index; a lone number is its own."""
        if len(key) == 1 and isinstance(key[0], int):
            if self.numbers:
                raise AxisError("an axis has numbers and labels")
            self.plain = True
            return key[0]
        if self.plain:
            raise AxisError("an axis has numbers and labels")
        if key not in self.numbers and len(self.numbers) >= MAX_LABELS:
            raise AxisError("an axis has too many labels")
        return self.numbers.setdefault(key, len(self.numbers))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(" ".join(str(part) for part in key) for key in self.numbers)


class AxisLabels:
    """Turns the axes of an image into indices."""

    def __init__(self) -> None:
        self._channels, self._times, self._positions = _Labels(), _Labels(), _Labels()

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Labels of the channels, empty where they are numbers."""
        return self._channels.names

    @property
    def position_names(self) -> tuple[str, ...]:
        """Labels of the positions, empty where they are numbers."""
        return self._positions.names

    def stack_index(self, axes: Mapping[str, Any]) -> tuple[StackIndex, int]:
        """Return the stack and the z index of an image.

        Raises
        ------
        AxisError
            These axes cannot be.

        Examples
        --------
        >>> labels = AxisLabels()
        >>> labels.stack_index({"channel": "DAPI", "z": 3, "time": 1})
        (StackIndex(position=0, time=1, channel=0), 3)
        >>> labels.stack_index({"channel": "FITC", "position": 2})
        (StackIndex(position=2, time=0, channel=1), 0)
        """
        if len(axes) > MAX_AXES:
            raise AxisError(f"an image has {len(axes)} axes")
        z = axes.get("z", 0)
        if isinstance(z, bool) or not isinstance(z, int) or abs(z) >= 2**31:
            raise AxisError(f"an image has z = {str(z)[:40]}")
        others = sorted(name for name in axes if name not in ("z", "time", "channel", "position"))
        position: tuple[Label, ...] = (_label(axes.get("position", 0)),)
        for name in others:
            position += (text(name, 40), _label(axes[name]))
        stack_index = StackIndex(
            self._positions.index(position),
            self._times.index((_label(axes.get("time", 0)),)),
            self._channels.index((_label(axes.get("channel", 0)),)),
        )
        return stack_index, z


def _label(value: object) -> Label:
    if isinstance(value, str):
        return value[:200]
    found = integer(value)
    if found is None:
        raise AxisError(f"an axis is at {str(value)[:40]}")
    return found
