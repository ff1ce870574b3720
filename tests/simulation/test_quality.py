"""Metrics against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from live_restore.simulation.quality import best_gaussian, psnr


def test_psnr_is_its_definition() -> None:
    truth = np.array([0.0, 10.0, 5.0])
    assert psnr(truth + 1, truth) == pytest.approx(20.0)
    assert psnr(truth, truth) == math.inf


def test_the_best_gaussian_is_no_worse_than_none() -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros((8, 32, 32))
    truth[2:6, 8:24, 8:24] = 100
    noisy = truth + rng.normal(0, 20, truth.shape)
    filtered, sigma = best_gaussian(noisy, truth)
    assert psnr(filtered, truth) > psnr(noisy, truth) + 3
    assert max(sigma) > 0
    untouched, sigma = best_gaussian(truth, truth)
    assert sigma == (0.0, 0.0)
    assert np.array_equal(untouched, truth.astype(np.float32))
