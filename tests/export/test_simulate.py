"""The simulator: reproducible, in physical units, different from seed to seed."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from export.simulate import STRUCTURES, SimulationConfig, expected_electrons, simulate_scene
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
