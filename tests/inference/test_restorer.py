"""The restorer: camera units in and out, whatever the stack looks like."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from live_restore.errors import InferenceError, StackRefusedError
from live_restore.inference.image.finished import to_dtype
from live_restore.inference.image.intensity import IntensityScale
from live_restore.inference.load import find_model, load_model
from live_restore.inference.network_runs import CancelledError
from live_restore.inference.restorer import Restorer
from live_restore.settings.load import load_settings
from live_restore.stack import Units
from live_restore.trust.doubts import intensity_doubt
from tests.support.fakes import FakeSession, Floats, fake_restorer, halve


def same(tile: Floats) -> Floats:
    return tile


def stack(shape: tuple[int, ...] = (4, 20, 24), dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(5).integers(1, 250, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", [(2, 3, 5), (7, 31, 33), (3, 1, 64), (16, 64, 64)])
def test_a_network_that_does_nothing_changes_nothing(shape: tuple[int, ...], dtype: str) -> None:
    raw = stack(shape, dtype)
    before = raw.copy()
    restorer = fake_restorer(
        same, {"max_tile_mvoxel": 0.004}, shape_multiple_zyx=(1, 2, 4), overlap_zyx=(1, 4, 4)
    )
    restored = restorer.restore(raw)
    assert restored.volume.dtype == raw.dtype
    assert restored.volume.shape == raw.shape
    assert restored.volume.flags.c_contiguous
    np.testing.assert_allclose(restored.volume, raw, rtol=1e-4)
    assert np.array_equal(raw, before)
    assert restored.clipped_voxels == 0
    assert not restored.scale_from_extremes
    assert intensity_doubt(restored) is None
    assert set(restored.seconds) == {"normalise", "network", "finish"}


@given(hnp.arrays(np.uint16, st.just((2, 4, 4))))
@settings(max_examples=80, deadline=None)
def test_any_integers_come_back(raw: np.ndarray) -> None:
    if raw.min() == raw.max():
        with pytest.raises(StackRefusedError):
            fake_restorer(same).restore(raw)
        return
    np.testing.assert_allclose(
        fake_restorer(same).restore(raw).volume.astype(int), raw.astype(int), atol=1
    )


def test_tiles_are_counted_and_have_one_shape() -> None:
    restorer = fake_restorer(same, {"max_tile_mvoxel": 0.001}, overlap_zyx=(1, 2, 2))
    restored = restorer.restore(stack())
    session = restorer.model.session
    assert isinstance(session, FakeSession)
    assert set(session.shapes) == {(1, 1, *restored.tile_zyx)}
    assert len(session.shapes) == restored.tile_count > 1


@pytest.mark.parametrize("value", [0, 7, 255])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_constant_stack_is_refused(value: int, dtype: str) -> None:
    with pytest.raises(StackRefusedError, match=f"constant .every voxel is {value}"):
        fake_restorer().restore(np.full((3, 4, 5), value, dtype))


def test_a_sparse_stack_whose_percentiles_are_equal() -> None:
    raw = np.full((10, 40, 40), 100, np.uint16)
    raw[5, 20, 20] = 5000  # less than 0.1 % of the voxels
    restored = fake_restorer(same).restore(raw)
    assert np.array_equal(restored.volume, raw)
    assert (restored.scale.low_adu, restored.scale.high_adu) == (100, 5000)
    assert restored.scale_from_extremes


def test_clipping_is_counted() -> None:
    raw = stack((2, 8, 8), "uint8")
    restored = fake_restorer(lambda tile: np.where(tile > 0.5, 1e3, tile)).restore(raw)
    scale = restored.scale
    bright = int((scale.normalise(raw) > 0.5).sum())
    assert restored.clipped_voxels == bright > 0
    assert restored.volume.max() == 255
    dark = fake_restorer(lambda tile: tile - 1e4).restore(raw)
    assert dark.clipped_voxels == raw.size
    assert not dark.volume.any()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_unrounded_grey_values_are_those_that_rounding_gives(dtype: str) -> None:
    raw = stack(dtype=dtype)
    whole = fake_restorer(halve).restore(raw)
    exact = fake_restorer(halve, units="camera-float").restore(raw)
    assert exact.volume.dtype == np.float32
    assert exact.scale == whole.scale
    assert np.array_equal(np.rint(np.clip(exact.volume, 0, None)), whole.volume)
    assert np.abs(exact.volume - np.rint(exact.volume)).max() > 0.4


def test_floats_are_not_clipped() -> None:
    values = np.array([-1e9, 0.5, 1e9], np.float32)
    volume, clipped = to_dtype(values, np.dtype(np.float32))
    assert (volume.tolist(), clipped) == (values.tolist(), 0)


def square(tile: Floats) -> Floats:
    return tile * tile


def test_the_unit_of_a_float_stack_does_not_matter() -> None:
    counts = stack(dtype="float32")
    expected = fake_restorer(square).restore(counts).volume
    small = fake_restorer(square).restore(counts * np.float32(1e-9)).volume
    np.testing.assert_allclose(small * 1e9, expected, rtol=1e-4, atol=1e-3)


def test_the_published_scale_stays_for_counts_and_reference_tiling() -> None:
    sparse = np.full((10, 40, 40), 100, np.uint16)
    sparse.flat[:17] = 101  # a percentile just above 100
    fine = fake_restorer(square, {"percentiles": [0, 99.8938]}).restore(sparse).scale
    assert 0 < fine.high_adu - fine.low_adu < 1e-2
    small = stack(dtype="float32") * np.float32(1e-9)
    blocks = {"tiling": "reference", "block_zyx": [4, 8, 8]}
    published = fake_restorer(square, blocks).restore(small).scale
    for scale in (fine, published):
        assert scale == IntensityScale(scale.low_adu, scale.high_adu)
    assert fake_restorer(square).restore(small).scale != published


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_never_a_result(bad: float) -> None:
    def spoil(tile: Floats) -> Floats:
        out = tile.copy()
        out[0, 0, -1, -1, -1] = bad
        return out

    for dtype in ("uint16", "float32"):
        with pytest.raises(InferenceError, match="not finite"):
            fake_restorer(spoil).restore(stack(dtype=dtype))


def test_overflow_on_the_way_back_is_never_a_result() -> None:
    raw = np.array([-3e30, 0, 3e30], np.float32).reshape(1, 1, 3)
    with pytest.raises(InferenceError, match="not finite"):
        fake_restorer(lambda tile: tile + np.float32(1e9)).restore(raw)


@pytest.mark.parametrize("values", [(-3e38, 0, 3e38), (0, *range(5000), 3e38)])
@pytest.mark.parametrize("units", ["camera", "camera-float"])
def test_values_too_large_for_float32_are_the_stacks_fault(
    values: tuple[float, ...], units: Units
) -> None:
    raw = np.array(values, np.float32).reshape(1, 1, -1)
    with pytest.raises(StackRefusedError, match=r"to 3e\+38, which are too large .* float32"):
        fake_restorer(lambda tile: (tile + 1) * np.float32(1e3), units=units).restore(raw)


@pytest.mark.parametrize("scale", [2, 0.5])
@pytest.mark.parametrize("max_tile_mvoxel", [2.0, 0.001])
def test_an_output_of_another_shape_is_no_result(scale: float, max_tile_mvoxel: float) -> None:
    def resize(tile: Floats) -> Floats:
        return np.resize(tile, (1, 1, *tile.shape[2:4], int(tile.shape[4] * scale)))

    with pytest.raises(InferenceError, match="whose output has the shape of its input"):
        fake_restorer(resize, {"max_tile_mvoxel": max_tile_mvoxel}).restore(stack())


def test_it_stops_between_tiles() -> None:
    restorer = fake_restorer(same, {"max_tile_mvoxel": 0.001}, overlap_zyx=(1, 2, 2))
    session = restorer.model.session
    assert isinstance(session, FakeSession)
    with pytest.raises(CancelledError):
        restorer.restore(stack(), lambda: len(session.shapes) >= 2)
    assert len(session.shapes) == 2


def test_a_wait_before_a_tile_is_told_and_is_no_time_of_the_network() -> None:
    raw = np.arange(4 * 8 * 8, dtype=np.uint16).reshape(4, 8, 8)

    def after_a_while() -> bool:
        time.sleep(0.2)
        return False

    restorer = fake_restorer()
    seconds = restorer.restore(raw, after_a_while).seconds
    assert seconds["waited"] >= 0.2
    assert seconds["network"] < 0.15
    assert "waited" not in restorer.restore(raw).seconds


def test_settings_override_the_card() -> None:
    raw = stack()
    by_card = fake_restorer(same, percentiles=(10, 90)).restore(raw)
    assert (by_card.scale.low_adu, by_card.scale.high_adu) == tuple(np.percentile(raw, (10, 90)))
    by_settings = fake_restorer(same, {"percentiles": [0, 100]}, percentiles=(10, 90)).restore(raw)
    assert (by_settings.scale.low_adu, by_settings.scale.high_adu) == (raw.min(), raw.max())


def test_the_same_stack_gives_the_same_result() -> None:
    restorer = fake_restorer(halve, {"max_tile_mvoxel": 0.001}, overlap_zyx=(1, 2, 2))
    assert np.array_equal(restorer.restore(stack()).volume, restorer.restore(stack()).volume)


def test_the_bundled_model_restores_odd_shapes() -> None:
    restorer = Restorer(load_model(find_model("fast"), "cpu", 1), load_settings().inference)
    raw = stack((5, 31, 33))
    restored = restorer.restore(raw)
    assert (restored.volume.shape, restored.volume.dtype) == (raw.shape, raw.dtype)
    assert not np.array_equal(restored.volume, raw)
