"""The light of bright regions: compared with the raw stack, and given back."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy import ndimage

from live_restore.errors import SettingsError
from live_restore.inference.image.defects import Defects
from live_restore.inference.image.flux import add_light_back, flux_bias
from live_restore.inference.load import find_model, load_model
from live_restore.inference.restorer import Restorer
from live_restore.settings.model import InferenceSettings, Settings
from live_restore.settings.output import OutputSettings
from live_restore.simulation.camera import Camera
from live_restore.simulation.scene import LivingCell
from live_restore.testing.fakes import fake_model
from tests.support.fakes import Floats

CAMERA = Camera(offset_adu=100, gain_adu_per_e=2.0, read_noise_e=1.6)


@functools.cache
def light(peak_e: float) -> np.ndarray:
    return LivingCell(shape_zyx=(12, 96, 96), peak_e=peak_e, background_e=peak_e / 10).expected_e(0)


def exposed(peak_e: float, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return a raw stack and its truth (ADU)."""
    expected = light(peak_e)
    return CAMERA.expose(expected, np.random.default_rng(seed)), CAMERA.noiseless_adu(expected)


def dimmed(truth: np.ndarray, floor: float, kept: float) -> np.ndarray:
    return (floor + kept * (truth - floor)).astype(np.float32)


@pytest.mark.parametrize("kept", [0.8, 0.95, 1.0, 1.1])
@pytest.mark.parametrize("peak_e", [20, 100])
def test_what_is_missing_is_stated(kept: float, peak_e: float) -> None:
    raw, truth = exposed(peak_e)
    image = dimmed(truth, float(np.percentile(truth, 1)), kept)
    flux, true = flux_bias(raw, image), flux_bias(truth, image).bias_percent
    assert true == pytest.approx(100 * (kept - 1), abs=2)
    assert flux.bias_percent is not None, flux
    assert flux.error_percent is not None
    assert abs(flux.bias_percent - true) <= flux.error_percent, flux
    assert ("more" if kept > 1 else "less") in flux.in_words or kept == 1


def test_of_the_bundled_model_it_is_what_the_truth_tells() -> None:
    restorer = Restorer(load_model(find_model("fast"), "cpu"), InferenceSettings(), "camera-float")
    for peak_e in (15, 30):
        raw, truth = exposed(peak_e)
        restored = restorer.restore(raw).volume
        flux, true = flux_bias(raw, restored), flux_bias(truth, restored)
        assert flux.bias_percent is not None
        assert true.bias_percent is not None
        assert abs(flux.bias_percent - true.bias_percent) < 3, (flux, true)


def test_too_little_light_is_not_known() -> None:
    raw, truth = exposed(0.3)
    flux = flux_bias(raw, truth)
    assert flux.bias_percent is None
    assert flux.in_words == "not known"
    flat = np.full((8, 64, 64), 7, np.uint16)
    assert flux_bias(flat[:4], flat[:4]).unknown_because == "the stack is too small"
    assert flux_bias(flat, flat).unknown_because == "fewer than three regions are bright"
    huge = np.random.default_rng(1).random((8, 64, 64), np.float32) * np.float32(1e38)
    assert flux_bias(huge, -huge).unknown_because == "its numbers are not finite"
    nan = flat.astype(np.float32)
    nan[0, 0, 0] = np.nan
    assert flux_bias(flat, nan).unknown_because == "its numbers are not finite"


def test_a_hot_pixel_counts_for_neither() -> None:
    raw, truth = exposed(30)
    clean = flux_bias(raw, truth)
    hot = raw.copy()
    hot[:, 50, 50] = 60_000
    found = Defects(pixels=np.array([[50, 50]]))
    with_it, without = flux_bias(hot, truth, [found]), flux_bias(hot, truth)
    assert with_it.restored_adu is not None
    assert with_it.raw_adu is not None
    assert without.bias_percent != pytest.approx(clean.bias_percent, abs=5)
    assert abs(with_it.restored_adu - with_it.raw_adu) < 5, "only its surroundings differ"


def test_light_is_given_back() -> None:
    raw, truth = exposed(30)
    lost = dimmed(truth, float(np.percentile(truth, 5)), 0.85)
    before = flux_bias(truth, lost).bias_percent
    add_light_back(raw, lost)
    after = flux_bias(truth, lost).bias_percent
    assert before == pytest.approx(-15, abs=1.5)
    assert after is not None
    assert abs(after) < 2


def swallowing(keep_flux: bool) -> Restorer:
    """Return a restorer whose network smooths, and takes a tenth of the light."""

    def network(tile: Floats) -> Floats:
        return (0.9 * ndimage.gaussian_filter(tile, (0, 0, 1, 1, 1))).astype(np.float32)

    return Restorer(fake_model(network), InferenceSettings(), "camera", keep_flux=keep_flux)


def test_the_setting_gives_it_back_and_nothing_else_does() -> None:
    raw, truth = exposed(30)
    without, kept = (swallowing(keep).restore(raw) for keep in (False, True))
    for result, least, most in ((without, -30, -8), (kept, -3, 3)):
        bias = flux_bias(truth, result.volume).bias_percent
        assert bias is not None
        assert least < bias < most
    assert kept.volume.dtype == raw.dtype


def test_it_is_for_grey_values_only() -> None:
    model = fake_model()
    with pytest.raises(SettingsError, match="network units"):
        Restorer(model, InferenceSettings(), "network", keep_flux=True)
    with pytest.raises(ValueError, match="keep_flux would change"):
        Settings(output=OutputSettings(units="network", keep_flux=True))


def test_the_digest_of_a_recipe_changes_only_when_it_is_set() -> None:
    usual, kept = (Settings(output=OutputSettings(keep_flux=keep)) for keep in (False, True))
    assert usual.pixel_digest() == Settings().pixel_digest()
    assert kept.pixel_digest() != usual.pixel_digest()
