"""Which frame of a run is which plane, by its useq sequence. Pure.

Where channels skip planes or time points, pymmcore-plus 0.18.1 gives up the axes: its OME-Zarr is
then one row of frames in the order of acquisition. Which is which has to be told from the sequence
that lies beside them. Loops and skips as useq-schema runs them (measured on version 0.18.1 of
pymmcore-plus); what is not known here (grids, sequences within positions) is left alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from live_restore.formats.dataset import Place
from live_restore.formats.plan import ChannelPlan, SettingsPlan
from live_restore.formats.untrusted import integer, number, positive

MAX_FRAMES = 2_000_000


@dataclass(frozen=True)
class FrameOrder:
    """The frames of a run.

    Parameters
    ----------
    frames
        Stack and z index of each frame, in the order of acquisition.
    plan
        What each stack is to have.
    z_step_um, interval_s
        ``None`` where the sequence does not say.
    """

    frames: tuple[tuple[Place, int], ...]
    plan: SettingsPlan
    z_step_um: float | None
    interval_s: float | None
    numbers: Mapping[tuple[Place, int], int] = field(default_factory=dict, compare=False)


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
    frames = []
    for index in itertools.product(*(range(sizes[axis]) for axis in axes)):
        at = dict(zip(axes, index, strict=True))
        channel = channels[at["c"]]
        if at["t"] % channel.every or (not channel.z_stack and at["z"] != slices // 2):
            continue
        frames.append((Place(at["p"], at["t"], at["c"]), at["z"]))
    plan = SettingsPlan(slices, channels, times, len(positions))
    numbers = {frame: number for number, frame in enumerate(frames)}
    return FrameOrder(tuple(frames), plan, step, interval, numbers)


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
