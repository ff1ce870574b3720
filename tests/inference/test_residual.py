"""What a network took away: noise stays away, structure comes back as far as that pays."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from live_restore.errors import SettingsError
from live_restore.inference.image.residual import GivenBack, give_back
from live_restore.settings.camera import CameraSettings
from live_restore.simulation.camera import Camera
from live_restore.simulation.quality import psnr
from live_restore.trust.doubts import lost_structure_doubt
from tests.support.fakes import Floats, fake_restorer

CAMERA = Camera(offset_adu=100, gain_adu_per_e=2.0, read_noise_e=1.6)
TOLD = CameraSettings(gain_adu_per_e=2.0, offset_adu=100, read_noise_e=1.6)
SHAPE = (10, 70, 90)


def smooth_light(shape: tuple[int, int, int] = SHAPE, seed: int = 1) -> np.ndarray:
    """Return slowly varying light of 20 to 300 electrons."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 6)
    return 20 + 280 * (field - field.min()) / max(np.ptp(field), 1e-9)


def exposed(light: np.ndarray, seed: int = 2) -> np.ndarray:
    return CAMERA.expose(light, np.random.default_rng(seed))


def textured(light: np.ndarray, strength: float = 0.15) -> np.ndarray:
    """Return light with texture from voxel to voxel."""
    return light * np.exp(strength * np.random.default_rng(3).standard_normal(light.shape))


def given(raw: np.ndarray, restored: np.ndarray) -> tuple[Floats, GivenBack]:
    result = np.array(restored, np.float32)
    before = raw.copy()
    said = give_back(raw[np.newaxis], result[np.newaxis], TOLD)
    assert np.array_equal(raw, before)
    return result, said


@pytest.mark.parametrize("shape", [SHAPE, (1, 128, 128), (3, 64, 64), (20, 12, 12)])
def test_noise_alone_stays_away(shape: tuple[int, int, int]) -> None:
    """Stacks of any depth, and each of twenty: chance marks none."""
    light = smooth_light(shape)
    truth = CAMERA.noiseless_adu(light)
    noise = CAMERA.gain_adu_per_e * np.sqrt(light + CAMERA.read_noise_e**2)
    for seed in range(20):
        result, said = given(exposed(light, seed), truth)
        assert said.share < 0.01
        assert np.sqrt(np.mean(((result - truth) / noise) ** 2)) < 0.03


def test_few_photons_are_noise_too() -> None:
    """Their squares scatter more than those of Gaussian noise."""
    camera = Camera(offset_adu=0, gain_adu_per_e=10, read_noise_e=0)
    told = CameraSettings(gain_adu_per_e=10, offset_adu=0, read_noise_e=0)
    light = np.full((8, 128, 128), 0.05)
    raw = camera.expose(light, np.random.default_rng(5))
    result = camera.noiseless_adu(light).astype(np.float32)
    said = give_back(raw[np.newaxis], result[np.newaxis], told)
    assert said.share < 0.01


def test_texture_that_was_taken_for_noise_comes_back() -> None:
    light = smooth_light()
    detailed = textured(light)
    raw, truth, lost = (
        exposed(detailed),
        CAMERA.noiseless_adu(detailed),
        CAMERA.noiseless_adu(light),
    )
    result, said = given(raw, lost)
    assert said.share > 0.6
    assert psnr(result, truth) > max(psnr(raw, truth), psnr(lost, truth)) + 1


@pytest.mark.parametrize("passed", [0.0, 0.1, 0.3])
def test_the_mixture_is_nearly_the_best_one(passed: float) -> None:
    """Whatever share of noise and texture the network itself let through."""
    light = np.full(SHAPE, 200.0)
    detailed = textured(light)
    raw, truth = exposed(detailed), CAMERA.noiseless_adu(detailed)
    flat = CAMERA.noiseless_adu(light)
    restored = flat + passed * (raw - flat)
    best = max(psnr(restored + w * (raw - restored), truth) for w in np.linspace(0, 1, 101))
    result, said = given(raw, restored)
    assert psnr(result, truth) > best - 0.15
    assert said.share > 0.9


def test_structure_that_was_taken_away_whole_comes_back() -> None:
    light = smooth_light()
    spot = light.copy()
    spot[3:7, 30:38, 40:48] += 400
    raw, truth, lost = exposed(spot), CAMERA.noiseless_adu(spot), CAMERA.noiseless_adu(light)
    result, _ = given(raw, lost)
    inside = (slice(3, 7), slice(30, 38), slice(40, 48))
    assert np.mean(np.abs(result - truth)[inside]) < 0.5 * np.mean(np.abs(lost - truth)[inside])
    far = (slice(None), slice(0, 8), slice(None))
    assert np.abs(result - lost)[far].max() < 10, "nothing elsewhere"


def test_one_window_of_texture_comes_back_and_nothing_beside_it() -> None:
    light = np.full(SHAPE, 200.0)
    inside = (slice(2, 6), slice(21, 37), slice(35, 51))
    detailed = light.copy()
    detailed[inside] = textured(light, 0.25)[inside]
    raw, truth, lost = (
        exposed(detailed),
        CAMERA.noiseless_adu(detailed),
        CAMERA.noiseless_adu(light).astype(np.float32),
    )
    result, said = given(raw, lost)
    taken = (raw - lost)[inside]
    assert np.sum((result - lost)[inside] * taken) / np.sum(taken**2) > 0.4
    error = np.std((result - truth)[inside]) / np.std((lost - truth)[inside])
    assert error < 0.6
    assert said.share > 0.02
    assert np.array_equal(result[:, 60:], lost[:, 60:])


@pytest.mark.parametrize("smeared", [0.0, 0.3])
def test_what_the_camera_adds_to_every_plane_is_no_structure(smeared: float) -> None:
    """Hot and dead pixels, a dead row and a dead column, of which networks leave a part."""
    light = smooth_light()
    truth = CAMERA.noiseless_adu(light).astype(np.float32)
    clean = exposed(light)
    raw = clean.copy()
    rng = np.random.default_rng(6)
    ys, xs = np.meshgrid(np.arange(2, 68, 9), np.arange(2, 88, 9), indexing="ij")
    raw[:, ys, xs] = rng.choice([0, 1500], ys.shape)
    raw[:, :, 50] = 0
    raw[:, 31] = 0
    left = ndimage.gaussian_filter(np.mean(raw - truth, axis=0), 0.8)
    lost = truth + np.float32(smeared) * left.astype(np.float32)
    result, said = given(raw, lost)
    assert said.share < 0.01
    assert np.array_equal(result[:, ys, xs], lost[:, ys, xs])
    assert np.array_equal(result[:, :, 50], lost[:, :, 50])
    assert np.array_equal(result[:, 31], lost[:, 31])
    unhurt, _ = given(clean, truth)
    assert np.std(result - lost) < 1.5 * np.std(unhurt - truth) + 0.05


@pytest.mark.parametrize("planes", [3, 8, 20])
@pytest.mark.parametrize("fwhm_pixels", [1.2, 2.0])
def test_thin_structure_in_every_plane_is_no_defect(planes: int, fwhm_pixels: float) -> None:
    """Wavy walls through the stack come back with their crest."""
    shape = (planes, 96, 96)
    y, x = np.mgrid[:96, :96]
    away = (x + 3 * np.sin(y / 9)) % 16 - 8
    wall = np.broadcast_to(np.exp(-4 * np.log(2) * (away / fwhm_pixels) ** 2), shape)
    light = np.full(shape, 50.0)
    with_walls = light + 40 * wall
    lost = CAMERA.noiseless_adu(light).astype(np.float32)
    result, _ = given(exposed(with_walls), lost)
    crest = wall > 0.8
    back = np.mean((result - lost)[crest]) / np.mean(CAMERA.noiseless_adu(with_walls)[crest] - 200)
    assert back > 0.4


def test_pixels_that_flicker_are_no_structure() -> None:
    light = smooth_light()
    raw = exposed(light)
    rng = np.random.default_rng(7)
    places = rng.random(raw.shape) < 0.001
    raw[places] = 4000
    _, said = given(raw, CAMERA.noiseless_adu(light))
    assert said.share < 0.01


def test_one_bright_plane_makes_no_defect() -> None:
    """A cosmic ray, or a spot that is in focus once."""
    light = smooth_light()
    raw = exposed(textured(light, 0.3))
    raw[4, 30, 40] = 60000
    result, _ = given(raw, CAMERA.noiseless_adu(light))
    truth = CAMERA.noiseless_adu(light)
    others = [z for z in range(len(raw)) if z != 4]
    assert (np.abs(result - truth)[others, 30, 40] > 0).all()


def test_a_window_or_two_may_be_chance() -> None:
    light = smooth_light((4, 240, 64))
    raw, lost = exposed(light), CAMERA.noiseless_adu(light).astype(np.float32)
    raw[:, :12, :12] += (30 * np.random.default_rng(11).random((4, 12, 12))).astype(np.uint16)
    result, said = given(raw, lost)
    assert (result != lost)[:, :12, :12].any()
    assert said == GivenBack(0, 0)


def test_two_planes_know_no_defects() -> None:
    light = smooth_light((2, 70, 90))
    raw = exposed(textured(light, 0.3))
    result, said = given(raw, CAMERA.noiseless_adu(light))
    assert said.share > 0.5
    assert (result != CAMERA.noiseless_adu(light).astype(np.float32)).mean() > 0.9


def test_strong_structure_counts_in_full() -> None:
    """Where more voxels stand out than can flicker, their squares are not cut off."""
    light = np.full(SHAPE, 200.0)
    rng = np.random.default_rng(9)
    spots = light.copy()
    spots[rng.random(SHAPE) < 0.05] += 400
    raw, lost = exposed(spots), CAMERA.noiseless_adu(light).astype(np.float32)
    _, said = given(raw, lost)
    expected = 1 - 1 / (1 + 0.05 * (400**2 + 400) / (200 + CAMERA.read_noise_e**2))
    assert said.weight == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_rounding_is_noise_too(dtype: str) -> None:
    camera = Camera(offset_adu=20, gain_adu_per_e=0.02, read_noise_e=1.0)
    told = CameraSettings(gain_adu_per_e=0.02, offset_adu=20, read_noise_e=1.0)
    light = np.full((8, 64, 64), 600.0)
    raw = camera.expose(light, np.random.default_rng(10)).astype(dtype)
    result = camera.noiseless_adu(light).astype(np.float32)
    assert give_back(raw[np.newaxis], result[np.newaxis], told).share == 0


def test_beside_defects_the_mixture_is_the_best_one_too() -> None:
    light = np.full(SHAPE, 200.0)
    detailed = textured(light)
    raw, truth = exposed(detailed), CAMERA.noiseless_adu(detailed)
    hot = np.zeros(SHAPE[1:], bool)
    hot[2::6, 2::6] = True
    raw[:, hot] = 4000
    lost = CAMERA.noiseless_adu(light).astype(np.float32)
    result, _ = given(raw, lost)
    taken = (raw - lost)[:, ~hot]
    weight = np.sum((result - lost)[:, ~hot] * taken) / np.sum(taken**2)
    best = np.sum((truth - lost)[:, ~hot] * taken) / np.sum(taken**2)
    assert weight == pytest.approx(best, abs=0.04)


def test_the_pieces_in_which_it_is_done_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    light = smooth_light()
    raw, lost = exposed(textured(light)), CAMERA.noiseless_adu(light)
    lost = lost + 0.2 * (raw - lost)
    whole, _ = given(raw, lost)
    monkeypatch.setattr("live_restore.inference.image.windows._PIECE_VOXELS", 1)
    pieces, _ = given(raw, lost)
    np.testing.assert_allclose(pieces, whole, rtol=1e-5)


def test_places_without_noise_tell_nothing() -> None:
    """Padding around a field, and what was saturated."""
    light = smooth_light((4, 240, 64))
    raw = exposed(light)
    truth = CAMERA.noiseless_adu(light).astype(np.float32)
    raw[:, :120] = 0
    result, said = given(raw, truth)
    assert np.array_equal(result[:, :100], truth[:, :100])
    assert said.share < 0.2, "the seam only"
    raw[:, 120:] = exposed(textured(light))[:, 120:]
    _, said = given(raw, truth)
    assert said.share > 0.95, "of what has noise, all"


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (1, 2, 30000), (2, 3, 3), (1, 70, 90), (5, 17, 33), (9, 250, 2), (40000, 2, 2)],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_any_shape_and_type(shape: tuple[int, int, int], dtype: str) -> None:
    raw = np.random.default_rng(4).integers(100, 250, shape).astype(dtype)
    result, said = given(raw, np.full(shape, 100.0))
    assert np.isfinite(result).all()
    assert 0 <= said.weight <= 1
    assert 0 <= said.share <= 1
    between = np.minimum(raw, 100) - 1e-3, np.maximum(raw, 100) + 1e-3
    assert ((result >= between[0]) & (result <= between[1])).all()


def test_float_stacks_of_any_size_and_no_noise() -> None:
    raw = np.zeros((1, 5, 20, 20), np.float32)
    raw[0, 0, 3, 4] = 3e38
    raw[0, :, 10:] = 1e20 * np.random.default_rng(8).random((5, 10, 20))
    for gain in (1e-6, 1e6):
        camera = CameraSettings(gain_adu_per_e=gain, offset_adu=0, read_noise_e=0)
        for start in (0, 1e20):
            result = np.full_like(raw, start)
            said = give_back(raw, result, camera)
            assert np.isfinite(result).all()
            assert np.isfinite(said.weight)


def flatten(tile: Floats) -> Floats:
    return np.full_like(tile, tile.mean())


def test_a_restorer_that_knows_the_camera_says_what_it_gave_back() -> None:
    light = textured(np.full(SHAPE, 200.0))
    raw = exposed(light)
    plain = fake_restorer(flatten).restore(raw)
    told = fake_restorer(flatten, camera=TOLD).restore(raw)
    assert plain.given_back is None
    assert told.given_back is not None
    assert told.given_back.share > 0.9
    assert told.volume.dtype == raw.dtype
    truth = CAMERA.noiseless_adu(light)
    assert psnr(told.volume, truth) > psnr(plain.volume, truth) + 1
    warning = str(lost_structure_doubt(told.given_back))
    assert warning.startswith("in 100 % of it the network took away more than the noise of")
    assert "where every stack says so, check [camera]" in warning


def test_channels_are_compared_each_for_itself() -> None:
    light = smooth_light()
    both = np.stack([exposed(light), exposed(textured(light, 0.3))])
    truth = np.stack([CAMERA.noiseless_adu(light)] * 2)

    def perfect(tile: Floats) -> Floats:
        return tile + ((truth - both) / span)[np.newaxis].astype(np.float32)

    span = np.float32(np.percentile(both, 99.9) - np.percentile(both, 2))
    restored = fake_restorer(perfect, camera=TOLD, input_channels=2, output_channels=2).restore(
        both
    )
    assert restored.given_back is not None
    assert 0.3 < restored.given_back.share <= 0.5
    assert np.abs(restored.volume[0] - truth[0]).max() < 8, "the first lost nothing"


def test_network_units_and_a_camera_are_refused() -> None:
    with pytest.raises(SettingsError, match="network units"):
        fake_restorer(flatten, units="network", camera=TOLD)


def test_sharpening_models_are_not_compared() -> None:
    raw = exposed(textured(smooth_light()))
    restored = fake_restorer(flatten, camera=TOLD, truth_psf_width=0.5).restore(raw)
    assert restored.given_back is None
    assert lost_structure_doubt(restored.given_back) is None
