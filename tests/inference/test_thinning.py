"""A thinned stack is what the camera would have recorded, and knows nothing of the rest."""

from __future__ import annotations

import numpy as np
import pytest

from live_restore.inference.image.thinning import electrons, read_variance_e, thinned
from live_restore.settings.camera import CameraSettings
from live_restore.simulation.camera import Camera


@pytest.mark.parametrize(("gain", "read_noise_e"), [(2.0, 1.6), (0.46, 1.1), (10.0, 0.3)])
@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.parametrize("light_e", [0.3, 4.0, 60.0])
def test_mean_and_noise_are_those_of_less_light(
    gain: float, read_noise_e: float, share: float, light_e: float
) -> None:
    camera = Camera(offset_adu=100, gain_adu_per_e=gain, read_noise_e=read_noise_e)
    told = CameraSettings(gain_adu_per_e=gain, offset_adu=100, read_noise_e=read_noise_e)
    rng = np.random.default_rng(1)
    raw = camera.expose(np.full((4, 150, 150), light_e), rng)
    expected = np.full(raw.shape, 100 + gain * light_e, np.float32)
    dealt = thinned(raw, expected, share, told, rng)
    kept = electrons(dealt.raw, told)
    less = electrons(camera.expose(np.full((4, 150, 150), share * light_e), rng), told)
    assert kept.mean() == pytest.approx(less.mean(), abs=0.03 + 0.01 * share * light_e)
    assert kept.var() == pytest.approx(less.var(), rel=0.06)
    rest = dealt.left_out_e
    assert rest.mean() == pytest.approx((1 - share) * light_e, abs=0.03 + 0.01 * light_e)
    assert rest.var() == pytest.approx((1 - share) * (light_e + read_variance_e(told)), rel=0.06)
    together = np.corrcoef(kept.ravel(), rest.ravel())[0, 1]
    assert abs(together) < 0.03, "the two are independent"


def test_it_is_whole_grey_values_and_the_same_again() -> None:
    told = CameraSettings(gain_adu_per_e=2.0, offset_adu=0, read_noise_e=1.6)
    raw = np.random.default_rng(1).poisson(3, (2, 20, 20)).astype(np.uint16)
    expected = np.full(raw.shape, 3, np.float32)
    one, other = (thinned(raw, expected, 0.5, told, np.random.default_rng(0)).raw for _ in range(2))
    assert np.array_equal(one, other)
    assert np.array_equal(one, np.rint(one))
    assert one.min() >= 0
