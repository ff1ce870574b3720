"""Finished stacks, and publishing them: what tests of outputs begin with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from live_restore.inference.model.model import Model
from live_restore.inference.restored import Restored
from live_restore.outputs.output import (
    FinishedStack,
    Output,
    Published,
    ResultPath,
    ResultRequest,
    Verify,
)
from live_restore.stack import StackIndex, Volume, VoxelSize
from live_restore.trust.stack_trust import assess

UNKNOWN_VOXEL = VoxelSize()
FIRST = StackIndex()


def publish_all(
    output: Output,
    request: ResultRequest,
    result_path: ResultPath,
    stacks: Iterable[FinishedStack],
    verify: Verify = tuple,
) -> Published:
    """Publish a result whose stacks are all at hand; see ``Output.begin``."""
    with output.begin(request, result_path, verify) as publication:
        for stack in stacks:
            publication.take(stack)
        return publication.close()


@dataclass(frozen=True)
class Described:
    """What an independent reader finds in an image besides its voxels."""

    voxel: VoxelSize
    channel_names: tuple[str, ...]


def finished_stack(
    raw: Volume,
    restored: Restored | None = None,
    model: Model | None = None,
    *,
    index: StackIndex = FIRST,
    voxel: VoxelSize = UNKNOWN_VOXEL,
    reason: str = "",
    read_s: float = 0.0,
) -> FinishedStack:
    """Return a stack as a worker hands it to an output, assessed."""
    card = None if model is None else model.card
    trust = assess(raw, restored, card, voxel)
    return FinishedStack(index, raw, restored, model, trust, reason, read_s)


def some_volume(seed: int, shape_zyx: tuple[int, int, int], dtype: str = "uint16") -> Volume:
    """Return (Z, Y, X) of grey values from 1 to 255: no voxel is zero."""
    values = np.random.default_rng(seed).integers(1, 256, shape_zyx)
    return values.astype(dtype)
