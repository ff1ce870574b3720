"""Training, in seconds: it learns, it resumes, its configurations are checked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from export.simulate import simulate_scene  # noqa: E402
from export.train import TrainConfig, draw_pair, train  # noqa: E402

CONFIGS = [
    path
    for path in sorted((Path(__file__).parents[2] / "export" / "configs").glob("*.toml"))
    if not path.name.endswith(".card.toml")
]
TINY = """
seed = 3
[network]
groups = 1
blocks = 1
channels = 4
reduction = 2
[training]
steps = {steps}
batch = 1
patch_zyx = [4, 16, 16]
scenes_kept = 1
scene_refresh_steps = 1000
checkpoint_every = {every}
validation_patches = 1
warmup_steps = 2
learning_rate = 0.01
[simulation]
shape_zyx = [6, 24, 24]
structures_per_stack = [1, 1]
"""


def tiny(folder: Path, steps: int, every: int = 4) -> TrainConfig:
    path = folder / "tiny.toml"
    path.write_text(TINY.format(steps=steps, every=every))
    return TrainConfig.load(path)


def log_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_it_learns(tmp_path: Path) -> None:
    final = train(tiny(tmp_path, 80, every=10), tmp_path / "run")
    losses = [line["loss"] for line in log_of(tmp_path / "run")]
    assert np.mean(losses[-3:]) < 0.7 * losses[0]
    state = torch.load(final, weights_only=True)
    assert state["format"] == "live-restore-rcan"
    assert state["training"]["steps_done"] == 80


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    config = tiny(tmp_path, 8)
    train(config, tmp_path / "run")
    (tmp_path / "run" / "final.pt").unlink()
    last = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    last["total"] = 12
    torch.save(last, tmp_path / "run" / "last.pt")
    train(config, tmp_path / "run", resume=True)
    assert [line["step"] for line in log_of(tmp_path / "run")] == [4, 8, 12]


def test_pairs_are_in_the_noisy_stacks_network_units(tmp_path: Path) -> None:
    config = tiny(tmp_path, 1)
    scenes = [simulate_scene(config.simulation, seed) for seed in range(3)]
    pairs = [draw_pair(scenes[seed % 3], config, np.random.default_rng(seed)) for seed in range(30)]
    for pair in pairs:
        assert pair.noisy.shape == pair.truth.shape == (4, 16, 16)
    # Noise has no mean: over many pairs, noisy and truth agree, or restored stacks would be biased.
    differences = [float((p.noisy - p.truth).mean()) for p in pairs]
    assert abs(np.mean(differences)) < 0.02


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_the_committed_configurations_are_valid(path: Path) -> None:
    TrainConfig.load(path)


def test_a_misspelt_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("[training]\nstep = 3\n")
    with pytest.raises(ValueError, match="step"):
        TrainConfig.load(path)
