"""Sharpness: of the raw stack without its noise, so that it can be compared with the restored."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy import ndimage

from live_restore.inference.image.flux import flux_bias
from live_restore.simulation.camera import Camera
from live_restore.simulation.scene import LivingCell
from live_restore.trust.sharpness import Sharpness, sharpness

CAMERA = Camera(offset_adu=100, gain_adu_per_e=2.0, read_noise_e=1.6)


@functools.cache
def light(peak_e: float) -> np.ndarray:
    return LivingCell(shape_zyx=(12, 96, 96), peak_e=peak_e, background_e=peak_e / 10).expected_e(0)


def compared(peak_e: float, blur: float = 0.0) -> Sharpness | None:
    truth = CAMERA.noiseless_adu(light(peak_e))
    raw = CAMERA.expose(light(peak_e), np.random.default_rng(2))
    restored = ndimage.gaussian_filter(truth, (0, blur, blur))
    return sharpness(raw, restored, flux_bias(raw, restored))


@pytest.mark.parametrize("peak_e", [10, 30, 300])
def test_a_raw_stack_is_as_sharp_as_its_truth(peak_e: float) -> None:
    found = compared(peak_e)
    assert found is not None
    assert abs(found.restored / found.raw - 1) < 0.03 + 2 * found.error, found


def test_what_is_blurred_is_less_sharp() -> None:
    found = compared(100, blur=1.5)
    assert found is not None
    assert found.restored < 0.8 * found.raw


def test_where_noise_hides_it_it_is_not_known() -> None:
    assert compared(0.5) is None
    raw = np.full((2, 4, 4), 7, np.uint16)
    assert sharpness(raw, raw, flux_bias(raw, raw)) is None
