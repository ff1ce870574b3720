"""Low-light twins: what a camera would have recorded of a clean stack with few photons. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from live_restore.inference.image.intensity import percentiles
from live_restore.simulation.camera import Camera
from live_restore_export.simulator.simulate import (
    SimulationConfig,
    expected_electrons,
    random_camera,
)
from live_restore_export.simulator.structures import log_uniform
from live_restore_export.training.patches import BRIGHTEST

BLACK_PERCENT, WHITE_PERCENT = 1.0, 99.9
"""Percentiles of a clean stack that are no light, and the peak."""


@dataclass(frozen=True)
class Light:
    """Photo-electrons (e-) at the 99.9th percentile of the signal, and background over that."""

    peak_e: float
    background_fraction: float


def draw_light(config: SimulationConfig, rng: np.random.Generator) -> Light:
    """Draw a light level from the configured ranges."""
    return Light(
        log_uniform(rng, config.peak_e),
        log_uniform(rng, config.background_fraction),
    )


def draw_camera(
    config: SimulationConfig, shape_zyx: tuple[int, ...], rng: np.random.Generator
) -> Camera:
    """Draw a camera for stacks of ``shape_zyx``."""
    return random_camera(config.model_copy(update={"shape_zyx": shape_zyx}), rng)


def signal_of(clean: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return a clean stack (any shape, any unit) as light: 0 where it is darkest, 1 at its peak.

    What noise the clean stack has becomes structure of the signal: clean means clean.
    """
    black, white = percentiles(clean, (BLACK_PERCENT, WHITE_PERCENT))
    # Lonely spots must not saturate the camera: 8 x 400 e- x 4 ADU/e- is a fifth of 16 bits.
    span = max(white - black, (float(clean.max()) - black) / BRIGHTEST)
    signal = np.asarray(clean, np.float32) - np.float32(black)
    signal *= np.float32(1 / span)
    return np.asarray(np.maximum(signal, 0, out=signal))


def expose(
    signal: NDArray[np.float32], light: Light, camera: Camera, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Return one exposure (ADU) of ``signal`` (Z, Y, X)."""
    return camera.expose(expected_electrons(signal, light.peak_e, light.background_fraction), rng)


def noiseless(signal: NDArray[np.float32], light: Light, camera: Camera) -> NDArray[np.float32]:
    """Return what an endless average of exposures of ``signal`` would give (ADU)."""
    return camera.noiseless_adu(expected_electrons(signal, light.peak_e, light.background_fraction))


def describe(camera: Camera) -> dict[str, Any]:
    """Return the numbers of a camera as JSON values; maps of its pixels are named, not listed."""
    return {
        name: value if isinstance(value, (int, float)) else "drawn from the seed"
        for name, value in vars(camera).items()
        if value is not None
    }
