"""``live-restore-export train`` ends with a verified model and its card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from export.onnx import read_card

CONFIG = """
seed = 5
[network]
groups = 1
blocks = 1
channels = 4
reduction = 2
lateral_shuffle = 2
[training]
steps = 2
batch = 1
patch_zyx = [4, 16, 16]
scenes_kept = 1
percentiles = [1.0, 99.5]
checkpoint_every = 2
[simulation]
shape_zyx = [8, 24, 24]
"""


def test_train(
    tmp_path: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # One validation scene, not twelve: how well it trains is not the question here.
    monkeypatch.setattr("export.train.VALIDATION_SEEDS", range(1_000_000_000, 1_000_000_001))
    config = tmp_path / "quick.toml"
    config.write_text(CONFIG)
    done = command("train", config, "-o", tmp_path / "run")
    assert done.code == 0, done.err
    card = read_card(onnx.load(tmp_path / "run" / "quick.onnx"))
    assert card.name == "quick"
    assert card.shape_multiple_zyx == (1, 2, 2)
    assert card.trained_patch_zyx == (4, 16, 16)
    assert card.percentiles == (1.0, 99.5)
    assert card.trained_voxel_um == {"z": (0.15, 0.5), "xy": (0.06, 0.2)}
    assert card.training["seed"] == 5
    assert card.training["steps_done"] == 2
    again = command("train", config, "-o", tmp_path / "run", "--resume")
    assert again.code == 0, again.err


def test_a_wrong_configuration_is_one_line(tmp_path: Path, command: Callable[..., Any]) -> None:
    for text, message in [
        ("[training]\nstep = 3\n", "training.step"),
        ("[network]\nlayers = 3\n", "layers"),
        ("seed = \n", "cannot be used"),
    ]:
        config = tmp_path / "wrong.toml"
        config.write_text(text)
        done = command("train", config, "-o", tmp_path / "run")
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
        assert message in done.err
    assert not (tmp_path / "run").exists()
