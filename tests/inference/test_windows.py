"""Windows: sums and interpolation against the obvious way, for stacks of every shape."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest

from live_restore.inference.image.windows import Grid

SHAPES = [
    (1, 1, 1),
    (1, 128, 128),
    (2, 3, 5),
    (3, 64, 64),
    (9, 70, 90),
    (40, 33, 17),
    (5, 300, 700),
    (6, 2, 1500),
    (700, 3, 4),
]


def blocks(grid: Grid, values: np.ndarray) -> np.ndarray:
    """Return the sum over each cell, one after the other."""
    z, y, x = (list(itertools.pairwise(edges)) for edges in grid.edges)
    return np.array(
        [[[values[a:b, c:d, e:f].sum() for e, f in x] for c, d in y] for a, b in z], np.float64
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_pieces_hold_every_voxel_once_and_sum_their_cells(shape: tuple[int, int, int]) -> None:
    values = np.random.default_rng(1).random(shape).astype(np.float32)
    grid = Grid.of(shape)
    sums, seen = np.full(grid.shape, np.nan), np.zeros(shape, int)
    for piece in grid.pieces():
        sums[piece.cells] = piece.sums(values[piece.voxels])
        seen[piece.voxels] += 1
    assert (seen == 1).all()
    np.testing.assert_allclose(sums, blocks(grid, values), rtol=1e-5)
    np.testing.assert_array_equal(grid.voxels(), blocks(grid, np.ones(shape)))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_window_is_two_cells_along_every_axis_that_has_two(shape: tuple[int, int, int]) -> None:
    grid = Grid.of(shape)
    cells = np.random.default_rng(2).random(grid.shape)
    windows = grid.windows(cells)
    for place in np.ndindex(windows.shape):
        held = tuple(slice(i, i + 2) for i in place)
        assert windows[place] == pytest.approx(cells[held].sum())


@pytest.mark.parametrize("shape", SHAPES)
def test_windows_hold_about_a_thousand_voxels_or_the_stack(shape: tuple[int, int, int]) -> None:
    grid = Grid.of(shape)
    voxels = grid.windows(grid.voxels())
    whole = int(np.prod(shape))
    assert voxels.min() >= min(whole, 500)
    assert voxels.max() <= max(3 * 1024, min(whole, 1024))


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_are_those_of_the_windows_at_their_centres(shape: tuple[int, int, int]) -> None:
    """And lie in between in between: a plane comes back as a plane, in every piece."""
    grid = Grid.of(shape)
    centres = [
        edges[1:-1] - 0.5 if len(edges) > 2 else np.array([(edges[-1] - 1) / 2])
        for edges in grid.edges
    ]
    z, y, x = np.meshgrid(*centres, indexing="ij")
    weights = (1 + 2 * z - 0.3 * y + 0.5 * x).astype(np.float32)
    inside = [
        np.clip(np.arange(size), each[0], each[-1])
        for size, each in zip(shape, centres, strict=True)
    ]
    z, y, x = np.meshgrid(*inside, indexing="ij")
    wanted = 1 + 2 * z - 0.3 * y + 0.5 * x
    for piece in grid.pieces():
        here = np.broadcast_to(grid.between_centres(weights, piece), wanted[piece.voxels].shape)
        np.testing.assert_allclose(here, wanted[piece.voxels], rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("shape", [(40000, 2, 2), (1, 2, 30000)])
def test_long_stacks_take_no_more_memory_than_others(shape: tuple[int, int, int]) -> None:
    grid = Grid.of(shape)
    weights = grid.windows(np.ones(grid.shape)).astype(np.float32)
    tracemalloc.start()
    for piece in grid.pieces():
        grid.between_centres(weights, piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16e6
