"""Metrics against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from live_restore.simulation.quality import best_gaussian, psnr, time_lapse_snr


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


def test_flicker_counts_as_change_and_a_lasting_error_does_not() -> None:
    rng = np.random.default_rng(1)
    truths = [rng.random((4, 16, 16)) * time for time in (1.0, 2.0, 3.0)]
    lasting, size = rng.normal(0, 0.1, (4, 16, 16)), (4, 16, 16)
    steady = time_lapse_snr([each + lasting for each in truths], truths)
    flicker = time_lapse_snr([each + rng.normal(0, 0.1, size) for each in truths], truths)
    assert steady.space_time_db == pytest.approx(flicker.space_time_db, abs=1)
    assert steady.changes_db > flicker.changes_db + 100
    error = np.mean([np.square(each).mean() for each in truths]) / np.mean(lasting**2)
    assert steady.space_time_db == pytest.approx(10 * np.log10(error), abs=0.5)
