"""Tiling: everything is covered, weights are fair, and blending changes nothing by itself."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from live_restore.inference.image.tiling import Shape, _axis_weights, plan_tiles, run_tiled


def triple(low: int, high: int) -> st.SearchStrategy[Shape]:
    one = st.integers(low, high)
    return st.tuples(one, one, one)


STACK, OVERLAP = triple(1, 40), triple(0, 6)
MULTIPLE = st.tuples(*[st.sampled_from([1, 1, 2, 3, 8, 16])] * 3)
LARGEST = st.integers(1, 20_000)
plans = settings(max_examples=150, deadline=None)


def round_up(value: int, multiple: int) -> int:
    return math.ceil(value / multiple) * multiple


def smallest_tile(stack: Shape, overlap: Shape, multiple: Shape) -> int:
    """Voxels of the smallest tile that the documentation promises to fall back to."""
    return math.prod(
        min(round_up(s, m), round_up(2 * round_up(o, m) + 1, m))
        for s, o, m in zip(stack, overlap, multiple, strict=True)
    )


@given(STACK, LARGEST, OVERLAP, MULTIPLE)
@plans
def test_plans_keep_what_they_promise(
    stack: Shape, largest: int, overlap: Shape, multiple: Shape
) -> None:
    plan = plan_tiles(stack, largest, overlap, multiple)
    assert math.prod(plan.tile_zyx) <= max(largest, smallest_tile(stack, overlap, multiple))
    for axis in range(3):
        starts, tile = plan.starts_zyx[axis], plan.tile_zyx[axis]
        assert tile % multiple[axis] == 0
        assert starts[0] == 0
        assert all(start % multiple[axis] == 0 for start in starts)
        assert starts[-1] + tile == plan.padded_zyx[axis] >= stack[axis]
        for before, start in itertools.pairwise(starts):
            assert before < start
            assert before + tile - start >= overlap[axis]
        if len(starts) > 1:
            assert plan.padded_zyx[axis] == round_up(stack[axis], multiple[axis])
    assert plan.tile_count == len(list(plan.windows()))


@given(STACK, LARGEST, OVERLAP, MULTIPLE)
@plans
def test_weights_sum_to_one_and_are_never_negative(
    stack: Shape, largest: int, overlap: Shape, multiple: Shape
) -> None:
    plan = plan_tiles(stack, largest, overlap, multiple)
    for axis in range(3):
        size, tile, starts = plan.padded_zyx[axis], plan.tile_zyx[axis], plan.starts_zyx[axis]
        total = np.zeros(size)
        for start, weights in zip(starts, _axis_weights(size, tile, starts), strict=True):
            assert weights.min() >= 0
            total[start : start + tile] += weights
        np.testing.assert_allclose(total, 1, atol=1e-6)


@given(STACK, LARGEST, OVERLAP, MULTIPLE)
@settings(max_examples=60, deadline=None)
def test_a_network_that_does_nothing_gives_the_stack_back(
    stack: Shape, largest: int, overlap: Shape, multiple: Shape
) -> None:
    plan = plan_tiles(stack, max(largest, 500), overlap, multiple)
    raw = np.random.default_rng(0).integers(0, 65536, stack).astype(np.uint16)
    seen = set()

    def run(tile: np.ndarray) -> np.ndarray:
        seen.add(tile.shape)
        return tile

    out = run_tiled(raw, plan, lambda part: part.astype(np.float32), run)
    assert seen == {plan.tile_zyx}
    assert out.shape == stack
    assert out.dtype == np.float32
    assert out.flags.c_contiguous
    np.testing.assert_allclose(out, raw, rtol=1e-5, atol=1e-2)


def test_a_border_that_is_wrong_by_padding_does_not_show() -> None:
    """A quarter of each overlap is not used: what a tile's own edge spoils must not be seen."""
    stack = np.full((4, 64, 64), 100, np.uint16)
    plan = plan_tiles(stack.shape, 4 * 40 * 40, (0, 16, 16), (1, 1, 1))
    assert plan.tile_count > 1

    def spoil(tile: np.ndarray) -> np.ndarray:
        spoiled = np.full_like(tile, 1e3)
        spoiled[:, 3:-3, 3:-3] = tile[:, 3:-3, 3:-3]
        return spoiled

    out = run_tiled(stack, plan, lambda part: part.astype(np.float32), spoil)
    np.testing.assert_allclose(out[:, 3:-3, 3:-3], 100, rtol=1e-3)


@pytest.mark.parametrize(
    ("stack", "largest", "overlap", "multiple"),
    [
        ((8, 32, 32), 8 * 32 * 32, (2, 4, 4), (1, 1, 1)),
        ((8, 32, 32), 8 * 32 * 31, (2, 4, 4), (1, 1, 1)),
        ((8, 32, 32), 8 * 20 * 20, (2, 4, 4), (1, 2, 2)),
        ((16, 64, 64), 16 * 40 * 40, (4, 8, 8), (1, 2, 2)),
        ((5, 64, 30), 4000, (1, 4, 4), (1, 2, 2)),
    ],
)
def test_few_tiles(stack: Shape, largest: int, overlap: Shape, multiple: Shape) -> None:
    """Compared with every way to cut each axis evenly: the fewest at these sizes."""

    def tile(axis: int, count: int) -> int:
        return round_up(
            math.ceil((stack[axis] + (count - 1) * overlap[axis]) / count), multiple[axis]
        )

    fewest = min(
        math.prod(counts)
        for counts in itertools.product(range(1, 8), repeat=3)
        if math.prod(tile(a, counts[a]) for a in range(3)) <= largest
        and all(counts[a] == 1 or tile(a, counts[a]) > 2 * overlap[a] for a in range(3))
    )
    assert plan_tiles(stack, largest, overlap, multiple).tile_count == fewest


def test_rounding_to_a_multiple_does_not_end_the_search() -> None:
    # Three tiles would be as large as two (128); four are smaller.
    plan = plan_tiles((1, 1, 256), 64, (0, 0, 0), (1, 1, 64))
    assert (plan.tile_count, plan.tile_zyx) == (4, (1, 1, 64))


def test_a_network_that_folds_pixels_sees_the_same_folds_in_every_tile() -> None:
    stack = np.random.default_rng(0).integers(0, 255, (1, 61, 75)).astype(np.uint8)
    plan = plan_tiles(stack.shape, 1100, (0, 7, 7), (1, 2, 2))
    assert plan.tile_count > 4

    def in_folds(tile: np.ndarray) -> np.ndarray:
        """Mean of each 2 x 2 pixels: another one where tiles begin at odd pixels."""
        means = tile.reshape(1, tile.shape[1] // 2, 2, tile.shape[2] // 2, 2).mean((2, 4))
        return means.repeat(2, axis=1).repeat(2, axis=2)

    def prepare(part: np.ndarray) -> np.ndarray:
        return part.astype(np.float32)

    whole = run_tiled(
        stack, plan_tiles(stack.shape, 10**6, (0, 7, 7), (1, 2, 2)), prepare, in_folds
    )
    np.testing.assert_allclose(run_tiled(stack, plan, prepare, in_folds), whole, rtol=1e-5)


def test_what_fits_is_one_tile_and_padded_by_reflection() -> None:
    plan = plan_tiles((3, 5, 6), 10**6, (4, 16, 16), (4, 4, 4))
    assert (plan.tile_count, plan.tile_zyx) == (1, (4, 8, 8))
    raw = np.random.default_rng(0).integers(0, 255, (3, 5, 6)).astype(np.uint8)
    given_tiles = []

    def run(tile: np.ndarray) -> np.ndarray:
        given_tiles.append(tile)
        return tile

    run_tiled(raw, plan, lambda part: part.astype(np.float32), run)
    expected = np.pad(raw, [(0, 1), (0, 3), (0, 2)], mode="reflect")
    assert np.array_equal(given_tiles[0], expected)
