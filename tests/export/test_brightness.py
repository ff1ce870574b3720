"""What became of the light of bright regions, where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from live_restore_export.quality.brightness import brightness
from scipy import ndimage

FLOOR = 100.0


def _scene() -> np.ndarray:
    """Return blobs of 10 to 200 above the floor, (8, 64, 64)."""
    rng = np.random.default_rng(3)
    light = ndimage.gaussian_filter(rng.random((8, 64, 64)) ** 8, (1, 4, 4))
    return FLOOR + 200 * (light - light.min()) / np.ptp(light)


def test_nothing_lost() -> None:
    truth = _scene()
    found = brightness(truth, truth, FLOOR)
    assert found is not None
    assert (found.ratio, found.slope, found.worst) == pytest.approx((1, 1, 1))


def test_a_quarter_lost() -> None:
    truth = _scene()
    found = brightness(FLOOR + 0.75 * (truth - FLOOR), truth, FLOOR)
    assert found is not None
    assert (found.ratio, found.slope, found.worst) == pytest.approx((0.75, 0.75, 0.75))


def test_one_region_is_off_and_named() -> None:
    truth = _scene()
    image = truth.copy()
    light = truth - FLOOR
    z, y, x = (slice(0, 4), slice(0, 16), slice(0, 16))
    light[z, y, x] = light.max()
    truth = FLOOR + light
    image = truth.copy()
    image[z, y, x] -= 0.5 * light[z, y, x]
    found = brightness(image, truth, FLOOR)
    assert found is not None
    assert found.worst == pytest.approx(0.5)
    assert 0.5 < found.ratio < 1


def test_darkness_has_no_brightness() -> None:
    flat = np.full((8, 64, 64), FLOOR)
    assert brightness(flat, flat, FLOOR) is None
    one = flat.copy()
    one[:4, :16, :16] = 500
    assert brightness(one, one, FLOOR) is None, "a single region is no scale"


def test_stacks_smaller_than_a_region_are_measured_too() -> None:
    truth = _scene()[:2]
    found = brightness(truth, truth, FLOOR)
    assert found is not None
    assert found.ratio == pytest.approx(1)
