"""Weights to start from: the bundled model is had back from its ONNX file, weight for weight."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from deferred import deferred
from training_files import tiny

from live_restore.errors import ModelError, SettingsError
from live_restore.inference.load import bundled_models

if TYPE_CHECKING:
    from live_restore_export.network import RCAN

onnx_export = deferred("live_restore_export.onnx.export")
onnx_verify = deferred("live_restore_export.onnx.verify")
torch = deferred("torch")
training_start = deferred("live_restore_export.training.start")


@pytest.mark.parametrize("name", ["bundled", *bundled_models()])
def test_a_bundled_network_had_back_computes_what_its_onnx_computes(name: str) -> None:
    start = training_start.find_start(name)
    path = bundled_models().get(name, bundled_models()["fast"])
    rows = onnx_verify.compare_with_network(onnx_export.load_model(path), start.network, 1e-5)
    assert all(row.passed for row in rows), rows
    assert start.name == path.stem
    assert start.percentiles == (2.0, 99.9)


def test_a_checkpoint_is_a_start(tmp_path: Path, make_network: Callable[..., RCAN]) -> None:
    network = make_network(channels=4, reduction=2)
    torch.save(network.state_dict(), tmp_path / "net.pt")
    start = training_start.find_start(str(tmp_path / "net.pt"))
    for name, value in network.state_dict().items():
        assert torch.equal(start.network.state_dict()[name], value)
    assert start.percentiles is None


def test_what_is_no_start_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nonesuch: is neither .* bundled are: .*fast"):
        training_start.find_start("nonesuch")


def test_the_start_decides_the_architecture(tmp_path: Path) -> None:
    config = tiny(tmp_path)
    start = training_start.find_start("fast")
    with pytest.raises(SettingsError, match=r"network.groups is 1, but fast has 2"):
        training_start.architecture_for(config, start, tmp_path)
    free = config.model_copy(update={"network": {"groups": 2}})
    assert training_start.architecture_for(free, start, tmp_path) == start.network.config
    odd: Any = config.training.model_copy(update={"patch_zyx": (4, 17, 17)})
    with pytest.raises(SettingsError, match="must be a multiple of 2"):
        training_start.architecture_for(free.model_copy(update={"training": odd}), start, tmp_path)
