"""Order statistics from windows: exact, or none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from live_restore.inference.image import intensity, order_statistics
from live_restore.inference.image.intensity import percentiles
from live_restore.inference.image.order_statistics import neighbours

RANKS = (0.0, 2.0, 33.3, 99.9, 100.0)
SIZE = 1_500_000


def two_outliers(rng: np.random.Generator) -> np.ndarray:
    stack = np.full(SIZE, 100)
    stack[[5, 77]] = 3, 65535
    return stack


STACKS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "low light": lambda rng: rng.poisson(30, SIZE) + 100,
    "every grey value": lambda rng: rng.integers(0, 65536, SIZE),
    "saturated": lambda rng: np.minimum(rng.poisson(30, SIZE) + 65510, 65535),
    "two outliers": two_outliers,
    "constant": lambda _: np.full(SIZE, 7),
    "half black": lambda rng: np.where(rng.random(SIZE) < 0.5, 0, rng.integers(200, 60000, SIZE)),
    "two values": lambda rng: rng.integers(0, 2, SIZE) * 65535,
}


@pytest.mark.parametrize("kind", STACKS)
def test_large_stacks_have_exactly_the_percentiles_of_numpy(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = STACKS[kind](np.random.default_rng(2)).astype(np.uint16).reshape(3, 500, 1000)
    monkeypatch.setattr(order_statistics, "_PART", 2**18)  # several of them
    monkeypatch.setattr(intensity.Histogram, "of", None)  # windows are to tell
    assert percentiles(stack, RANKS) == tuple(np.percentile(stack, RANKS).tolist())


def test_eight_bits_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = np.random.default_rng(0).poisson(30, SIZE).astype(np.uint8)
    monkeypatch.setattr(intensity.Histogram, "of", None)
    assert percentiles(stack, RANKS) == tuple(np.percentile(stack, RANKS).tolist())


def test_a_sample_that_misleads_is_found_out() -> None:
    sampled = np.random.default_rng(0).integers(0, SIZE, order_statistics._SAMPLE)
    stack = np.zeros(SIZE, np.uint16)
    stack[sampled] = 1000
    assert neighbours(stack, [SIZE // 2]) is None
    assert percentiles(stack, (50.0, 99.9)) == tuple(np.percentile(stack, (50, 99.9)).tolist())
