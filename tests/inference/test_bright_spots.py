"""Stacks whose structure is far brighter than their upper percentile: a raised intensity scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from live_restore.inference.image.contrast import brightest_structure
from live_restore.inference.image.intensity import scale_from_percentiles
from live_restore.inference.load import find_model, load_model
from live_restore.inference.restorer import Restorer
from live_restore.settings.model import InferenceSettings
from live_restore.simulation.quality import psnr
from tests.support.fakes import Floats, fake_restorer

SPAN, FLOOR = 40.0, 100.0
"""Of the dim part of the stacks (ADU)."""


def spotted(times: float, sigma: float = 1.0, seed: int = 0) -> Floats:
    """Return dim texture without noise (ADU), and two spots so many times as bright."""
    rng = np.random.default_rng(seed)
    z, y, x = np.ogrid[:8, :256, :256]
    stack = FLOOR + SPAN * (0.5 + 0.5 * np.sin(y / 7) * np.cos(x / 9)) + 0 * z
    for cz, cy, cx in rng.uniform((2, 10, 10), (6, 240, 240), (2, 3)).round():
        lateral = (y - cy) ** 2 + (x - cx) ** 2
        stack = stack + times * SPAN * np.exp(-lateral / (2 * sigma**2) - (z - cz) ** 2 / 2)
    return np.asarray(stack, np.float32)


def counted(stack: Floats) -> np.ndarray:
    return np.rint(stack).astype(np.uint16)


def seen_by_network(raw: np.ndarray, **settings: Any) -> tuple[float, float]:
    """Return the brightest number that a network is given, and how much the scale was raised."""
    seen: list[float] = []

    def look(tile: Floats) -> Floats:
        seen.append(float(tile.max()))
        return tile

    restored = fake_restorer(look, brightest_units=8.0, **settings).restore(raw)
    np.testing.assert_allclose(restored.volume, raw, rtol=1e-3, atol=0.01 * SPAN)
    return max(seen), restored.scale_raised


@pytest.mark.parametrize("times", [10, 20, 30])
def test_spots_are_as_bright_to_the_network_as_its_card_allows(times: float) -> None:
    raw = counted(spotted(times))
    low, high = np.percentile(raw, (2, 99.9))
    brightest, raised = seen_by_network(raw)
    assert brightest == pytest.approx(8, rel=0.01)
    assert raised == pytest.approx((raw.max() - low) / (high - low) / 8, rel=0.01)


def test_a_scale_is_not_raised_beyond_what_dim_structure_bears() -> None:
    brightest, raised = seen_by_network(counted(spotted(150)))
    assert raised == 4
    assert brightest > 8


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_without_such_spots_the_scale_is_that_of_the_percentiles(dtype: str) -> None:
    raw = spotted(2).clip(0, 255).astype(dtype)
    restored = fake_restorer(brightest_units=8.0).restore(raw)
    scale = scale_from_percentiles(raw, 2.0, 99.9).of_any_unit()
    assert restored.scale_raised == 1
    assert (restored.scale.low_adu, restored.scale.high_adu) == (scale.low_adu, scale.high_adu)


def test_a_model_that_says_nothing_has_the_percentiles() -> None:
    restored = fake_restorer().restore(counted(spotted(20)))
    assert restored.scale_raised == 1
    assert restored.brightest > 8


def lone_voxels(raw: np.ndarray) -> None:
    raw[1:7:2, 20:80:20, 20:80:20] = 4000


def a_line_of_pixels(raw: np.ndarray) -> None:
    raw[:, 40, :] = 4000


@pytest.mark.parametrize("defect", [lone_voxels, a_line_of_pixels])
def test_defects_that_nobody_looked_for_raise_no_scale(defect: Any) -> None:
    raw = counted(spotted(1))
    defect(raw)
    assert brightest_structure(raw, FLOOR, 1000.0) == 1000


def test_photons_of_an_em_camera_raise_no_scale() -> None:
    rng = np.random.default_rng(0)
    photons = rng.poisson(0.001, (8, 128, 128))
    adu = rng.normal(200, 10, photons.shape) + rng.gamma(np.maximum(photons, 1), 300) * (
        photons > 0
    )
    restored = fake_restorer(brightest_units=8.0).restore(adu.clip(0).astype(np.uint16))
    assert restored.brightest > 20
    assert restored.scale_raised == 1


@pytest.mark.parametrize("shape", [(5, 1, 400), (5, 400, 1), (1, 2, 2000)])
def test_planes_too_narrow_to_have_neighbours(shape: tuple[int, int, int]) -> None:
    raw = np.full(shape, 100, np.uint16)
    raw.reshape(-1)[::3] = 110
    raw.reshape(-1)[700] = 60000
    assert fake_restorer(brightest_units=8.0).restore(raw).scale_raised == 1


@pytest.mark.parametrize(
    ("settings", "units"),
    [
        ({"percentiles": (2.0, 99.9)}, "camera-float"),
        ({"tiling": "reference", "block_zyx": (8, 128, 128)}, "camera-float"),
        ({}, "network"),
    ],
)
def test_who_names_the_scale_has_that(settings: dict[str, Any], units: Any) -> None:
    model = load_model(find_model("fast"), "cpu")
    restored = Restorer(model, InferenceSettings(**settings), units).restore(counted(spotted(20)))
    assert restored.scale_raised == 1


def test_fast_gives_back_more_of_the_light_of_bright_spots() -> None:
    truth = spotted(60, seed=1)
    raw = (np.random.default_rng(1).poisson(truth - FLOOR + 5) + FLOOR - 5).astype(np.uint16)
    model = load_model(find_model("fast"), "cpu")
    by_percentiles, raised = (
        Restorer(model, InferenceSettings(percentiles=ranks), "camera-float").restore(raw)
        for ranks in ((2.0, 99.9), None)
    )
    assert raised.scale_raised == 4
    gained = psnr(raised.volume, truth) - psnr(by_percentiles.volume, truth)
    assert gained > 1
    spots = truth > FLOOR + 5 * SPAN
    light = [
        float((each.volume[spots] - FLOOR).sum() / (truth[spots] - FLOOR).sum())
        for each in (by_percentiles, raised)
    ]
    assert light[0] < light[1] < 1.02
