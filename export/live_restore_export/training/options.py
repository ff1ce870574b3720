"""What a person may set about the data and the optimisation of a run. Nothing here needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

_Share = Annotated[float, Field(ge=0, le=1)]

SMALLEST_PATCH_YX = 11
"""Pixels; the window of SSIM (Wang et al., IEEE Trans. Image Process. 13, 600 (2004))."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SimulatedData(_Section):
    """Scenes of the simulator, photographed by its camera; settings in ``[simulation]``."""

    source: Literal["simulation"] = "simulation"


class _Files(_Section):
    channel: int | None = Field(None, ge=0, description="only this channel (from 0); unset: all")
    held_out_share: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="share of the stacks kept for validation, at least one; unused where folders "
        "for validation are named",
    )
    memory_gb: float = Field(4.0, gt=0, description="most that stacks held at once may take")


class PairedData(_Files):
    """Measured pairs: folders of noisy stacks and of their ground truth, matched by sorted name."""

    source: Literal["pairs"]
    raw: Path
    gt: Path
    validation_raw: Path | None = None
    validation_gt: Path | None = None
    truth_scale: Literal["fit", "percentiles"] = Field(
        "fit",
        description='"fit": the straight line that brings the truth closest to the raw stack; '
        '"percentiles": its own percentiles, as the paper does',
    )

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.validation_raw is None) != (self.validation_gt is None):
            raise ValueError("validation_raw and validation_gt belong together")
        return self


class CleanData(_Files):
    """Clean stacks, photographed at low light by the camera of ``[simulation]``, each time anew."""

    source: Literal["clean"]
    clean: Path
    validation_clean: Path | None = None


DataOptions = Annotated[SimulatedData | PairedData | CleanData, Field(discriminator="source")]


class TrainingOptions(_Section):
    """Optimisation settings; steps and voxels, never wall time, decide what is learnt."""

    steps: int = Field(12_000, gt=0, description="optimiser steps")
    max_minutes: float | None = Field(
        None,
        gt=0,
        description="shortens the schedule to what fits in it, stacks once drawn, over all starts "
        "together; time in which the process is stopped, or waits for a processor, does not count",
    )
    batch: int = Field(2, gt=0)
    patch_zyx: tuple[PositiveInt, PositiveInt, PositiveInt] = (16, 64, 64)
    foreground_share: _Share = Field(
        0.5, description="share of the patches that are placed on a foreground voxel of the truth"
    )
    shallow_share: _Share = Field(
        0.0, description="share of the steps whose patches keep only some planes, as thin stacks do"
    )
    scale_jitter: float = Field(
        0.1, ge=0, le=1, description="0.1: a pair's contrast is multiplied by 1/1.1 to 1.1"
    )
    offset_jitter: float = Field(
        0.02, ge=0, le=1, description="0.02: -0.02 to 0.02 network units are added to a pair"
    )
    optimiser: Literal["adam", "adamw"] = "adam"
    weight_decay: float = Field(0.0, ge=0)
    loss: Literal["mae", "charbonnier"] = "mae"
    charbonnier_noise_share: float = Field(
        0.0,
        ge=0,
        description="errors below this share of a patch's noise count by their square: the mean of "
        "what a voxel may be, rather than the median",
    )
    noise_balance: _Share = Field(
        0.0,
        description="0: patches count by their error, so that dark ones rule; 1: by their error "
        "over their noise, so that bright ones count as much",
    )
    brightness_share: float = Field(
        0.0,
        ge=0,
        description="weight of a term that keeps the mean of every 4 x 8 x 8 voxels: light must "
        "not be lost where there is little",
    )
    learning_rate: float = Field(1e-3, gt=0)
    warmup_steps: int = Field(200, gt=0)
    ema_decay: float = Field(0.998, ge=0, lt=1)
    gradient_clip: float = Field(1.0, gt=0, description="largest norm of all gradients together")
    scenes_kept: int = Field(320, gt=0, description="stacks held in memory")
    scene_refresh_steps: int = Field(12, gt=0, description="a new stack every so many steps")
    processes: int | None = Field(
        None, ge=0, description="that draw stacks beside the training; unset: one per core"
    )
    lanes: int = Field(
        0,
        ge=0,
        description="processes that prepare batches from stacks of their own, for a GPU; they "
        "decide which patches a step sees. 0: this process prepares them",
    )
    percentiles: tuple[float, float] = (2.0, 99.9)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    float32_share: _Share = Field(
        0.0,
        description="share of the steps, the last ones, that compute in float32 whatever "
        "precision says: bfloat16 has three digits, too few for bright stacks",
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    checkpoint_every: int = Field(250, gt=0, description="steps between validations")
    validation_patches: int = Field(
        12, gt=0, le=1000, description="patches that a run is judged by"
    )
    patience: int | None = Field(
        None, gt=0, description="end after so many validations without a better PSNR"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(f"percentiles must be 0 <= low < high <= 100, not {low} and {high}")
        z, y, x = self.patch_zyx
        if y != x or y < SMALLEST_PATCH_YX:
            raise ValueError(
                f"patch_zyx {(z, y, x)} must be square in Y and X (it is turned) and at least "
                f"{SMALLEST_PATCH_YX} pixels wide"
            )
        return self
