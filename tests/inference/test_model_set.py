"""The model set: which model restores which channel, and what makes a recipe."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from live_restore.errors import ModelError
from live_restore.inference import model_set as module
from live_restore.inference.backends.session import Device
from live_restore.inference.load import find_model
from live_restore.inference.model.model import Model
from live_restore.inference.model_set import ModelSet
from live_restore.settings.load import load_settings
from tests.support.fakes import FakeSession, a_dataset, fake_model
from tests.support.models import write_model


def model_set(*rules: dict[str, Any], **sections: Any) -> ModelSet:
    inference = {"device": "cpu", "threads": 1}
    return ModelSet.load(
        load_settings(None, {"models": list(rules), "inference": inference, **sections})
    )


def test_the_first_rule_that_matches_decides() -> None:
    models = model_set(
        {"channels": ["DIC*", "2"], "skip": True},
        {"channels": ["gfp"]},
        {"channels": ["*"], "skip": True},
    )
    stacks = a_dataset(channels=4, channel_names=("dic 1", "GFP", "RFP"))
    restored = [models.restorer_for(stacks, c) is not None for c in range(4)]
    assert restored == [False, True, False, False]


def test_names_may_hold_brackets_and_numbers_may_be_numbers() -> None:
    models = model_set({"channels": ["GFP [488]", 2]}, {"channels": ["*"], "skip": True})
    stacks = a_dataset(channels=3, channel_names=("gfp [488]", "GFP 4", "RFP [561]"))
    restored = [models.restorer_for(stacks, c) is not None for c in range(3)]
    assert restored == [True, True, True]
    wild = model_set({"channels": ["GFP *"]}, {"channels": ["*"], "skip": True})
    assert [wild.restorer_for(stacks, c) is not None for c in range(3)] == [True, True, False]


def test_a_channel_without_a_rule_stays_as_it_is() -> None:
    models = model_set({"channels": ["GFP"]})
    assert models.restorer_for(a_dataset(channels=1), 0) is None


def test_a_model_is_loaded_once() -> None:
    models = model_set({"channels": ["a"]}, {"channels": ["b"]}, {"model": str(find_model("fast"))})
    assert models.rules[0][1] is models.rules[1][1]
    assert len(models.models) == 1


def test_the_models_are_warm_on_every_device_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(path: Path, device: str, *arguments: Any, **options: Any) -> Model:
        asked.append(device)
        model = fake_model()
        session = FakeSession()
        session.device = Device(device, "fake", f"card {device}", on_gpu=device != "cpu")
        return replace(model, session=session)

    monkeypatch.setattr(module, "load_model", load)
    both = ModelSet.load(load_settings(None, {"inference": {"device": "cpu,cuda:1"}}))
    assert asked == ["cpu", "cuda:1"]
    assert [device.hardware for device in both.devices] == ["card cpu", "card cuda:1"]
    # Two share a GPU, so that it computes while the processor prepares and finishes.
    of_workers = [worker.models[0].session.device.name for worker in both.workers]
    assert of_workers == ["cpu", "cuda:1", "cuda:1"]


def test_the_recipe_is_what_changes_a_voxel() -> None:
    plain = model_set({})
    assert model_set({}).recipe == plain.recipe
    assert model_set({}, log={"level": "debug"}).recipe == plain.recipe
    # Every key of a rule: they are not in the pixel digest.
    assert model_set({"channels": ["GFP"]}).recipe != plain.recipe
    assert model_set({"model": "standard"}).recipe != plain.recipe
    assert model_set({"skip": True}).recipe != plain.recipe
    assert model_set({}, files={"undeclared_axis": "T"}).recipe != plain.recipe


def test_other_weights_are_another_recipe_whatever_they_are_called(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    recipes = {
        model_set({"model": str(write_model(path, operator=operator))}).recipe
        for operator in ("Identity", "Relu", "Identity")
    }
    assert len(recipes) == 2


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5000 + ".onnx", "a\0b"])
def test_a_name_that_no_model_can_have(name: str) -> None:
    with pytest.raises(ModelError, match=r"check the path|bundled are"):
        find_model(name)


def test_a_model_in_a_folder_that_may_not_be_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = Path.stat

    def refuse(self: Path, **options: Any) -> os.stat_result:
        if self.name == "mine.onnx":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return look(self, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(ModelError, match="Permission denied"):
        find_model(str(tmp_path / "mine.onnx"))


def test_a_missing_model_is_said_at_once() -> None:
    with pytest.raises(ModelError, match="bundled are: fast"):
        model_set({"model": "slow"})
