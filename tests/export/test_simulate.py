"""The simulator: reproducible, in physical units, different from seed to seed."""

from __future__ import annotations

import numpy as np
import pytest
from live_restore_export.simulator.aberrations import NONE, aberrated_psf, draw_aberrations
from live_restore_export.simulator.optics import Optics
from live_restore_export.simulator.simulate import (
    SimulationConfig,
    expected_electrons,
    random_camera,
    simulate_scene,
)
from live_restore_export.simulator.structures import STRUCTURES
from pydantic import ValidationError

from live_restore.simulation.camera import Camera
from live_restore.simulation.emitters import rasterise

SMALL = SimulationConfig(shape_zyx=(8, 32, 32))


def test_a_scene_is_reproducible_from_its_seed() -> None:
    first, again, other = (simulate_scene(SMALL, seed) for seed in (5, 5, 6))
    assert np.array_equal(first.signal, again.signal)
    assert not np.array_equal(first.signal, other.signal)


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_structure_gives_light_inside_the_field(name: str) -> None:
    size_um = np.array([3.0, 6.0, 6.0])
    positions, weights = STRUCTURES[name](np.random.default_rng(1), size_um)
    assert positions.shape == (len(weights), 3)
    assert (weights >= 0).all()
    volume = rasterise((positions, weights), (10, 40, 40), size_um / np.array([10, 40, 40]))
    assert volume.sum() > 0


def test_rasterise_keeps_all_light_of_inner_emitters() -> None:
    rng = np.random.default_rng(0)
    positions = rng.uniform(2, 6, (500, 3)).astype(np.float32)
    weights = rng.random(500).astype(np.float32)
    volume = rasterise((positions, weights), (8, 8, 8), np.ones(3))
    assert volume.sum() == pytest.approx(weights.sum(), rel=1e-5)
    mean = (np.indices((8, 8, 8)).reshape(3, -1) * volume.ravel()).sum(axis=1) / volume.sum()
    expected = (positions * weights[:, None]).sum(axis=0) / weights.sum()
    assert mean + 0.5 == pytest.approx(expected, abs=1e-3)


def test_peak_is_what_was_asked_for() -> None:
    scene = simulate_scene(SMALL, 3)
    expected = expected_electrons(scene.signal, peak_e=40.0, background_fraction=0.1)
    assert float(expected.min()) >= 4.0
    assert 35 < float(np.percentile(expected, 99.9)) < 45 * 1.1


def test_the_camera_follows_its_numbers() -> None:
    camera = Camera(offset_adu=100, gain_adu_per_e=2.0, read_noise_e=1.5)
    flat = np.full((20, 100, 100), 50.0, np.float32)
    adu = camera.expose(flat, np.random.default_rng(0)).astype(float)
    assert adu.mean() == pytest.approx(100 + 2 * 50, abs=0.2)
    # Poisson variance equals the mean; gain squares; read noise and rounding (1/12) add.
    assert adu.var() == pytest.approx(4 * (50 + 1.5**2) + 1 / 12, rel=0.02)
    assert camera.digitise(np.array([1e9])).item() == 65535


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError):
        SimulationConfig(peak_photons=(1, 2))  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "wrong",
    [{"peak_e": (9, 3)}, {"voxel_xy_um": (-1, 1)}, {"structures_per_stack": (0, 2)}],
    ids=str,
)
def test_ranges_that_run_backwards_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        SimulationConfig(**wrong)  # type: ignore[arg-type]


def _width_um(psf: np.ndarray, axis: int, step_um: float) -> float:
    """Full width at half maximum through the brightest voxel (um), between samples."""
    line = np.moveaxis(psf, axis, 0)[:, *(n // 2 for i, n in enumerate(psf.shape) if i != axis)]
    fine = np.interp(np.arange(0, len(line) - 1, 0.01), np.arange(len(line)), line / line.max())
    return float((fine > 0.5).sum() * 0.01 * step_um)


def test_the_psf_is_as_wide_as_the_textbook_says() -> None:
    water = Optics(numerical_aperture=1.0, immersion_index=1.333, sample_index=1.333, depth_um=0)
    psf = water.psf((0.1, 0.05, 0.05))
    assert psf.sum() == pytest.approx(1, abs=1e-5)
    assert np.unravel_index(psf.argmax(), psf.shape) == tuple(n // 2 for n in psf.shape)
    # Abbe/Rayleigh: 0.51 lambda / NA laterally, 0.88 lambda / (n - sqrt(n^2 - NA^2)) axially.
    assert _width_um(psf, 2, 0.05) == pytest.approx(0.51 * 0.52 / 1.0, rel=0.1)
    axial = 0.88 * 0.52 / (1.333 - np.sqrt(1.333**2 - 1.0))
    assert _width_um(psf, 0, 0.1) == pytest.approx(axial, rel=0.15)


def test_sectioning_microscopes_have_smaller_psfs() -> None:
    widths = {
        name: _width_um(Optics(microscope=name, sheet_sigma_um=0.3).psf((0.1, 0.05, 0.05)), 0, 0.1)
        for name in ("wide-field", "confocal", "light-sheet", "image-scanning")
    }
    assert widths["image-scanning"] < widths["confocal"] < widths["wide-field"]
    assert widths["light-sheet"] < widths["wide-field"]


def test_half_the_width_is_half_the_width() -> None:
    optics = Optics(numerical_aperture=1.2, immersion_index=1.333, sample_index=1.333)
    whole, half = (optics.psf((0.1, 0.05, 0.05), width) for width in (1.0, 0.5))
    assert _width_um(half, 2, 0.05) == pytest.approx(_width_um(whole, 2, 0.05) / 2, rel=0.12)
    assert _width_um(half, 0, 0.1) == pytest.approx(_width_um(whole, 0, 0.1) / 2, rel=0.12)


def test_an_aperture_above_its_immersion_is_refused() -> None:
    with pytest.raises(ValidationError, match="below immersion_index"):
        Optics(numerical_aperture=1.4, immersion_index=1.333)


def test_a_sharpening_truth_is_sharper_and_has_the_same_light() -> None:
    config = SimulationConfig(
        shape_zyx=(16, 64, 64), truth_psf_width=0.5, microscopes=("confocal",)
    )
    for seed in range(4):
        scene = simulate_scene(config, seed)
        assert not np.array_equal(scene.truth, scene.signal)
        # Light comes and goes at the borders only.
        assert scene.truth.sum() == pytest.approx(scene.signal.sum(), rel=0.2)
        steps = [float(np.abs(np.diff(v, axis=2)).mean()) for v in (scene.signal, scene.truth)]
        assert steps[1] > steps[0]


def test_without_sharpening_the_truth_is_the_signal() -> None:
    scene = simulate_scene(SMALL, 2)
    assert np.array_equal(scene.truth, scene.signal)


def test_an_scmos_has_the_same_mean_and_a_pattern_of_its_own() -> None:
    rng = np.random.default_rng(3)
    camera = Camera(offset_adu=100, gain_adu_per_e=4.0, read_noise_e=1.5)
    scmos = camera.with_pixel_maps((40, 50), rng)
    dark = scmos.expose(np.zeros((800, 40, 50), np.float32), rng).astype(float)
    assert dark.mean() == pytest.approx(100, abs=0.2)
    pattern = (dark.mean(axis=0) - 100) / 4
    assert pattern.std() == pytest.approx(0.3, rel=0.15)
    assert pattern.std() > 3 * dark.std(axis=0).mean() / 4 / np.sqrt(800)
    with pytest.raises(ValueError, match="pixel maps"):
        scmos.expose(np.zeros((2, 41, 50), np.float32), rng)


def test_photons_become_photo_electrons() -> None:
    camera = Camera(quantum_efficiency=0.8)
    assert camera.expected_electrons(np.array([10.0])) == pytest.approx(8.0)


def test_cameras_are_drawn_with_and_without_pixel_maps() -> None:
    rng = np.random.default_rng(0)
    maps = [random_camera(SMALL, rng).pixels is not None for _ in range(30)]
    assert any(maps)
    assert not all(maps)


def test_grain_is_in_signal_and_truth_alike_and_leaves_the_structures() -> None:
    config = SimulationConfig(shape_zyx=(8, 48, 48), microscopes=("confocal",))
    for seed in range(3):
        smooth = simulate_scene(config, seed)
        grainy = simulate_scene(config.model_copy(update={"grain_share": 1.0}), seed)
        assert grainy.structures == smooth.structures
        assert np.array_equal(grainy.truth, grainy.signal)
        ratio = grainy.signal[smooth.signal > 0.2] / smooth.signal[smooth.signal > 0.2]
        assert 0.02 < ratio.std() / ratio.mean() < 0.7


def test_empty_stacks_hold_no_light() -> None:
    scene = simulate_scene(SMALL.model_copy(update={"empty_share": 1.0}), 4)
    assert not scene.signal.any()
    assert not scene.truth.any()


def test_sharp_stacks_show_the_same_structures_sharper() -> None:
    config = SimulationConfig(shape_zyx=(8, 48, 48), microscopes=("confocal",))
    for seed in range(3):
        usual = simulate_scene(config, seed)
        sharp = simulate_scene(config.model_copy(update={"sharp_share": 1.0}), seed)
        assert sharp.structures == usual.structures
        fineness = [
            float(np.abs(np.diff(s.signal, axis=2)).mean() / s.signal.mean())
            for s in (usual, sharp)
        ]
        assert fineness[1] > 1.1 * fineness[0]


def test_random_textures_are_reproducible_and_leave_other_seeds_alone() -> None:
    textured = SMALL.model_copy(update={"field_share": 1.0})
    first, again = (simulate_scene(textured, 5) for _ in range(2))
    assert np.array_equal(first.signal, again.signal)
    assert not np.array_equal(first.signal, simulate_scene(SMALL, 5).signal)
    for seed in range(8):
        scene = simulate_scene(textured, seed)
        assert np.isfinite(scene.signal).all()
        assert scene.signal.min() >= 0
        assert scene.signal.max() > 0


def test_a_multiplying_camera_doubles_the_variance_of_the_light() -> None:
    camera = Camera(offset_adu=100, gain_adu_per_e=2.0, read_noise_e=0.1, multiplies=True)
    flat = np.full((20, 100, 100), 50.0, np.float32)
    adu = camera.expose(flat, np.random.default_rng(0)).astype(float)
    assert adu.mean() == pytest.approx(100 + 2 * 50, abs=0.3)
    assert adu.var() == pytest.approx(4 * 2 * 50, rel=0.02)


def test_detectors_are_drawn_by_their_shares() -> None:
    config = SMALL.model_copy(update={"multiplied_share": 0.3, "counting_share": 0.3})
    rng = np.random.default_rng(1)
    cameras = [random_camera(config, rng) for _ in range(300)]
    counting = [c for c in cameras if c.read_noise_e == 0]
    assert 60 < len(counting) < 120
    assert {(c.offset_adu, c.gain_adu_per_e) for c in counting} == {(0.0, 1.0)}
    assert 60 < sum(c.multiplies for c in cameras) < 120
    assert not any(random_camera(SMALL, rng).multiplies for _ in range(50))


def test_without_aberrations_the_scalar_psf_is_nearly_the_vectorial_one() -> None:
    optics = Optics(numerical_aperture=0.7, immersion_index=1.333, sample_index=1.333, depth_um=0)
    vectorial = optics.psf((0.4, 0.15, 0.15))
    scalar = aberrated_psf(vectorial.shape, (0.4, 0.15, 0.15), 0.7, 1.333, 0.52, NONE)
    assert np.corrcoef(vectorial.ravel(), scalar.ravel())[0, 1] > 0.99


def test_aberrations_take_light_from_the_focus_in_proportion_to_their_square() -> None:
    """Strehl's ratio is exp(-(2 pi rms)^2), after Marechal."""
    peaks = [
        aberrated_psf(
            (9, 41, 41), (0.2, 0.06, 0.06), 1.0, 1.333, 0.52, (0.0, 0.0, waves, 0.0, 0.0)
        )[4].max()
        for waves in (0.0, 0.05, 0.1)
    ]
    assert peaks[1] / peaks[0] == pytest.approx(np.exp(-((2 * np.pi * 0.05) ** 2)), abs=0.03)
    assert peaks[2] / peaks[0] == pytest.approx(np.exp(-((2 * np.pi * 0.1) ** 2)), abs=0.06)
    drawn = draw_aberrations(np.random.default_rng(0), 0.1)
    assert np.linalg.norm(drawn) == pytest.approx(0.1)


def test_aberrated_stacks_are_drawn_and_leave_other_seeds_alone() -> None:
    plain = simulate_scene(SMALL, 3)
    none = simulate_scene(SMALL.model_copy(update={"aberrated_share": 0.0}), 3)
    bent = simulate_scene(SMALL.model_copy(update={"aberrated_share": 1.0}), 3)
    assert np.array_equal(plain.signal, none.signal)
    assert bent.structures == plain.structures
    assert any(bent.optics.aberrations)
    assert not np.array_equal(plain.signal, bent.signal)
    assert np.isfinite(bent.signal).all()


@pytest.mark.parametrize("microscope", ["wide-field", "confocal", "light-sheet", "image-scanning"])
def test_every_microscope_may_be_aberrated(microscope: str) -> None:
    optics = Optics(microscope=microscope, aberrations=(0.05, 0.05, 0.1, 0.0, 0.05))
    psf = optics.psf((0.3, 0.4, 0.4))
    assert psf.sum() == pytest.approx(1, abs=1e-5)
    assert psf.min() >= 0
