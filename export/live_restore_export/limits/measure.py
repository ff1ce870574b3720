"""Restore the stacks of every sweep as the daemon would, and compare them with their truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from live_restore.errors import ModelError
from live_restore.inference.chain import ChainRestorer
from live_restore.inference.load import load_model
from live_restore.inference.restorer import Restorer
from live_restore.inference.stack_restorer import StackRestorer
from live_restore.settings.model import InferenceSettings
from live_restore.simulation.quality import best_gaussian, psnr
from live_restore.stack import VoxelSize
from live_restore.trust.snr import estimate_snr
from live_restore_export.limits.sweeps import SWEEPS, Condition, Scenes, Sweep
from live_restore_export.quality.brightness import Brightness, brightness
from live_restore_export.quality.gain import TEST_CAMERA, TEST_SEEDS, exposed
from live_restore_export.quality.image_quality import lateral_resolution_um, ssim

NO_LIGHT = Brightness(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Extent:
    """How much is measured: the shape of the stacks, and how many per point."""

    shape_zyx: tuple[int, int, int]
    stacks: int
    quick: bool = False


FULL = Extent((16, 128, 128), len(TEST_SEEDS))
QUICK = Extent((8, 64, 64), 2, quick=True)


@dataclass(frozen=True)
class Quality:
    """How near one image is to its truth: PSNR (dB), SSIM, lateral resolution (um)."""

    psnr_db: float
    ssim: float
    resolution_um: float


@dataclass(frozen=True)
class Measured:
    """One stack at one point of a sweep.

    ``snr_estimated`` is what the daemon would estimate; ``snr_true`` its peak signal over the
    noise there. ``light`` is what became of the light of its bright regions; NaN where it has none.
    """

    sweep: str
    value: float
    seed: int
    snr_estimated: float
    snr_true: float
    raw: Quality
    gaussian: Quality
    restored: Quality
    light: Brightness = NO_LIGHT

    def row(self) -> dict[str, float | int | str]:
        """Return it as one flat row of a table."""
        row: dict[str, float | int | str] = {}
        for key, value in asdict(self).items():
            if isinstance(value, dict):
                row |= {f"{key}_{name}": number for name, number in value.items()}
            else:
                row[key] = value
        return row


def measure_limits(
    model_paths: Sequence[Path],
    extent: Extent = FULL,
    *,
    sweeps: Sequence[Sweep] = SWEEPS,
    progress: Callable[[Iterable[Step], int], Iterable[Step]] = lambda steps, _: steps,
) -> list[Measured]:
    """Measure a model on unseen simulated stacks (seeds of ``quality.gain.TEST_SEEDS``).

    Parameters
    ----------
    model_paths
        An ONNX model with its card; or several, one after the other.
    extent, sweeps
        What to measure.
    progress
        Wraps the steps, given their number, to show how far it is.

    Raises
    ------
    ModelError
        Not a model that the daemon can run, or one of several channels.
    """
    models = [load_model(path, "cpu") for path in model_paths]
    for model in models:
        if model.card.input_channels != 1:
            raise ModelError(
                f"takes {model.card.input_channels} channels together, and simulated stacks have "
                "one",
                model.path,
                "measure it on stacks of your own",
            )
    # Before rounding: whole grey values are a matter of the camera, not of the model.
    restorer: StackRestorer = (
        Restorer(models[0], InferenceSettings(), "camera-float")
        if len(models) == 1
        else ChainRestorer.of(models, InferenceSettings(), "camera-float")
    )
    scenes = Scenes(extent.shape_zyx, restorer.model.card)
    steps = [
        (sweep.name, value, condition, seed)
        for sweep in sweeps
        for value, condition in sweep.conditions(quick=extent.quick).items()
        for seed in TEST_SEEDS[: extent.stacks]
    ]
    return [_measure(restorer, scenes, *step) for step in progress(steps, len(steps))]


Step = tuple[str, float, Condition, int]


def _measure(
    restorer: StackRestorer,
    scenes: Scenes,
    sweep: str,
    value: float,
    condition: Condition,
    seed: int,
) -> Measured:
    sample = scenes.sample(condition, seed)
    raw, truth = exposed(
        sample.signal, sample.truth, condition.peak_e, condition.background_fraction, seed
    )
    estimated = estimate_snr(raw)
    pixel_um = sample.voxel_zyx_um[2]

    def quality(image: NDArray[np.generic]) -> Quality:
        resolution_um = lateral_resolution_um(image, truth, pixel_um)
        return Quality(psnr(image, truth), ssim(image, truth), resolution_um)

    if isinstance(restorer, ChainRestorer):
        restorer = restorer.with_voxel(VoxelSize(*sample.voxel_zyx_um))
    restored = restorer.restore(raw).volume
    background_e = condition.peak_e * condition.background_fraction
    floor = TEST_CAMERA.offset_adu + TEST_CAMERA.gain_adu_per_e * background_e
    part = sample.measured
    electrons = condition.peak_e + background_e
    return Measured(
        sweep=sweep,
        value=float(value),
        seed=seed,
        snr_estimated=0.0 if estimated is None else estimated.ratio,
        snr_true=float(condition.peak_e / np.sqrt(electrons + TEST_CAMERA.read_noise_e**2)),
        raw=quality(raw),
        gaussian=quality(best_gaussian(raw, truth)[0]),
        restored=quality(restored),
        light=brightness(restored[part], truth[part], floor) or NO_LIGHT,
    )
