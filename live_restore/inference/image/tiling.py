"""Tiles: cut a stack into overlapping windows of one shape, and blend the results.

Pure arithmetic; knows nothing of networks. Neighbouring windows are blended by weights that sum
to one everywhere. A quarter of each overlap at a window's border is not used at all: a
convolution has seen padding there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TilePlan:
    """Windows of one shape that cover a stack.

    Parameters
    ----------
    stack_zyx
        Shape of the stack.
    padded_zyx
        The stack with reflections appended at its far ends, where a tile must be larger.
    tile_zyx
        Shape of every tile.
    starts_zyx
        First voxel of the tiles along each axis, in the padded stack.
    """

    stack_zyx: Shape
    padded_zyx: Shape
    tile_zyx: Shape
    starts_zyx: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    @property
    def tile_count(self) -> int:
        """Number of tiles."""
        z, y, x = (len(s) for s in self.starts_zyx)
        return z * y * x

    def windows(self) -> Iterator[tuple[tuple[int, int, int], tuple[slice, slice, slice]]]:
        """Yield each tile's number along (Z, Y, X) and its slices in the padded stack."""
        for index in itertools.product(*(range(len(s)) for s in self.starts_zyx)):
            z, y, x = (self.starts_zyx[axis][i] for axis, i in enumerate(index))
            a, b, c = self.tile_zyx
            yield (
                (index[0], index[1], index[2]),
                (slice(z, z + a), slice(y, y + b), slice(x, x + c)),
            )


def plan_tiles(
    stack_zyx: Shape, max_voxels: int, overlap_zyx: Shape, multiple_zyx: Shape
) -> TilePlan:
    """Return few tiles of at most ``max_voxels`` that cover a stack.

    The whole stack is one tile where it fits: channel attention averages over a tile, so larger
    tiles are closer to what the network would do without them.

    Parameters
    ----------
    stack_zyx
        Shape of the stack, each at least 1.
    max_voxels
        Largest tile. Exceeded only where tiles just above 2 overlaps along every axis do not fit
        either.
    overlap_zyx
        Least number of voxels that neighbours share; rounded up to the multiples.
    multiple_zyx
        What tile sizes must be multiples of; tiles begin at multiples of it, too. A network that
        folds pixels into channels gives other results where its folds lie elsewhere.

    Examples
    --------
    >>> plan_tiles((16, 256, 256), 2_000_000, (4, 16, 16), (1, 2, 2)).tile_count
    1
    >>> plan = plan_tiles((16, 1024, 1024), 2_000_000, (4, 16, 16), (1, 2, 2))
    >>> plan.tile_count, plan.tile_zyx
    (9, (16, 352, 352))
    """
    counts = [1, 1, 1]
    overlap_zyx = _multiples(overlap_zyx, multiple_zyx)

    def tile_along(axis: int, count: int) -> int:
        size, overlap = stack_zyx[axis], overlap_zyx[axis]
        if count == 1:
            return _round_up(size, multiple_zyx[axis])
        shared = -(-(size + (count - 1) * overlap) // count)
        return _round_up(max(shared, 2 * overlap + 1), multiple_zyx[axis])

    def count_for_smaller_tiles(axis: int) -> int | None:
        smaller = tile_along(axis, counts[axis]) - multiple_zyx[axis]
        overlap = overlap_zyx[axis]
        if smaller <= 2 * overlap:
            return None
        return max(2, -(-(stack_zyx[axis] - overlap) // (smaller - overlap)))

    while math.prod(tile_along(a, counts[a]) for a in range(3)) > max_voxels:
        # Cut the axis whose tiles are longest; Z counts a third, since stacks are flat and the
        # overlap eats a larger part of it.
        candidates = [
            (tile_along(axis, counts[axis]) / (3 if axis == 0 else 1), axis, count)
            for axis in range(3)
            if (count := count_for_smaller_tiles(axis)) is not None
        ]
        if not candidates:
            break
        _, axis, count = max(candidates)
        counts[axis] = count
    tile = tuple(tile_along(a, counts[a]) for a in range(3))
    whole = _multiples(stack_zyx, multiple_zyx)
    padded = tuple(max(whole[a], tile[a]) for a in range(3))
    starts = tuple(_spread(padded[a], tile[a], counts[a], multiple_zyx[a]) for a in range(3))
    return TilePlan(
        stack_zyx,
        (padded[0], padded[1], padded[2]),
        (tile[0], tile[1], tile[2]),
        (starts[0], starts[1], starts[2]),
    )


def run_tiled(
    stack: NDArray[np.generic],
    plan: TilePlan,
    prepare: Callable[[NDArray[np.generic]], Floats],
    run: Callable[[Floats], Floats],
) -> Floats:
    """Run a network over a stack tile by tile and blend.

    Parameters
    ----------
    stack
        (Z, Y, X), or (C, Z, Y, X) where the network takes C channels together; any type.
    plan
        From :func:`plan_tiles` for this shape.
    prepare
        Maps raw voxels to network units; called per tile, so no float copy of the stack is made.
    run
        The network: float32 of the stack's axes in and out, same shape.

    Returns
    -------
    ndarray
        float32 in network units, the stack's shape.
    """
    lead = stack.shape[:-3]
    pad = [(0, p - s) for p, s in zip(plan.padded_zyx, plan.stack_zyx, strict=True)]
    grows = any(after for _, after in pad)
    padded = np.pad(stack, [(0, 0)] * len(lead) + pad, mode="reflect") if grows else stack
    z_size, y_size, x_size = plan.stack_zyx
    inner = (..., slice(0, z_size), slice(0, y_size), slice(0, x_size))
    if plan.tile_count == 1:
        return np.ascontiguousarray(run(prepare(padded))[inner])
    weights = [
        _axis_weights(plan.padded_zyx[a], plan.tile_zyx[a], plan.starts_zyx[a]) for a in range(3)
    ]
    blended = np.zeros((*lead, *plan.padded_zyx), np.float32)
    for (z, y, x), window in plan.windows():
        tile = run(prepare(padded[(..., *window)]))
        tile = tile * weights[0][z][:, None, None]
        tile *= weights[1][y][:, None]
        tile *= weights[2][x]
        blended[(..., *window)] += tile
    return np.ascontiguousarray(blended[inner])


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _multiples(sizes: Shape, multiples: Shape) -> Shape:
    z, y, x = (_round_up(size, m) for size, m in zip(sizes, multiples, strict=True))
    return z, y, x


def _spread(size: int, tile: int, count: int, multiple: int) -> tuple[int, ...]:
    """Return ``count`` evenly spread first voxels of tiles in ``size``, at multiples."""
    if count == 1:
        return (0,)
    steps = (size - tile) // multiple
    return tuple(round(i * steps / (count - 1)) * multiple for i in range(count))


def _axis_weights(size: int, tile: int, starts: tuple[int, ...]) -> list[Floats]:
    """Return each tile's weights along one axis; over the tiles they sum to 1 at every voxel."""
    raw = np.zeros((len(starts), size))
    for i, start in enumerate(starts):
        ramp = np.ones(tile)
        if i > 0:
            ramp *= _ramp(tile, starts[i - 1] + tile - start)
        if i + 1 < len(starts):
            ramp *= _ramp(tile, start + tile - starts[i + 1])[::-1]
        raw[i, start : start + tile] = ramp
    raw /= raw.sum(axis=0)
    return [raw[i, start : start + tile].astype(np.float32) for i, start in enumerate(starts)]


def _ramp(tile: int, shared: int) -> NDArray[np.float64]:
    """Return weights that rise from 0 to 1 over the middle half of ``shared`` voxels."""
    unused = shared // 4
    rising = max(1, shared - 2 * unused)
    position = np.arange(tile) - unused + 0.5
    # Never exactly zero: where rounding leaves a voxel to one tile alone, that tile must count.
    return np.clip(position / rising, 1e-6, 1.0)
