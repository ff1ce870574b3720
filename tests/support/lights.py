"""Light, and the camera that photographs it, where the numbers of trust are tested."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from scipy import ndimage

from live_restore.settings.camera import CameraSettings
from live_restore.simulation.camera import Camera
from live_restore.simulation.scene import LivingCell

CAMERA = Camera(offset_adu=100, gain_adu_per_e=2.0, read_noise_e=1.6)
TOLD = CameraSettings(gain_adu_per_e=2.0, offset_adu=100, read_noise_e=1.6)


@functools.cache
def light(peak_e: float) -> np.ndarray[Any, Any]:
    """Return the light of a cell (Z, Y, X), in photo-electrons."""
    return LivingCell(shape_zyx=(12, 96, 96), peak_e=peak_e, background_e=peak_e / 10).expected_e(0)


def smooth_light(peak_e: float, shape: tuple[int, int, int] = (12, 96, 96)) -> np.ndarray[Any, Any]:
    """Return light without detail as fine as a voxel."""
    field = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(shape), 5)
    return peak_e * (0.1 + 0.9 * (field - field.min()) / np.ptp(field))
