"""Configurations and stacks for tests of training: small, and quick to learn from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from deferred import deferred
from numpy.typing import NDArray

if TYPE_CHECKING:
    from live_restore_export.training.config import TrainConfig

training_config = deferred("live_restore_export.training.config")

SHAPE = (6, 24, 24)

TINY: dict[str, dict[str, Any]] = {
    "network": {"groups": 1, "blocks": 1, "channels": 4, "reduction": 2},
    "training": {
        "steps": 8,
        "batch": 1,
        "patch_zyx": [4, 16, 16],
        "scenes_kept": 2,
        "scene_refresh_steps": 1000,
        "checkpoint_every": 4,
        "validation_patches": 1,
        "warmup_steps": 2,
        "learning_rate": 0.01,
        "processes": 0,
    },
    "simulation": {"shape_zyx": list(SHAPE), "structures_per_stack": [1, 1]},
}


def write_config(folder: Path, *, seed: int = 3, **sections: dict[str, Any]) -> Path:
    """Write a tiny configuration; ``sections`` add to it and replace what it says."""
    merged = {name: {**TINY.get(name, {}), **sections.get(name, {})} for name in TINY | sections}
    lines = [f"seed = {seed}"]
    for name, values in merged.items():
        # JSON's numbers, strings, booleans and lists are TOML's too.
        lines += [f"[{name}]", *(f"{key} = {json.dumps(v)}" for key, v in values.items())]
    path = folder / "tiny.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def tiny(folder: Path, **sections: dict[str, Any]) -> TrainConfig:
    """Return a tiny configuration."""
    return training_config.TrainConfig.load(write_config(folder, **sections))


def clean_stack(seed: int, shape: tuple[int, ...] = SHAPE) -> NDArray[np.float32]:
    """Return bright blobs on a dark ground, (Z, Y, X), 0 to about 1."""
    rng = np.random.default_rng(seed)
    axes = np.indices(shape)
    stack = np.zeros(shape)
    for _ in range(6):
        centre = rng.random(3) * shape
        distance = sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True))
        stack += rng.uniform(0.3, 1.0) * np.exp(-distance / 12)
    return stack.astype(np.float32)


def write_stack(path: Path, stack: NDArray[np.generic]) -> Path:
    """Write a stack as a person's program does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, stack, photometric="minisblack")
    return path


def write_pairs(folder: Path, count: int = 3, shape: tuple[int, ...] = SHAPE) -> None:
    """Write ``raw/`` (uint16 ADU) and ``gt/`` (float32, another scale) of the same fields."""
    rng = np.random.default_rng(0)
    for index in range(count):
        clean = clean_stack(index, shape)
        raw = 100 + rng.poisson(30 * clean) * 2
        write_stack(folder / "raw" / f"cell_{index}.tif", raw.astype(np.uint16))
        write_stack(folder / "gt" / f"cell_{index}_long.tif", 7 * clean + 1)
