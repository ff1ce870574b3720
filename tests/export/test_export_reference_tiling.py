"""The reference's tiles: rules that hold for every shape, whatever the network."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from live_restore.inference.image.reference_tiling import (
    apply_reference,
    blend_tiles,
    ramp,
    reference_overlap,
    tile_starts,
)

sizes = st.tuples(st.integers(1, 12), st.integers(1, 40), st.integers(1, 40))
blocks = st.tuples(st.integers(1, 9), st.integers(3, 24), st.integers(3, 24))


@settings(max_examples=60, deadline=None)
@given(shape=sizes, block=blocks, channels=st.integers(1, 2))
def test_a_network_that_does_nothing_changes_nothing(
    shape: tuple[int, int, int], block: tuple[int, int, int], channels: int
) -> None:
    stack = np.random.default_rng(0).random((channels, *shape)).astype("f4")
    seen = []

    def run(tile: np.ndarray) -> np.ndarray:
        seen.append(tile.shape)
        return tile

    assert np.allclose(blend_tiles(stack, run, block), stack, atol=1e-6)
    assert set(seen) == {(1, channels, *block)}, "every tile has the block's shape"


@given(size=st.integers(1, 200), block=st.integers(1, 64))
def test_tiles_cover_the_axis(size: int, block: int) -> None:
    overlap = block // 8 if block > 2 else 0
    starts = tile_starts(size, block, overlap)
    assert starts[0] == 0
    assert starts[-1] < size <= starts[-1] + block
    assert all(b - a == block - overlap for a, b in itertools.pairwise(starts))


def test_overlaps_and_ramps() -> None:
    assert reference_overlap((2, 64, 7)) == (0, 8, 0)
    assert np.allclose(ramp(8, 2), [1 / 3, 2 / 3, 1, 1, 1, 1, 2 / 3, 1 / 3])


def test_overlapping_tiles_are_blended_linearly() -> None:
    values = iter([0.0, 1.0, 1.0])
    out = blend_tiles(
        np.zeros((1, 1, 1, 14), np.float32),
        lambda tile: np.full_like(tile, next(values)),
        (1, 1, 8),
        (0, 0, 2),
    )
    assert np.allclose(out[0, 0, 0], [0] * 6 + [1 / 3, 2 / 3] + [1] * 6)


def test_a_tile_beyond_the_stack_is_mirrored_in_itself() -> None:
    tiles = []
    blend_tiles(
        np.arange(9, dtype=np.float32).reshape(1, 1, 1, 9),
        lambda tile: (tiles.append(tile[0, 0, 0, 0].copy()), tile)[1],
        (1, 1, 8),
        (0, 0, 1),
    )
    assert tiles[1].tolist() == [7, 8, 7, 8, 7, 8, 7, 8]


def test_output_channels_are_the_networks() -> None:
    raw = np.random.default_rng(0).integers(0, 900, (2, 5, 16, 16)).astype(np.uint16)
    out = apply_reference(raw, lambda tile: tile[:, :1], (4, 8, 8))
    low, high = np.percentile(raw, (2, 99.9))
    assert out.shape == (1, 5, 16, 16)
    assert np.allclose(out[0], (raw[0] - low) / (high - low + 1e-6), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "overlap"), [((1, 0, 4, 4), None), ((4, 4, 4), None), ((1, 4, 4, 4), (3, 0, 0))]
)
def test_nonsense_is_refused(shape: tuple[int, ...], overlap: tuple[int, int, int] | None) -> None:
    with pytest.raises(ValueError, match=r"stack has axes|does not fit"):
        blend_tiles(np.zeros(shape, np.float32), lambda tile: tile, (4, 4, 4), overlap)
