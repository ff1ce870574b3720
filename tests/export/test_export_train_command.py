"""``live-restore-export train`` ends with a verified model and its card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

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
scene_refresh_steps = 1000
percentiles = [1.0, 99.5]
checkpoint_every = 2
validation_patches = 1
[simulation]
shape_zyx = [8, 24, 24]
structures_per_stack = [1, 1]
"""


def test_train(tmp_path: Path, command: Callable[..., Any]) -> None:
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
        ("[training]\npatch_zyx = [99, 16, 16]\n", "is larger than simulation.shape_zyx"),
        ("[training]\npatch_zyx = [4, 16, 24]\n", "must be square"),
        ("[training]\npatch_zyx = [4, 0, 0]\n", "training.patch_zyx.1"),
        ("[training]\nwarmup_steps = 0\n", "warmup_steps"),
        ("[network]\nin_channels = 2\n", "one image channel"),
    ]:
        config = tmp_path / "wrong.toml"
        config.write_text(text)
        done = command("train", config, "-o", tmp_path / "run")
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
        assert message in done.err
    assert not (tmp_path / "run").exists()


def test_a_run_that_cannot_go_on_says_so(tmp_path: Path, command: Callable[..., Any]) -> None:
    config = tmp_path / "quick.toml"
    config.write_text(CONFIG)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.pt").write_bytes(b"half a file")
    done = command("train", config, "-o", tmp_path / "run", "--resume")
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert "cannot go on from it" in done.err
