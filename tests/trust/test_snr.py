"""The signal-to-noise estimate: near the truth on simulated stacks, never astray on odd ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from live_restore.simulation.camera import Camera
from live_restore.simulation.scene import LivingCell
from live_restore.trust import snr
from live_restore.trust.snr import SignalToNoise, estimate_snr

PEAKS_E = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
CAMERAS = [Camera(100, 0.4, 0.8), Camera(100, 2.0, 1.6), Camera(500, 4.0, 3.0)]


def simulated(
    peak_e: float, camera: Camera, background: float = 0.1, seed: int = 3
) -> tuple[np.ndarray, float]:
    """Return a stack and its true ratio: peak over the noise at the peak."""
    cell = LivingCell((12, 96, 96), peak_e, background * peak_e, seed)
    expected = cell.expected_e(0)
    top, low = np.percentile(expected, (99.9, 5))
    raw = camera.expose(expected, np.random.default_rng(seed))
    return raw, float((top - low) / np.sqrt(top + camera.read_noise_e**2))


def estimated(stack: np.ndarray) -> SignalToNoise:
    found = estimate_snr(stack)
    assert found is not None
    return found


@pytest.mark.parametrize("camera", CAMERAS, ids=["gain 0.4", "gain 2", "gain 4"])
@pytest.mark.parametrize("background", [0.01, 0.3, 3.0])
def test_it_follows_the_truth(camera: Camera, background: float) -> None:
    ratios, truths = [], []
    for peak_e in PEAKS_E:
        raw, truth = simulated(peak_e, camera, background)
        ratios.append(estimated(raw).ratio)
        truths.append(truth)
        if truth > 2:
            assert ratios[-1] == pytest.approx(truth, rel=0.25), peak_e
        else:
            assert ratios[-1] < 1.3 * truth, "where it is not sure it must not be too high"
    assert ratios[1:] == sorted(ratios[1:]), "more light must be seen as more light"
    assert ratios[0] < ratios[1] + 0.2


def test_a_single_plane_and_other_types() -> None:
    raw, truth = simulated(100.0, CAMERAS[1])
    for stack in (raw, raw.astype(np.float32), (raw.astype(np.float32) - 5e4) * np.float32(1e-9)):
        assert estimated(stack).ratio == pytest.approx(truth, rel=0.2)
    plane = estimated(raw[6]).ratio
    assert plane == estimated(raw[6:7]).ratio == pytest.approx(truth, rel=0.4)


def test_it_is_in_camera_units() -> None:
    raw, _ = simulated(100.0, CAMERAS[1], background=0.1)
    found = estimated(raw)
    assert found.background_adu == pytest.approx(100 + 2 * 10, abs=4)
    assert found.signal_adu == pytest.approx(2 * 100, rel=0.15)
    assert found.noise_adu == pytest.approx(2 * np.sqrt(110 + 1.6**2), rel=0.15)
    scaled = estimated(raw.astype(np.float32) * 3 - 1000)
    assert scaled.background_adu == pytest.approx(found.background_adu * 3 - 1000, abs=0.1)
    assert scaled.signal_adu == pytest.approx(found.signal_adu * 3, rel=1e-3)
    assert scaled.ratio == pytest.approx(found.ratio, rel=1e-3)


def test_a_large_stack_is_sampled_and_the_same_each_time() -> None:
    raw, truth = simulated(60.0, CAMERAS[1])
    large = np.tile(raw, (2, 5, 5))
    assert estimated(large).ratio == pytest.approx(truth, rel=0.2)
    assert estimated(large) == estimated(large.copy())


def test_noise_alone_is_no_signal() -> None:
    noise = np.random.default_rng(4).normal(100, 5, (8, 64, 64)).astype(np.float32)
    found = estimated(noise)
    assert found.ratio < 0.3
    assert found.noise_adu == pytest.approx(5, rel=0.1)


def test_saturated_voxels_do_not_look_free_of_noise() -> None:
    cell = LivingCell((12, 96, 96), 100.0, 10.0, 3)
    raw = CAMERAS[1].expose(cell.expected_e(0), np.random.default_rng(3))
    clipped = np.minimum(raw, np.uint16(np.percentile(raw, 99)))
    assert estimated(clipped).saturated
    assert 0.005 < estimated(clipped).saturated_share < 0.03  # of blocks that overlap
    assert estimated(raw).saturated_share == 0
    assert not estimated(raw).saturated
    assert 0.4 < estimated(clipped).ratio / estimated(raw).ratio <= 1.05


def test_padding_is_no_background() -> None:
    raw, truth = simulated(100.0, CAMERAS[1])
    padded = np.pad(raw, ((0, 0), (20, 9), (0, 30)))
    assert estimated(padded).background_adu == pytest.approx(estimated(raw).background_adu, abs=3)
    assert estimated(padded).ratio == pytest.approx(truth, rel=0.25)


@pytest.mark.parametrize(
    "stack",
    [
        np.full((4, 9, 9), 7, np.uint8),
        np.zeros((3, 64, 64), np.float32),
        np.arange(12, dtype=np.uint16).reshape(3, 2, 2),
        np.arange(4, dtype=np.uint16).reshape(1, 2, 2),
        np.zeros((0, 9, 9), np.uint16),
        np.arange(27, dtype=np.uint16).reshape(3, 3, 3),
    ],
    ids=["constant", "zeros", "planes of 2 x 2", "one of them", "empty", "3 x 3 x 3"],
)
def test_what_cannot_be_known_is_not_said(stack: np.ndarray) -> None:
    assert estimate_snr(stack) is None


def test_a_stack_without_noise_has_a_finite_ratio() -> None:
    ramp = np.broadcast_to(np.arange(40, dtype=np.float32), (4, 40, 40))
    assert estimated(ramp).ratio == 1e4
    assert estimated((ramp * 6).astype(np.uint8)).ratio < 1e4


LARGEST = 2.0**127
SIZES = st.floats(-LARGEST, LARGEST, width=32, allow_subnormal=False)


@given(hnp.arrays(np.float32, st.just((3, 7, 8)), elements=SIZES))
@settings(max_examples=60, deadline=None)
def test_no_numbers_lead_it_astray(stack: np.ndarray) -> None:
    found = estimate_snr(stack)
    if found is not None:
        assert 0 <= found.ratio <= 1e4
        assert np.isfinite([found.signal_adu, found.noise_adu, found.background_adu]).all()


def test_darkness_that_is_mostly_zero_is_background() -> None:
    """Photon counting without an offset: most voxels are 0, and that is no padding."""
    cell = LivingCell((12, 96, 96), 30.0, 0.1, 3)
    counts = np.random.default_rng(3).poisson(cell.expected_e(0)).astype(np.uint8)
    assert np.mean(counts == 0) > 0.3
    assert estimated(counts).ratio == pytest.approx(np.sqrt(30), rel=0.25)


def test_a_sample_of_a_large_stack_finds_structures_that_lie_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tenth of the voxels, in small blocks all over the stack."""
    light = np.full((24, 384, 384), 5.0)
    light[4:20, 100:140, 60:220] = np.linspace(20, 90, 160)
    raw = CAMERAS[1].expose(light, np.random.default_rng(3))
    found = estimated(raw).ratio
    monkeypatch.setattr(snr, "_WHOLE", raw.size)
    assert found == pytest.approx(estimated(raw).ratio, rel=0.1)
