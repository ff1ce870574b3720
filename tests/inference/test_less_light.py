"""What less light would cost: compared with stacks that were photographed with less."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from live_restore.inference.image.gain import Gain
from live_restore.inference.image.less_light import (
    SHARES,
    Dealt,
    LessLight,
    LightLevel,
    less_light,
)
from live_restore.inference.image.thinning import thinned
from live_restore.inference.load import find_model, load_model
from live_restore.inference.model_set import ModelSet
from live_restore.inference.restorer import Restorer
from live_restore.settings.load import load_settings
from live_restore.settings.model import InferenceSettings
from live_restore.simulation.quality import psnr
from live_restore.testing.fakes import fake_model
from tests.support.fakes import Floats
from tests.support.lights import CAMERA, TOLD, light, smooth_light


def with_camera(**wrong: float) -> Restorer:
    model = load_model(find_model("fast"), "cpu")
    camera = TOLD.model_copy(update=wrong)
    return Restorer(model, InferenceSettings(), "camera-float", camera, "keep", None, 1, 1)


def estimated(restorer: Restorer, light_e: np.ndarray) -> LessLight:
    found = restorer.restore(CAMERA.expose(light_e, np.random.default_rng(3))).less_light
    assert found is not None
    return found


def photographed(light_e: np.ndarray) -> list[float]:
    """Return what shares of the light really cost (dB)."""
    restorer = Restorer(load_model(find_model("fast"), "cpu"), InferenceSettings(), "camera-float")
    truth, rng = CAMERA.noiseless_adu(light_e), np.random.default_rng(4)
    found = []
    for share in (1.0, *SHARES):
        image = restorer.restore(CAMERA.expose(share * light_e, rng)).volume
        found.append(psnr((image - 100) / share + 100, truth))
    return [found[0] - each for each in found[1:]]


def test_of_the_bundled_model_it_is_what_less_light_costs() -> None:
    said, costs = estimated(with_camera(), light(100)), photographed(light(100))
    assert not said.unknown_because, said
    for level, cost in zip(said.levels, costs, strict=True):
        assert level.cost_db is not None
        assert level.error_db is not None
        assert 0 <= level.cost_db - cost <= level.error_db, (level, cost)
        assert level.over_raw_db is not None
    first, *others = (level.cost_db for level in said.levels)
    assert said.in_words == (
        f"half the light would cost {first:.1f} dB at most, a quarter {others[0]:.1f} dB, "
        f"a tenth {others[1]:.1f} dB"
    )


def test_what_a_network_loses_at_all_lights_is_not_forgotten() -> None:
    """Results that share an error: how far they are apart tells less than what it costs."""
    gain = Gain(10.0, 0.5, "", 1.0)
    fair, dim = dealt_with_error(1.5, gain), dealt_with_error(3.0, gain)
    assert fair.cost_db is not None
    assert dim.cost_db is not None
    assert dim.cost_db > fair.cost_db + 0.4


def dealt_with_error(error_adu: float, gain: Gain) -> LightLevel:
    """Return what is said of results that all have the same error."""
    rng, clean = np.random.default_rng(1), CAMERA.noiseless_adu(smooth_light(30))
    raw = CAMERA.expose(smooth_light(30), rng)
    made = clean + np.float32(error_adu)
    less = 100 + 0.5 * (made - 100)
    dealt = Dealt(0.5, thinned(raw, clean, 0.5, TOLD, rng), less.astype(np.float32))
    (level,) = less_light(raw, made, [dealt], gain, TOLD).levels
    return level


def test_the_photons_left_out_are_a_witness() -> None:
    """Results that agree with each other, and not with them, are wrong together."""
    for gain in (Gain(14.0, 1.5, "", 1.0), Gain(None, None, "", 1.0, 15.0)):
        assert dealt_with_error(1.0, gain).over_raw_db is not None
        wrong = dealt_with_error(8.0, gain)
        assert (wrong.cost_db, wrong.over_raw_db) == (None, None)
        assert LessLight((wrong,)).in_words.startswith("not known: the photons left out")
    above = dealt_with_error(1.0, Gain(None, None, "", 1.0, 15.0))
    assert above.cost_db is None
    assert "half the light would leave 1" in LessLight((above,)).in_words


@pytest.mark.parametrize("wrong", [{"gain_adu_per_e": 2.2}, {"offset_adu": 102.0}])
def test_with_a_wrong_camera_it_is_not_known(wrong: dict[str, float]) -> None:
    said = estimated(with_camera(**wrong), light(60))
    assert not said.levels
    assert said.in_words.startswith("not known")


def test_of_one_in_so_many_of_those_whose_gain_is_estimated() -> None:
    raw = CAMERA.expose(smooth_light(60), np.random.default_rng(1))
    tiles: list[int] = []

    def network(tile: Floats) -> Floats:
        tiles.append(1)
        return ndimage.gaussian_filter(tile, (0, 0, 1, 1, 1)).astype(np.float32)

    restorer = Restorer(
        fake_model(network), InferenceSettings(), "camera", TOLD, "keep", None, 2, 2
    )
    found = [restorer.restore(raw) for _ in range(6)]
    assert [each.gain is not None for each in found] == [True, False] * 3
    assert [each.less_light is not None for each in found] == [
        True,
        False,
        False,
        False,
        True,
        False,
    ]
    assert [("less_light" in each.seconds) for each in found] == [
        each.less_light is not None for each in found
    ]
    assert len(tiles) == 6 + 3 + 2 * len(SHARES)


@pytest.mark.parametrize(("settings", "passes"), [({}, True), ({"trust": {"every": 0}}, False)])
def test_one_setting_ends_all_that_runs_the_network_again(
    settings: dict[str, Any], passes: bool
) -> None:
    given = {"camera": TOLD.model_dump(), "inference": {"device": "cpu"}, **settings}
    models = ModelSet.load(load_settings(None, given))
    ((_, restorer),) = models.rules
    assert restorer is not None
    raw = CAMERA.expose(smooth_light(60)[:4], np.random.default_rng(1))
    found = restorer.with_camera(models.cameras[0].settings).restore(raw)
    assert (found.gain is not None, found.less_light is not None) == (passes, passes)
    assert {"gain", "less_light"}.issubset(found.seconds) is passes


def test_the_result_is_the_same_to_the_bit() -> None:
    raw = CAMERA.expose(light(60)[:4], np.random.default_rng(1))
    model = load_model(find_model("fast"), "cpu")
    one, other = (
        Restorer(model, InferenceSettings(), "camera", TOLD, "keep", None, 1, every)
        .restore(raw)
        .volume
        for every in (0, 1)
    )
    assert np.array_equal(one, other)
