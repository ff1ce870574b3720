"""Intensity: percentiles to the last bit, and a scale that can be undone."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from live_restore.inference.image import intensity
from live_restore.inference.image.intensity import (
    Histogram,
    IntensityScale,
    percentiles,
    scale_from_percentiles,
)

SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, max_side=9)
RANKS = st.lists(st.floats(0, 100), min_size=1, max_size=5).map(tuple)
INTEGERS = st.sampled_from([np.uint8, np.uint16]).flatmap(
    lambda dtype: hnp.arrays(dtype, SHAPES, elements=st.one_of(
        st.integers(0, 3), st.integers(0, np.iinfo(dtype).max)))
)  # fmt: skip


@given(INTEGERS, RANKS)
@settings(max_examples=300, deadline=None)
def test_percentiles_are_exactly_those_of_numpy(
    values: np.ndarray, ranks: tuple[float, ...]
) -> None:
    assert percentiles(values, ranks) == tuple(np.percentile(values, ranks).tolist())


@given(INTEGERS)
@settings(max_examples=100, deadline=None)
def test_moments_are_those_of_numpy(values: np.ndarray) -> None:
    expected = (values.mean(dtype=np.float64), values.std(dtype=np.float64))
    np.testing.assert_allclose(Histogram.of(values).mean_and_std(), expected, rtol=1e-9, atol=1e-9)


@given(INTEGERS)
@settings(max_examples=60, deadline=None)
def test_percentiles_of_the_reference(values: np.ndarray) -> None:
    assert percentiles(values, (2.0, 99.9)) == tuple(np.percentile(values, (2, 99.9)).tolist())


@given(hnp.arrays(np.float32, SHAPES, elements=st.floats(-1e6, 1e6, width=32)), RANKS)
@settings(max_examples=60, deadline=None)
def test_percentiles_of_floats_leave_the_stack_alone(
    values: np.ndarray, ranks: tuple[float, ...]
) -> None:
    before = values.copy()
    expected = np.percentile(values.astype(np.float64), ranks)
    assert percentiles(values, ranks) == tuple(expected.tolist())
    assert np.array_equal(values, before)


def test_parts_of_the_histogram_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intensity, "_HISTOGRAM_PART", 7)
    values = np.random.default_rng(1).integers(0, 65536, (5, 6, 7)).astype(np.uint16)
    for view in (values, values[::2, :, ::-1]):
        assert percentiles(view, (0, 33, 100)) == tuple(np.percentile(view, (0, 33, 100)).tolist())


def test_a_large_stack_is_not_copied() -> None:
    values = np.zeros((32, 1024, 1024), np.uint16)
    tracemalloc.start()
    try:
        percentiles(values, (2.0, 99.9))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < values.nbytes


@given(
    hnp.arrays(np.uint16, SHAPES), st.floats(0, 60000), st.floats(1, 5000)
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_restoring_undoes_normalising(values: np.ndarray, low: float, width: float) -> None:
    scale = IntensityScale(low, low + width)
    before = values.copy()
    normalised = scale.normalise(values)
    assert normalised.dtype == np.float32
    assert np.array_equal(values, before)
    assert np.array_equal(np.rint(scale.restore(normalised)), values)


def test_the_scale_is_the_published_one() -> None:
    stack = np.random.default_rng(3).integers(90, 4000, (4, 20, 20)).astype(np.uint16)
    low, high = np.percentile(stack, (2, 99.9))
    published = (stack.astype(np.float64) - low) / (high - low + 1e-6)
    scale = scale_from_percentiles(stack, 2, 99.9)
    assert (scale.low_adu, scale.high_adu) == (low, high)
    np.testing.assert_allclose(scale.normalise(stack), published, rtol=1e-5, atol=1e-6)


def test_a_flat_scale_stays_finite() -> None:
    flat = IntensityScale(7.0, 7.0)
    values = np.full((2, 2, 2), 7, np.uint8)
    assert np.array_equal(flat.restore(flat.normalise(values)), values)


@pytest.mark.parametrize("unit", [1e-30, 1e-12, 1e-9, 1e-6])
def test_the_constant_is_no_part_of_a_small_span(unit: float) -> None:
    counts = np.random.default_rng(4).integers(90, 4000, (4, 8, 8)).astype(np.float32)
    small = counts * np.float32(unit)
    expected = scale_from_percentiles(counts, 2, 99.9).normalise(counts)
    scale = scale_from_percentiles(small, 2, 99.9).of_any_unit()
    normalised = scale.normalise(small)
    np.testing.assert_allclose(normalised, expected, atol=1e-6)
    np.testing.assert_allclose(scale.restore(normalised), small, rtol=1e-5)


def test_the_constant_stays_where_it_is_harmless() -> None:
    for scale in (IntensityScale(0.0, 0.02), IntensityScale(5.0, 5.0)):
        assert scale.of_any_unit() == scale
