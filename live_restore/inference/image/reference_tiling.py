"""Tiles as the reference implementation of the 3D RCAN cuts and blends them.

For a lab that has to show that it gets the numbers of before. Intensity scale, block, overlap and
ramp are described with the method (Chen et al., Nature Methods 18, 678 (2021)). Two rules that
decide numbers are not, and were found by comparing with images that the published program had
restored: a tile starts at every step as long as there is a voxel left, so that the last tile may
hold a single plane that its neighbour has already; and a tile that reaches beyond the stack is
cut first and then mirrored in itself, not in the stack.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from live_restore.inference.image.intensity import scale_from_percentiles

Array = NDArray[np.float32]
Shape = tuple[int, int, int]
RunTile = Callable[[Array], Array]
"""Tile (1, C, Z, Y, X) in network units in, restored tile out; always of the block's shape."""


def reference_overlap(block_zyx: Shape) -> Shape:
    """Return the overlap of neighbouring tiles: an eighth of the block, none on an axis of <= 2.

    Examples
    --------
    >>> reference_overlap((16, 256, 256))
    (2, 32, 32)
    """
    z, y, x = (size // 8 if size > 2 else 0 for size in block_zyx)
    return (z, y, x)


def tile_starts(size: int, block: int, overlap: int) -> list[int]:
    """Return where tiles begin along one axis; the last one may reach beyond ``size``.

    Examples
    --------
    >>> tile_starts(83, 48, 6)
    [0, 42]
    >>> tile_starts(15, 8, 1)
    [0, 7, 14]
    """
    return list(range(0, size, block - overlap))


def ramp(block: int, overlap: int) -> Array:
    """Return the weights of a tile along one axis: 1, falling linearly in both overlaps.

    Voxel k of an overlap of n weighs ``(k + 1) / (n + 1)``, so that no voxel weighs nothing.

    Examples
    --------
    >>> ramp(6, 1).tolist()
    [0.5, 1.0, 1.0, 1.0, 1.0, 0.5]
    """
    rising = np.arange(1, overlap + 1, dtype=np.float32) / np.float32(overlap + 1)
    flat = np.ones(block - 2 * overlap, np.float32)
    return np.concatenate([rising, flat, rising[::-1]])


def blend_tiles(
    normalised: Array,
    run: RunTile,
    block_zyx: Shape,
    overlap_zyx: Shape | None = None,
) -> Array:
    """Restore a stack tile by tile and return the weighted mean of the tiles.

    Parameters
    ----------
    normalised
        (C, Z, Y, X) in network units; any Z, Y, X of at least 1.
    run
        The network, called once per tile.
    block_zyx
        Shape of a tile, voxels. In the reference it is the shape of the training patches; channel
        attention averages over the tile, so another block gives other numbers.
    overlap_zyx
        At most half of the block; the reference's where not given.

    Returns
    -------
    (C, Z, Y, X) float32 in network units, of the output channels.

    Raises
    ------
    ValueError
        An empty stack, or an overlap that does not fit the block.
    """
    overlap = reference_overlap(block_zyx) if overlap_zyx is None else overlap_zyx
    if normalised.ndim != 4 or 0 in normalised.shape:
        raise ValueError(f"a stack has axes C, Z, Y, X and is not empty, not {normalised.shape}")
    if any(b < 1 or not 0 <= 2 * o <= b for b, o in zip(block_zyx, overlap, strict=True)):
        raise ValueError(f"an overlap of {overlap} does not fit tiles of {block_zyx}")
    shape = normalised.shape[1:]
    ramps = [ramp(b, o) for b, o in zip(block_zyx, overlap, strict=True)]
    weight = ramps[0][:, None, None] * ramps[1][:, None] * ramps[2]
    starts = [tile_starts(s, b, o) for s, b, o in zip(shape, block_zyx, overlap, strict=True)]
    blended: Array | None = None
    for corner in itertools.product(*starts):
        where = tuple(slice(c, c + b) for c, b in zip(corner, block_zyx, strict=True))
        tile = normalised[(slice(None), *where)]
        inside = tile.shape[1:]
        missing = [(0, 0), *((0, b - n) for b, n in zip(block_zyx, inside, strict=True))]
        restored = run(np.pad(tile, missing, mode="reflect")[np.newaxis])[0]
        if blended is None:
            blended = np.zeros((restored.shape[0], *shape), np.float32)
        kept = (slice(None), *(slice(n) for n in inside))
        blended[(slice(None), *where)] += (restored * weight)[kept]
    assert blended is not None  # every axis has at least one start
    # Weights are products of ramps and tiles form a grid, so their sum is a product too.
    for axis, (size, along) in enumerate(zip(shape, ramps, strict=True)):
        total = np.zeros(size, np.float32)
        for start in starts[axis]:
            total[start : start + along.size] += along[: size - start]
        blended /= total.reshape([-1 if a == axis + 1 else 1 for a in range(4)])
    return blended


def apply_reference(
    raw: NDArray[np.generic],
    run: RunTile,
    block_zyx: Shape,
    overlap_zyx: Shape | None = None,
    percentiles: tuple[float, float] = (2.0, 99.9),
) -> Array:
    """Return what the reference program computes from a raw stack.

    Parameters
    ----------
    raw
        (C, Z, Y, X), grey values; its percentiles are taken over everything that is in it, all
        channels together.
    run, block_zyx, overlap_zyx
        As in :func:`blend_tiles`.
    percentiles
        Ranks that become 0 and 1.

    Returns
    -------
    (C, Z, Y, X) float32 in network units: the reference never maps them back to grey values. For
    that use ``scale_from_percentiles(raw, *percentiles).restore(...)``.
    """
    normalised = scale_from_percentiles(raw, *percentiles).normalise(raw)
    return blend_tiles(normalised, run, block_zyx, overlap_zyx)
