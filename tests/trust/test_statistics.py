"""Statistics of a stack: right for every dtype, and always JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from live_restore.trust.statistics import image_statistics


def raw_stack(dtype: str) -> np.ndarray:
    return np.random.default_rng(2).integers(10, 200, (3, 5, 6)).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_statistics(dtype: str) -> None:
    volume = raw_stack(dtype)
    said = image_statistics(volume)
    assert (said["min"], said["max"]) == (volume.min(), volume.max())
    assert said["median"] == np.median(volume)
    assert said["std"] == pytest.approx(volume.std(dtype=np.float64))
    assert said["p99.9"] == pytest.approx(np.percentile(volume, 99.9))


def test_statistics_of_extreme_floats_are_still_json() -> None:
    volume = np.array([[[-3e38, 3e38]]], np.float32)
    json.dumps(image_statistics(volume), allow_nan=False)


def test_a_large_stack_is_sampled_but_for_its_extremes() -> None:
    volume = np.random.default_rng(2).poisson(50, (9, 512, 512)).astype(np.uint16) + np.uint16(100)
    volume[3, 77, 5], volume[8, 500, 1] = 7, 60_000
    for dtype in (np.uint16, np.float32):
        found = image_statistics(volume.astype(dtype))
        assert (found["min"], found["max"]) == (7, 60_000)
        assert found["median"] == np.median(volume)
        assert found["p99.9"] == pytest.approx(np.percentile(volume, 99.9), abs=1)
        assert found["mean"] == pytest.approx(volume.mean(), rel=1e-3)
