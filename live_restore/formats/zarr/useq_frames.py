"""Which frame of an acquisition is which plane, by its useq sequence. Pure.

Where channels skip planes or time points, pymmcore-plus 0.18.1 gives up the axes: its OME-Zarr is
then one row of frames in the order of acquisition. Which is which follows from the sequence
that lies beside them. Loops and skips as useq-schema runs them (measured on version 0.18.1 of
pymmcore-plus); what is not known here (grids, sequences within positions) is left alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from live_restore.files.values import integer, number, positive
from live_restore.formats.plan import ChannelPlan, SettingsPlan
from live_restore.stack import StackIndex

MAX_FRAMES = 2_000_000


@dataclass(frozen=True, eq=False)
class FrameOrder:
    """The frames of an acquisition.

    Parameters
    ----------
    frames
        Position, time, channel and z index (columns) of each frame (rows), in the order of
        acquisition. An array: a sequence of few letters can describe millions of frames.
    plan
        What each stack is to have.
    z_step_um, interval_s
        ``None`` where the sequence does not say.
    """

    frames: NDArray[np.int32]
    plan: SettingsPlan
    z_step_um: float | None
    interval_s: float | None
    sizes: tuple[int, int, int, int]

    def frame(self, number: int) -> tuple[StackIndex, int]:
        """Return the stack and the z index of a frame."""
        position, time, channel, z = self.frames[number].tolist()
        return StackIndex(position, time, channel), z

    @functools.cached_property
    def _numbers(self) -> NDArray[np.int32]:
        numbers = np.full(self.sizes, -1, np.int32)
        numbers[tuple(self.frames.T)] = np.arange(len(self.frames), dtype=np.int32)
        return numbers

    def number(self, stack_index: StackIndex, z: int) -> int:
        """Return which frame a plane is."""
        return int(self._numbers[(*stack_index, z)])


def frame_order(
    sequence: Mapping[str, Any], channels: tuple[ChannelPlan, ...]
) -> FrameOrder | None:
    """Return the order of frames, ``None`` where the sequence holds something unknown."""
    order = sequence.get("axis_order")
    positions = sequence.get("stage_positions") or [{}]
    if not isinstance(order, list | str) or not isinstance(positions, list):
        return None
    axes = [axis for axis in order if axis in ("t", "p", "c", "z")]
    slices, step = _slices(sequence.get("z_plan"))
    times, interval = _times(sequence.get("time_plan"))
    channels = channels or (ChannelPlan(),)
    sizes = {"t": times, "p": len(positions), "c": len(channels), "z": slices}
    axes += [axis for axis in sizes if axis not in axes]
    known = not sequence.get("grid_plan") and len(set(axes)) == len(axes)
    plain = all(isinstance(p, Mapping) and not p.get("sequence") for p in positions)
    total = math.prod(sizes.values())
    if not known or not plain or not 0 < total <= MAX_FRAMES:
        return None
    index = np.unravel_index(np.arange(total, dtype=np.int32), [sizes[axis] for axis in axes])
    at = {axis: each.astype(np.int32) for axis, each in zip(axes, index, strict=True)}
    every = np.array([channel.every for channel in channels], np.int64)[at["c"]]
    whole = np.array([channel.z_stack for channel in channels])[at["c"]]
    taken = (at["t"] % every == 0) & (whole | (at["z"] == slices // 2))
    frames = np.stack([at[axis][taken] for axis in "ptcz"], axis=1)
    plan = SettingsPlan(slices, channels, times, len(positions))
    shape = (len(positions), times, len(channels), slices)
    return FrameOrder(frames, plan, step, interval, shape)


def _slices(plan: object) -> tuple[int, float | None]:
    """Return the number of planes and their distance (um); 0 where the plan is unknown.

    Examples
    --------
    >>> _slices({"range": 4.0, "step": 0.5})
    (9, 0.5)
    >>> _slices({"relative": [0, 1, 2]})
    (3, 1.0)
    """
    if plan is None:
        return 1, None
    if not isinstance(plan, Mapping):
        return 0, None
    for key in ("relative", "absolute"):
        listed = plan.get(key)
        if isinstance(listed, list) and listed:
            heights = [number(each) for each in listed[:2]]
            two = [height for height in heights if height is not None]
            return len(listed), abs(two[1] - two[0]) or None if len(two) == 2 else None
    step = positive(plan.get("step"))
    ends = [number(plan.get(key)) for key in ("bottom", "top", "below", "above", "range")]
    bottom, top, below, above, span = ends
    if bottom is not None and top is not None:
        span = abs(top - bottom)
    elif below is not None and above is not None:
        span = abs(above) + abs(below)
    if step is None or span is None or span / step > MAX_FRAMES:
        return 0, None
    return math.floor(span / step + 1e-6) + 1, step


def _times(plan: object) -> tuple[int, float | None]:
    """Return the number of time points and their distance (s); 0 where the plan is unknown."""
    if plan is None:
        return 1, None
    if not isinstance(plan, Mapping):
        return 0, None
    return integer(plan.get("loops")) or 0, positive(plan.get("interval"))
