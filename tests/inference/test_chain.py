"""Several models one after the other are one restoration, with one report and a digest of all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from live_restore.cli.main import main
from live_restore.errors import SettingsError
from live_restore.inference.chain import ChainRestorer, chained
from live_restore.inference.image.resample import resampled, zoom_for
from live_restore.inference.load import bundled_models, load_model
from live_restore.inference.model_set import ModelSet
from live_restore.inference.restorer import Restorer
from live_restore.settings.load import load_settings
from live_restore.settings.model import InferenceSettings
from live_restore.stack import VoxelSize
from tests.support.models import CARD, write_model

SHAPE = (6, 32, 32)


def stack() -> NDArray[np.uint16]:
    rng = np.random.default_rng(0)
    light = np.full(SHAPE, 5.0)
    light[2:4, 10:20, 10:20] = 60.0
    return (100 + 2 * rng.poisson(light)).astype(np.uint16)


def chain_of(*names: str) -> ModelSet:
    return ModelSet.load(
        load_settings(None, {"models": [{"steps": list(names)}], "inference": {"device": "cpu"}})
    )


def test_a_chain_is_its_steps_one_after_the_other() -> None:
    raw = stack()
    (_, chain), *_ = chain_of("fast", "sharpen").rules
    assert isinstance(chain, ChainRestorer)
    made = chain.restore(raw)
    fast, sharpen = (load_model(bundled_models()[name], "cpu") for name in ("fast", "sharpen"))
    settings = InferenceSettings()
    between = Restorer(fast, settings, "camera-float", defects="mend").restore(raw).volume
    volume = Restorer(sharpen, settings, "camera-float", defects=None).restore(between).volume
    assert made.volume.dtype == raw.dtype
    assert (made.volume == np.rint(volume).astype(np.uint16)).all()
    assert [step.model for step in made.steps] == ["fast", "sharpen"]
    assert made.tile_count == 2
    assert chain.model.card.truth_psf_width == 0.5
    assert "fast, then sharpen" in chain.model.card.unmeasured_note()


def test_the_recipe_tells_every_step_and_their_order() -> None:
    recipes = {
        chain_of(*names).recipe
        for names in (("fast", "sharpen"), ("sharpen", "fast"), ("fast", "fast"))
    }
    recipes.add(ModelSet.load(load_settings(None, {"inference": {"device": "cpu"}})).recipe)
    assert len(recipes) == 4


def test_voxels_that_a_step_does_not_know_are_resampled_for_it(tmp_path: Path) -> None:
    card = {**CARD, "shape_multiple_zyx": [1, 1, 1]}
    coarse = {**card, "name": "coarse", "trained_voxel_um": {"z": [0.1, 0.3], "xy": [0.1, 0.1]}}
    models = [
        load_model(write_model(tmp_path / f"{number}.onnx", card=each), "cpu")
        for number, each in enumerate((card, coarse))
    ]
    steps = [Restorer(m, InferenceSettings(), "camera-float", defects=None) for m in models]
    raw = stack()
    smooth = np.broadcast_to(np.linspace(100, 300, 32), SHAPE).astype(np.float32)
    chain = ChainRestorer(steps, "camera-float").with_voxel(VoxelSize(0.6, 0.15, 0.15))
    made = chain.restore(smooth)
    assert made.volume.shape == SHAPE
    assert made.steps[1].zoom_zyx == pytest.approx((2.0, 1.5, 1.5))
    assert made.volume == pytest.approx(smooth, abs=2.0)
    alike = ChainRestorer(steps).with_voxel(VoxelSize(0.2, 0.1, 0.1)).restore(raw)
    assert alike.steps[1].zoom_zyx == (1.0, 1.0, 1.0)
    assert (alike.volume == raw).all()


def test_no_file_can_make_a_stack_huge() -> None:
    zoom = zoom_for(VoxelSize(1e6, 1e6, 1e6), {"z": (0.1, 0.1), "xy": (0.1, 0.1)})
    assert zoom == (2.0, 2.0, 2.0)
    assert resampled(np.ones((1, 5, 5), np.float32), (2, 10, 10)).shape == (2, 10, 10)


def test_only_the_first_step_has_a_camera_and_hot_pixels_stay_as_they_were() -> None:
    raw = stack()
    raw[:, 5, 5] = 9000
    settings = load_settings(
        None,
        {
            "models": [{"steps": ["fast", "sharpen"]}],
            "inference": {"device": "cpu"},
            "camera": {"gain_adu_per_e": 2, "offset_adu": 100, "read_noise_e": 1},
        },
    )
    (_, chain), *_ = ModelSet.load(settings).rules
    assert isinstance(chain, ChainRestorer)
    made = chain.with_camera(settings.camera).restore(raw)
    assert made.given_back is not None
    assert (made.volume[:, 5, 5] == 9000).all()
    assert made.volume[:, 5, 7].max() < 1000


def test_one_report_for_all_steps(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "cell.tif", stack(), photometric="minisblack")
    (tmp_path / "config.toml").write_text('[[models]]\nsteps = ["fast", "sharpen"]\n')
    arguments = ["restore", str(tmp_path / "cell.tif"), "--config", str(tmp_path / "config.toml")]
    assert main([*arguments, "--device", "cpu"]) == 0
    report = json.loads((tmp_path / "restored" / "cell.json").read_text())
    model = report["models"]["fast-then-sharpen"]
    assert [step["name"] for step in model["steps"]] == ["fast", "sharpen"]
    digests = [load_model(bundled_models()[n], "cpu").digest for n in ("fast", "sharpen")]
    assert [step["sha256"] for step in model["steps"]] == digests
    assert [step["device"]["name"] for step in model["steps"]] == ["cpu", "cpu"]
    assert report["stacks"][0]["steps"][1] == {"model": "sharpen", "zoom_zyx": [1.0, 1.0, 1.0]}
    assert report["settings"]["models"][0]["steps"] == ["fast", "sharpen"]
    again = ["restore", str(tmp_path / "cell.tif"), "-o", str(tmp_path / "again"), "--like"]
    assert main([*again, str(tmp_path / "restored" / "cell.json"), "--device", "cpu"]) == 0


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"models": [{"steps": ["fast"]}]}, "write model instead"),
        ({"models": [{"steps": []}]}, "at least 1 item"),
        ({"models": [{"steps": ["fast", "sharpen"], "model": "standard"}]}, "exclude each other"),
        (
            {"models": [{"steps": ["fast", "sharpen"]}], "output": {"units": "network"}},
            "camera units",
        ),
    ],
    ids=["one", "none", "both", "network units"],
)
def test_wrong_settings_are_refused(values: dict[str, object], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        load_settings(None, values)


def test_a_chains_name_and_digest_are_those_of_all() -> None:
    models = [load_model(bundled_models()[name], "cpu") for name in ("fast", "sharpen")]
    one, other = chained(models), chained(models[::-1])
    assert one.card.name == "fast-then-sharpen"
    assert one.digest != other.digest
    assert one.steps == tuple(models)
