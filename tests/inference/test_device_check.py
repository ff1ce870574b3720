"""Known answers: what a small tile tells about a large one."""

from __future__ import annotations

import numpy as np
import pytest

from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.onnx_cpu import TrustedSession
from live_restore.inference.backends.session import Floats, Shape5
from live_restore.inference.device.check import (
    TOLERANCE_FP32,
    known_tile,
    trusted_shape,
    worst_error,
)
from live_restore.inference.load import find_model
from live_restore.inference.model.card import ModelCard

CARD = ModelCard(name="x", shape_multiple_zyx=(1, 2, 2))
SHAPES: list[Shape5] = [(1, 1, 16, 160, 140), (1, 1, 40, 96, 40), (1, 1, 5, 130, 200)]


@pytest.fixture(scope="module")
def network() -> TrustedSession:
    path = find_model("fast")
    return TrustedSession(ModelSource.of(path, path.read_bytes()), Limits(1))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_small_tile_tells_the_large_result(network: TrustedSession, shape: Shape5) -> None:
    small = trusted_shape(shape, CARD)
    assert np.prod(small) < np.prod(shape)
    found = network.run(known_tile(shape, CARD))
    answer = network.run(known_tile(small, CARD))
    # A quarter of the tolerance: what is left of it is for larger tiles, and for the device.
    assert worst_error(found, answer, CARD) < TOLERANCE_FP32 / 4


@pytest.mark.parametrize("where", [np.s_[..., :8, -32:, -32:], np.s_[..., 64:96, 64:96]])
@pytest.mark.parametrize("spoil", [lambda x: x + 0.05, lambda x: x * np.nan, np.zeros_like])
def test_a_wrong_block_is_seen_wherever_it_is(where: tuple[slice, ...], spoil: object) -> None:
    shape: Shape5 = (1, 1, 16, 160, 140)
    found, answer = known_tile(shape, CARD), known_tile(trusted_shape(shape, CARD), CARD)
    assert worst_error(found, answer, CARD) == 0
    assert callable(spoil)
    found[where] = spoil(found[where])
    assert worst_error(found, answer, CARD) > TOLERANCE_FP32


def test_a_shifted_result_is_seen() -> None:
    shape: Shape5 = (1, 1, 16, 160, 140)
    answer: Floats = known_tile(trusted_shape(shape, CARD), CARD)
    shifted = np.roll(known_tile(shape, CARD), 1, axis=-1)
    assert worst_error(shifted, answer, CARD) > 10 * TOLERANCE_FP32


def test_tiles_are_what_the_model_takes() -> None:
    card = ModelCard(name="x", input_channels=2, output_channels=2, shape_multiple_zyx=(3, 5, 7))
    shape: Shape5 = (1, 2, 99, 1000, 700)
    small = trusted_shape(shape, card)
    assert all(s % m == 0 for s, m in zip(small[2:], (3, 5, 7), strict=True))
    tile = known_tile(small, card)
    assert (tile.shape, tile.dtype) == (small, np.float32)
    assert not np.array_equal(tile[0, 0], tile[0, 1])
    assert np.array_equal(tile, known_tile(small, card))
