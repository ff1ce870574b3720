"""Error bars: nine of ten errors within them, on stacks whose truth is known; or none at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from live_restore.errors import SettingsError
from live_restore.inference.error_bar_tables import table_for
from live_restore.inference.image.error_bars import (
    STANDARD_ERRORS,
    ErrorBarTable,
    agreement,
    standard_error,
)
from live_restore.inference.image.gain import Gain
from live_restore.inference.load import find_model, load_model
from live_restore.inference.model_set import ModelSet
from live_restore.inference.restored import Restored
from live_restore.inference.restorer import Restorer
from live_restore.settings.camera import CameraSettings
from live_restore.settings.load import load_settings
from live_restore.settings.model import InferenceSettings
from live_restore.simulation.camera import Camera
from live_restore.simulation.scene import LivingCell
from tests.support.models import write_model

CAMERA = Camera(offset_adu=100, gain_adu_per_e=2.0, read_noise_e=1.6)
NUMBERS = {"gain_adu_per_e": 2.0, "offset_adu": 100, "read_noise_e": 1.6}
TOLD = CameraSettings(**NUMBERS)
SHAPE = (10, 96, 96)
FLAT = ErrorBarTable(
    np.array([0.5, 30.0]), np.array([0.02, 6.0]), np.array([0.8, 2.0]), np.full((2, 2, 2), 0.5),
    np.ones(2),
)  # fmt: skip


@pytest.fixture(scope="module")
def fast() -> Restorer:
    model = load_model(find_model("fast"), "cpu", 1)
    return Restorer(
        model, InferenceSettings(), "camera-float", TOLD, error_bars=table_for(model.card)
    )


def cell(peak_e: float) -> LivingCell:
    return LivingCell(shape_zyx=SHAPE, peak_e=peak_e, camera=CAMERA)


def held(done: Restored, truth: np.ndarray, where: np.ndarray) -> float:
    assert done.error_bars is not None
    bars = done.error_bars.standard_error
    assert bars is not None, done.error_bars.unknown_because
    where = where & np.isfinite(bars)
    return float(np.mean((np.abs(done.volume - truth) <= STANDARD_ERRORS * bars)[where]))


@pytest.mark.parametrize("peak_e", [30, 60])
def test_bars_hold_nine_of_ten_errors(fast: Restorer, peak_e: float) -> None:
    scene = cell(peak_e)
    truth = scene.truth_adu(0)
    done = fast.restore(scene.exposed(0))
    everywhere = np.ones(SHAPE, bool)
    assert 0.8 <= held(done, truth, everywhere) <= 0.98
    assert 0.65 <= held(done, truth, truth > 100 + 0.3 * (truth.max() - 100)) <= 0.95


def test_a_wrong_camera_has_none(fast: Restorer) -> None:
    wrong = fast.with_camera(CameraSettings(**{**NUMBERS, "gain_adu_per_e": 3.0}))
    bars = wrong.restore(cell(30).exposed(0)).error_bars
    assert bars is not None
    assert bars.standard_error is None
    assert "[camera]" in bars.unknown_because
    unknown = fast.with_camera(None).restore(cell(30).exposed(0)).error_bars
    assert unknown is not None
    assert unknown.unknown_because == "its camera is not known"


def test_what_no_sample_made_has_none(fast: Restorer) -> None:
    raw = cell(30).exposed(0)
    raw[:, 40, 50] += 400
    bars = fast.restore(raw).error_bars
    assert bars is not None
    assert bars.standard_error is not None
    assert np.isnan(bars.standard_error[:, 40, 50]).all()
    assert np.isnan(bars.standard_error).mean() < 0.001


def test_bars_that_contradict_the_gain_are_scaled() -> None:
    raw = np.random.default_rng(0).normal(100, 3.2, SHAPE).astype(np.float32)
    restored = np.full(SHAPE, 100, np.float32)
    variance = 3.2**2
    alone = standard_error(raw, restored, TOLD, FLAT)
    assert float(np.mean(alone**2)) == pytest.approx(
        (0.5 / STANDARD_ERRORS) ** 2 * variance, rel=0.01
    )
    bars = standard_error(raw, restored, TOLD, FLAT, Gain(3.0, 0.4, "", 1.0, risk=0.5))
    assert float(np.mean(bars**2)) == pytest.approx(variance * 0.5 / 10**0.0404, rel=0.01)


@pytest.mark.parametrize(
    ("stated", "gain", "factor"),
    [
        (0.1, Gain(10.0, 2.0, "", 1.0, risk=0.1), 1.0),
        # 0.3 dB, and 1.2 % of the noise's variance.
        (0.2, Gain(10.0, 2.0, "", 1.0, risk=0.1), (10**-0.918 / 0.2) ** 0.5),
        (0.05, Gain(10.0, 2.0, "", 1.0, risk=0.1), (10**-1.082 / 0.05) ** 0.5),
        (0.05, Gain(None, None, "", 1.0, 8.0, risk=0.1), (10**-1.082 / 0.05) ** 0.5),
        (0.02, Gain(None, None, "", 1.0, 15.0, risk=0.02), 1.0),
        (0.1, Gain(None, None, "", 1.0, 15.0, risk=0.02), (10**-1.5 / 0.1) ** 0.5),
    ],
)
def test_how_far_bars_are_held_to_the_gain(stated: float, gain: Gain, factor: float) -> None:
    assert agreement(stated, gain) == pytest.approx(factor, rel=1e-3)


def test_between_measured_places_factors_are_interpolated() -> None:
    from live_restore.inference.image.error_bars import Features

    factors = np.array([[[0.1, 0.1], [0.4, 0.4]], [[0.1, 0.1], [0.4, 0.4]]])
    table = ErrorBarTable(
        np.array([1, 4.0]), np.array([1, 4.0]), np.array([1, 2.0]), factors, np.ones(2)
    )

    def at(structure: float) -> float:
        ones = np.ones((1, 1, 1), np.float32)
        return float(table.half_widths(Features(ones, ones, ones * structure, ones))[0, 0, 0])

    assert [at(0.1), at(1), at(4), at(99)] == pytest.approx([0.1, 0.1, 0.4, 0.4])
    assert at(2) == pytest.approx(0.2, rel=0.05)


def test_large_stacks_are_gone_through_in_parts() -> None:
    """The same as in one piece, but for rounding."""
    from live_restore.inference.image import error_bars

    rng = np.random.default_rng(1)
    restored = rng.uniform(100, 400, (37, 150, 40)).astype(np.float32)
    raw = rng.normal(restored, 10).astype(np.float32)
    table = replace(FLAT, factors=rng.uniform(0.1, 1, (2, 2, 2)), scale=np.array([1, 1.5]))
    parts = standard_error(raw, restored, TOLD, table)
    whole = table.half_widths(error_bars.features_of(raw, restored, TOLD)) / STANDARD_ERRORS
    np.testing.assert_allclose(parts, whole, rtol=0.15)  # a step of the table
    assert np.mean(np.isclose(parts, whole, rtol=1e-4)) > 0.99


def test_what_has_no_error_bars_is_refused_at_the_start(tmp_path: Path) -> None:
    bars = {"output": {"error_bars": True}, "inference": {"device": "cpu"}}
    with pytest.raises(SettingsError, match="needs the noise of the camera"):
        load_settings(None, bars)
    mine = {"models": [{"model": str(write_model(tmp_path / "mine.onnx"))}]}
    with pytest.raises(SettingsError, match="never measured"):
        ModelSet.load(load_settings(None, {**bars, **mine, "camera": NUMBERS}))
    told = load_settings(None, {**bars, "camera": NUMBERS})
    plain = load_settings(None, {"inference": {"device": "cpu"}, "camera": NUMBERS})
    assert ModelSet.load(told).recipe != ModelSet.load(plain).recipe
