"""Train a 3D RCAN on simulated pairs; resumable, seeded, everything it needs in one TOML file."""

from __future__ import annotations

import itertools
import json
import math
import time
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from export.network import RCAN, RCANConfig
from export.simulate import (
    Scene,
    SimulationConfig,
    expected_electrons,
    random_camera,
    simulate_scene,
)
from export.structures import log_uniform
from live_restore.errors import CheckpointError
from live_restore.inference.intensity import scale_from_percentiles
from live_restore.metrics import psnr
from live_restore.outputs.publish import publishing

# Seeds of training, validation and test scenes never overlap: each set has its own range.
_FIRST_VALIDATION_SEED = 1_000_000_000


class TrainingOptions(BaseModel):
    """Optimisation settings; steps and voxels, never wall time, decide what is learnt."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(12_000, gt=0, description="optimiser steps")
    max_minutes: float | None = Field(None, description="shortens the schedule to what fits in it")
    batch: int = Field(2, gt=0)
    patch_zyx: tuple[PositiveInt, PositiveInt, PositiveInt] = (16, 64, 64)
    learning_rate: float = Field(1e-3, gt=0)
    warmup_steps: int = Field(200, gt=0)
    ema_decay: float = 0.998
    gradient_clip: float = 1.0
    scenes_kept: int = Field(320, gt=0, description="simulated scenes held in memory")
    scene_refresh_steps: int = Field(12, gt=0, description="a new scene every so many steps")
    percentiles: tuple[float, float] = (2.0, 99.9)
    bfloat16: bool = False
    checkpoint_every: int = Field(250, gt=0)
    validation_patches: int = Field(
        12, gt=0, le=1000, description="patches that a run is judged by"
    )


class TrainConfig(BaseModel):
    """All of a training run: seed, architecture, optimisation, simulation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    network: dict[str, Any] = Field(default_factory=dict)
    training: TrainingOptions = TrainingOptions()
    simulation: SimulationConfig = SimulationConfig()

    @classmethod
    def load(cls, path: Path) -> TrainConfig:
        """Read and check a TOML file; raises ``pydantic.ValidationError`` or ``ValueError``."""
        config = cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        architecture = config.architecture()
        if (architecture.in_channels, architecture.out_channels) != (1, 1):
            raise ValueError("training is for one image channel in and out")
        patch, fold = config.training.patch_zyx, architecture.lateral_shuffle
        if any(p > s for p, s in zip(patch, config.simulation.shape_zyx, strict=True)):
            raise ValueError(
                f"training.patch_zyx {patch} is larger than "
                f"simulation.shape_zyx {config.simulation.shape_zyx}"
            )
        if patch[1] != patch[2] or patch[1] % fold:
            raise ValueError(
                f"training.patch_zyx {patch} must be square in Y and X (it is turned) and a "
                f"multiple of {fold}"
            )
        return config

    def architecture(self) -> RCANConfig:
        """Return the network configuration, checked."""
        return RCANConfig(**self.network)


@dataclass(frozen=True)
class Pair:
    """A noisy patch and its truth, both (Z, Y, X) float32 in network units."""

    noisy: NDArray[np.float32]
    truth: NDArray[np.float32]


def draw_pair(scene: Scene, config: TrainConfig, rng: np.random.Generator) -> Pair:
    """Photograph ``scene`` with a random camera and light level, crop a patch, turn and flip it.

    Percentiles come from the whole noisy stack, as they do in use; the truth is mapped with the
    noisy stack's scale, so that the network learns to return camera units.
    """
    camera = random_camera(config.simulation, rng)
    expected = expected_electrons(
        scene.signal,
        log_uniform(rng, config.simulation.peak_e),
        log_uniform(rng, config.simulation.background_fraction),
    )
    raw = camera.expose(expected, rng)
    scale = scale_from_percentiles(raw, *config.training.percentiles)
    start = [
        int(rng.integers(0, size - patch + 1))
        for size, patch in zip(raw.shape, config.training.patch_zyx, strict=True)
    ]
    window = tuple(slice(s, s + p) for s, p in zip(start, config.training.patch_zyx, strict=True))
    noisy = scale.normalise(raw[window])
    truth = scale.normalise(camera.noiseless_adu(expected[window]))
    for axis in range(3):
        if rng.random() < 0.5:
            noisy, truth = np.flip(noisy, axis), np.flip(truth, axis)
    turns = int(rng.integers(0, 4))
    noisy, truth = np.rot90(noisy, turns, (1, 2)), np.rot90(truth, turns, (1, 2))
    return Pair(np.ascontiguousarray(noisy), np.ascontiguousarray(truth))


def batches(config: TrainConfig, first_step: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield (noisy, truth) batches (N, 1, Z, Y, X); a step's batch depends on seed and step only
    (and on the scenes in memory, which are re-drawn when a run resumes)."""
    options = config.training
    scenes = [
        simulate_scene(config.simulation, config.seed + first_step * 1_000 + i)
        for i in range(options.scenes_kept)
    ]
    for step in itertools.count(first_step):
        rng = np.random.default_rng((config.seed, step))
        if step % options.scene_refresh_steps == 0:
            scenes[(step // options.scene_refresh_steps) % len(scenes)] = simulate_scene(
                config.simulation, config.seed + 500_000_000 + step
            )
        pairs = [
            draw_pair(scenes[int(rng.integers(len(scenes)))], config, rng)
            for _ in range(options.batch)
        ]
        yield (
            torch.from_numpy(np.stack([p.noisy for p in pairs])[:, None]),
            torch.from_numpy(np.stack([p.truth for p in pairs])[:, None]),
        )


def learning_rate(step: int, total: int, options: TrainingOptions) -> float:
    """Return the rate at ``step``: linear warm-up, then a half cosine down to 1 %."""
    warm = min(1.0, (step + 1) / options.warmup_steps)
    decay = 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))
    return options.learning_rate * warm * (0.01 + 0.99 * decay)


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Write a torch file such that ``path`` is the old or the new file, never a part of one."""
    with publishing(path) as temporary:
        torch.save(state, temporary)


def validation_pairs(config: TrainConfig) -> list[Pair]:
    """Return the patches by which a run is followed: always the same, never trained on."""
    return [
        draw_pair(
            simulate_scene(config.simulation, _FIRST_VALIDATION_SEED + index),
            config,
            np.random.default_rng((_FIRST_VALIDATION_SEED + index, index)),
        )
        for index in range(config.training.validation_patches)
    ]


def validation_psnr(model: torch.nn.Module, pairs: list[Pair]) -> dict[str, float]:
    """Return the mean PSNR (dB, against the truth's range) of raw and restored patches."""
    raw_db, restored_db = [], []
    for pair in pairs:
        with torch.inference_mode():
            restored = model(torch.from_numpy(pair.noisy)[None, None])[0, 0].numpy()
        raw_db.append(psnr(pair.noisy, pair.truth))
        restored_db.append(psnr(restored, pair.truth))
    return {"raw_db": float(np.mean(raw_db)), "restored_db": float(np.mean(restored_db))}


def train(config: TrainConfig, folder: Path, *, resume: bool = False) -> Path:
    """Train and return the path of the final checkpoint (``final.pt`` in ``folder``).

    Parameters
    ----------
    config
        The run.
    folder
        Where checkpoints and ``log.jsonl`` go; created.
    resume
        Continue from ``last.pt`` if it is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options, last = config.training, folder / "last.pt"
    torch.manual_seed(config.seed)
    model = RCAN(config.architecture())
    model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    average = RCAN(config.architecture())
    average.load_state_dict(model.state_dict())
    optimiser = torch.optim.Adam(model.parameters(), lr=options.learning_rate)
    step, seconds, total = 0, 0.0, options.steps
    if resume and last.exists():
        try:
            state = torch.load(last, weights_only=True)
            model.load_state_dict(state["model"])
            average.load_state_dict(state["average"])
            optimiser.load_state_dict(state["optimiser"])
            step, seconds, total = state["step"], state["seconds"], state["total"]
        except Exception as error:  # a damaged pickle makes its reader raise anything
            raise CheckpointError(
                "is damaged or of another network, so that the run cannot go on from it",
                last,
                "start again in another folder",
            ) from error
    log = (folder / "log.jsonl").open("a", encoding="utf-8")
    validation = validation_pairs(config)
    started, recent = time.monotonic() - seconds, []
    for noisy, truth in batches(config, step):
        if step >= total:
            break
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, total, options)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
            restored = model(noisy.to(memory_format=torch.channels_last_3d))
        loss = torch.nn.functional.l1_loss(restored.float(), truth)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), options.gradient_clip)
        optimiser.step()
        step += 1
        decay = min(options.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, value in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
        recent.append(float(loss.detach()))
        seconds = time.monotonic() - started
        if options.max_minutes is not None and step % 50 == 0:
            # The schedule bends smoothly to the time there is: steps done plus what still fits.
            rate = step / seconds
            total = min(
                options.steps, int(step + rate * max(0, options.max_minutes * 60 - seconds))
            )
        if step % options.checkpoint_every == 0 or step >= total:
            record = {
                "step": step,
                "total": total,
                "minutes": round(seconds / 60, 2),
                "loss": float(np.mean(recent)),
                "learning_rate": learning_rate(step, total, options),
                **validation_psnr(average, validation),
            }
            recent.clear()
            log.write(json.dumps(record) + "\n")
            log.flush()
            save_atomically(
                {
                    "model": model.state_dict(),
                    "average": average.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "step": step,
                    "seconds": seconds,
                    "total": total,
                },
                last,
            )
    log.close()
    final = folder / "final.pt"
    save_atomically(
        {
            "format": "live-restore-rcan",
            "architecture": asdict(config.architecture()),
            "state_dict": average.state_dict(),
            "training": {
                **config.model_dump(mode="json"),
                "steps_done": step,
                "minutes": round(seconds / 60, 1),
                **validation_psnr(average, validation),
            },
        },
        final,
    )
    return final
