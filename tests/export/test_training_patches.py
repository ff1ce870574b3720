"""Patches: where they lie, what is done to them, and that noisy and true stay together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_restore_export.simulator.simulate import SimulationConfig
from live_restore_export.training import subjects
from live_restore_export.training.options import TrainingOptions
from live_restore_export.training.patches import Patch, augmented, foreground_places, place_window
from live_restore_export.training.sources import SimulatedSource
from live_restore_export.training.subjects import Scene, fitted_truth_scale
from live_restore_export.training.twin import signal_of
from training_files import clean_stack

from live_restore.errors import StackRefusedError
from live_restore.inference.image.intensity import scale_from_percentiles

OPTIONS = TrainingOptions(patch_zyx=(4, 16, 16))
PATCH = (3, 5, 5)


@given(st.integers(3, 9), st.integers(5, 20), st.floats(0, 1), st.integers(0, 10_000))
def test_windows_lie_inside(depth: int, width: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (depth, width, width)
    places = rng.integers(0, shape, (5, 3)).astype(np.int32)
    window = place_window(shape, PATCH, places, share, rng)
    for cut, patch, size in zip(window, PATCH, shape, strict=True):
        assert 0 <= cut.start < cut.stop <= size
        assert cut.stop - cut.start == patch


def test_the_asked_share_of_patches_holds_foreground() -> None:
    truth = np.zeros((8, 200, 200), np.float32)
    truth[4, 60:64, 150:154] = 1  # one lonely spot
    truth[0, 0, 0] = 1
    truth += np.linspace(0, 0.01, truth.size, dtype=np.float32).reshape(truth.shape)
    places = foreground_places(truth, 1)
    assert {tuple(p) for p in places.tolist()} <= {tuple(p) for p in np.argwhere(truth > 0.3)}
    hits = []
    for share in (0.0, 0.5, 1.0):
        rng = np.random.default_rng(3)
        cuts = [place_window(truth.shape, (4, 16, 16), places, share, rng) for _ in range(400)]
        hits.append(np.mean([truth[cut].max() > 0.5 for cut in cuts]))
    assert hits[0] < 0.1
    assert 0.4 < hits[1] < 0.6
    assert hits[2] == 1


def test_a_spot_may_lie_anywhere_in_its_patch() -> None:
    places = np.array([[10, 50, 50]], np.int32)
    rng = np.random.default_rng(0)
    windows = [place_window((20, 100, 100), PATCH, places, 1.0, rng) for _ in range(300)]
    assert {10 - w[0].start for w in windows} == {0, 1, 2}
    assert {50 - w[2].start for w in windows} == {0, 1, 2, 3, 4}


def test_a_flat_truth_has_no_foreground() -> None:
    assert foreground_places(np.zeros((4, 8, 8), np.float32), 0).shape == (0, 3)


def test_augmentation_turns_both_alike_and_keeps_within_its_limits() -> None:
    rng = np.random.default_rng(0)
    image = rng.random((3, 6, 6)).astype(np.float32)
    seen = set()
    for seed in range(300):
        done = augmented(Patch(image, image.copy()), OPTIONS, np.random.default_rng(seed))
        assert np.array_equal(done.noisy, done.truth)
        # The line from sorted to sorted values is the jitter, whatever the turn.
        factor, shift = np.polyfit(np.sort(image.ravel()), np.sort(done.noisy.ravel()), 1)
        assert 1 / 1.1001 < factor < 1.1001
        assert abs(shift) < 0.0201
        seen.add(tuple(np.rint(1e3 * ((done.noisy - shift) / factor).ravel()[:6])))
    assert len(seen) == 16, "eight turns and flips of the plane, each up and down"


def test_no_jitter_where_none_is_asked_for() -> None:
    options = TrainingOptions(patch_zyx=(4, 16, 16), scale_jitter=0, offset_jitter=0)
    image = np.arange(4 * 16 * 16, dtype=np.float32).reshape(4, 16, 16)
    done = augmented(Patch(image, image), options, np.random.default_rng(4))
    assert np.array_equal(np.sort(done.noisy.ravel()), image.ravel())


def test_scenes_come_in_the_noisy_stacks_network_units() -> None:
    simulation = SimulationConfig.model_validate({"shape_zyx": (6, 24, 24)})
    source = SimulatedSource(simulation, 0)
    scenes = [source.load(seed) for seed in range(3)]
    patches = [scenes[s % 3].cut(OPTIONS, 0.5, np.random.default_rng(s)) for s in range(30)]
    for patch in patches:
        assert patch.noisy.shape == patch.truth.shape == (4, 16, 16)
        assert patch.noisy.dtype == patch.truth.dtype == np.float32
    # Noise has no mean: over many patches noisy and truth agree, or results would be biased.
    assert abs(np.mean([(p.noisy - p.truth).mean() for p in patches])) < 0.02


def test_a_large_scene_gets_the_scale_of_its_whole_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    signal = signal_of(clean_stack(1, (16, 96, 96)))
    simulation = SimulationConfig.model_validate(
        {"peak_e": (200, 200), "read_noise_e": (1, 1), "scmos_share": 0}
    )
    scene = Scene(signal, signal, foreground_places(signal, 0), simulation)
    whole = [scene.cut(OPTIONS, 1.0, np.random.default_rng(s)).truth for s in range(8)]
    monkeypatch.setattr(subjects, "_WHOLE_VOXELS", 2**14)
    parts = [scene.cut(OPTIONS, 1.0, np.random.default_rng(s)).truth for s in range(8)]
    for one, other in zip(whole, parts, strict=True):
        assert np.abs(one - other).max() < 0.1, "camera, light and window are the same"
    # Had the scale been that of the patch, its brightest voxels would all be near 1.
    assert np.ptp([part.max() for part in parts]) > 0.1


def test_a_fitted_truth_is_what_the_raw_camera_would_have_given() -> None:
    rng = np.random.default_rng(2)
    clean = clean_stack(4, (8, 48, 48))
    raw = (100 + 3 * rng.poisson(20 * clean)).astype(np.uint16)
    truth = (1000 + 900 * clean).astype(np.uint16)
    raw_scale = scale_from_percentiles(raw, 2.0, 99.9)
    scale = fitted_truth_scale(raw, truth, raw_scale, "cell")
    back = scale.normalise(truth) * (raw_scale.high_adu - raw_scale.low_adu) + raw_scale.low_adu
    assert np.abs(back - (100 + 60 * clean)).max() < 2.5
    # Its own percentiles are not: noise has moved those of the raw stack.
    own = scale_from_percentiles(truth, 2.0, 99.9).normalise(truth)
    assert np.abs(own - scale.normalise(truth)).max() > 0.1


def test_stacks_of_different_things_are_no_pair() -> None:
    raw, truth = clean_stack(1, (8, 48, 48)), -clean_stack(1, (8, 48, 48))
    with pytest.raises(StackRefusedError, match="show different things"):
        fitted_truth_scale(raw, truth, scale_from_percentiles(raw, 2.0, 99.9), "cell")
