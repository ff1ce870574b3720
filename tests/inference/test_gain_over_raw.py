"""The gain over raw, without the truth: compared with the truth, not given where it is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from live_restore.inference.image.gain import Gain, gain_over_raw
from live_restore.inference.load import find_model, load_model
from live_restore.inference.restorer import Restorer
from live_restore.settings.model import InferenceSettings
from live_restore.testing.fakes import fake_model
from live_restore.trust.doubts import wrong_camera_note
from tests.support.fakes import Floats
from tests.support.lights import CAMERA, TOLD, light, smooth_light

LARGE = (24, 128, 128)


def leaking(passed: float, **wrong: float) -> Restorer:
    """Return a restorer whose network lets a share of the noise through."""

    def network(tile: Floats) -> Floats:
        smooth = ndimage.gaussian_filter(tile, (0, 0, 1.5, 1.5, 1.5))
        return (smooth + passed * (tile - smooth)).astype(np.float32)

    model = fake_model(network)
    camera = TOLD.model_copy(update=wrong)
    return Restorer(model, InferenceSettings(), "camera-float", camera, gain_every=1)


def with_camera(**wrong: float) -> Restorer:
    camera = TOLD.model_copy(update=wrong)
    model = load_model(find_model("fast"), "cpu")
    return Restorer(model, InferenceSettings(), "camera-float", camera, gain_every=1)


def restored(restorer: Restorer, light_e: np.ndarray) -> tuple[Gain, float]:
    """Return the estimate, and the true gain (dB)."""
    raw = CAMERA.expose(light_e, np.random.default_rng(3))
    truth = CAMERA.noiseless_adu(light_e)
    found = restorer.restore(raw)
    assert found.gain is not None
    errors = [np.mean((image - truth) ** 2) for image in (raw, found.volume)]
    return found.gain, float(10 * np.log10(errors[0] / errors[1]))


@pytest.mark.parametrize(("passed", "peak_e"), [(0.2, 30), (0.2, 100), (0.3, 100), (0.5, 100)])
def test_it_is_the_gain_that_the_truth_tells(passed: float, peak_e: float) -> None:
    """Of networks that let a part of the noise through."""
    gain, truth = restored(leaking(passed), smooth_light(peak_e, LARGE))
    assert gain.db == pytest.approx(truth, abs=0.4), gain
    assert gain.error_db is not None
    assert gain.error_db < 1.5


@pytest.mark.parametrize("peak_e", [30, 100, 300])
def test_of_the_bundled_model_within_what_it_says(peak_e: float) -> None:
    gain, truth = restored(with_camera(), light(peak_e))
    if gain.db is None:
        assert not gain.unknown_because, gain
        assert truth > 15
    else:
        assert gain.error_db is not None
        assert abs(gain.db - truth) <= gain.error_db, (gain, truth)


@pytest.mark.parametrize(
    "wrong",
    [
        {"gain_adu_per_e": 2.2}, {"gain_adu_per_e": 1.8}, {"offset_adu": 102.0},
        {"offset_adu": 98.0}, {"read_noise_e": 1.92}, {"read_noise_e": 1.28},
    ],
)  # fmt: skip
def test_a_wrong_camera_is_noticed(wrong: dict[str, float]) -> None:
    gain, _ = restored(with_camera(**wrong), light(60))
    assert gain.db is None
    assert gain.in_words == "not known"
    assert "[camera]" in str(wrong_camera_note(gain))


@pytest.mark.parametrize(
    "wrong",
    [
        {"gain_adu_per_e": 2.045}, {"gain_adu_per_e": 1.965}, {"offset_adu": 102.5},
        {"offset_adu": 96.0}, {"read_noise_e": 2.2},
    ],
)  # fmt: skip
def test_what_may_be_wrong_unseen_is_in_the_stated_error(wrong: dict[str, float]) -> None:
    """Of stacks without dark places, in which neither offset nor read noise is much."""
    gain, truth = restored(leaking(0.2, **wrong), 50 + smooth_light(100, LARGE))
    right, _ = restored(leaking(0.2), 50 + smooth_light(100, LARGE))
    assert not gain.unknown_because, gain
    assert right.db is not None
    if gain.db is None:
        assert gain.at_least_db is not None
        assert gain.at_least_db < truth
    else:
        assert gain.error_db is not None
        assert abs(gain.db - right.db) > 0.4, "it is wrong"
        assert abs(gain.db - truth) <= gain.error_db, (gain, truth)


def test_structure_that_may_hide_missing_noise_is_in_the_stated_error() -> None:
    """As fine as a pixel, in the brighter half: there may be some in the darker one."""
    field = smooth_light(100, LARGE)
    texture = 1 + 0.05 * np.random.default_rng(4).standard_normal(LARGE)
    errors = []
    for light_e in (field, np.where(field > np.median(field), field * texture, field)):
        gain, truth = restored(leaking(0.4), light_e)
        assert gain.db is not None
        assert gain.error_db is not None
        assert abs(gain.db - truth) <= gain.error_db
        errors.append(gain.error_db)
    assert errors[1] > 2 * errors[0], errors


def test_what_may_be_far_off_is_stated_as_a_bound() -> None:
    raw = CAMERA.expose(smooth_light(100), np.random.default_rng(3))
    found = leaking(0.2).restore(raw)
    truth = CAMERA.noiseless_adu(smooth_light(100))
    errors = [np.mean((image - truth) ** 2) for image in (raw, found.volume)]
    assert found.gain is not None
    assert found.gain.db is None
    assert not found.gain.unknown_because
    assert found.gain.at_least_db is not None
    assert 8 <= found.gain.at_least_db < 10 * np.log10(errors[0] / errors[1])
    assert found.gain.in_words == f"more than {found.gain.at_least_db:g} dB"


def test_the_noise_of_even_places_is_that_of_the_camera() -> None:
    """Though a network finds dark what few photons reached by chance, which has less noise."""
    raw = CAMERA.expose(np.full((12, 128, 128), 4.0), np.random.default_rng(2))
    gain = leaking(0.05).restore(raw).gain
    assert gain is not None
    assert gain.noise_as_set == pytest.approx(1, abs=0.015)


def test_processed_stacks_have_no_gain() -> None:
    raw = CAMERA.expose(light(60), np.random.default_rng(1))
    smooth = ndimage.gaussian_filter(raw.astype(np.float32), 0.5)
    gain = with_camera().restore(smooth).gain
    assert gain is not None
    assert gain.unknown_because


def test_padding_seen_without_read_noise_is_restored_like_anything() -> None:
    """Where nothing is expected to be noise, nothing can be divided by it."""
    raw = CAMERA.expose(smooth_light(100, LARGE), np.random.default_rng(3)).astype(np.float32)
    raw[:, :80] = TOLD.offset_adu
    gain = leaking(0.2, read_noise_e=0.0).restore(raw).gain
    assert gain is not None
    assert gain.unknown_because


def test_of_a_small_stack_it_is_not_known() -> None:
    raw = CAMERA.expose(light(60)[:4, :40, :40], np.random.default_rng(1))
    gain = leaking(0.2).restore(raw).gain
    assert gain is not None
    assert gain.unknown_because == "the stack is too small"
    assert wrong_camera_note(None) is None


def test_of_numbers_too_large_for_float32_it_is_not_known() -> None:
    raw = (3e38 * np.random.default_rng(1).random((4, 96, 96))).astype(np.float32)
    one = np.ones_like(raw)
    gain = gain_over_raw(raw, raw * np.float32(0.9), TOLD, one, one, one)
    assert gain.unknown_because == "its numbers are not finite"


def test_one_stack_in_so_many() -> None:
    raw = CAMERA.expose(light(60)[:4], np.random.default_rng(1))
    tiles: list[int] = []

    def network(tile: Floats) -> Floats:
        tiles.append(1)
        return tile

    model = fake_model(network)
    for every, asked in ((0, [False] * 4), (2, [True, False] * 2), (3, [True, False, False, True])):
        restorer = Restorer(model, InferenceSettings(), camera=TOLD, gain_every=every)
        tiles.clear()
        found = [restorer.restore(raw) for _ in range(4)]
        assert [each.gain is not None for each in found] == asked
        assert len(tiles) == 4 + sum(asked), "one more pass of those"
        assert all(("gain" in each.seconds) is (each.gain is not None) for each in found)
    without = Restorer(model, InferenceSettings(), gain_every=1)
    assert without.restore(raw).gain is None, "no camera, no gain"


def test_the_result_is_the_same_to_the_bit() -> None:
    raw = CAMERA.expose(light(60), np.random.default_rng(1))
    model = load_model(find_model("fast"), "cpu")
    one, other = (
        Restorer(model, InferenceSettings(), camera=TOLD, gain_every=every).restore(raw).volume
        for every in (0, 1)
    )
    assert np.array_equal(one, other)
