"""The sweeps: one property of the stacks is varied at a time, all else stays in the middle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from live_restore.inference.model.card import ModelCard
from live_restore_export.simulator.simulate import SimulationConfig, simulate_scene

Signal = NDArray[np.float32]

# Distances between the seeds of scenes that are overlaid; more than there are test seeds.
_OVERLAY_STRIDE = 1000


@dataclass(frozen=True)
class Condition:
    """How a stack of a sweep is made.

    Parameters
    ----------
    peak_e
        Photo-electrons at the 99.9th percentile of the signal.
    background_fraction
        Flat background over that.
    blur
        Factor on the width of the point spread function.
    voxel
        Factor on the middle (geometric) of the voxel sizes that the model was trained on.
    density
        Scenes that are overlaid.
    neighbour
        Peak of a bright ball beside the scene, over the scene's own; 0: there is none.
    """

    peak_e: float = 30.0
    background_fraction: float = 0.1
    blur: float = 1.0
    voxel: float = 1.0
    density: int = 1
    neighbour: float = 0.0


@dataclass(frozen=True)
class Sweep:
    """One property and its values; ``light``: it decides the signal-to-noise ratio of the stack."""

    name: str
    quantity: str
    unit: str
    values: tuple[float, ...]
    quick_values: tuple[float, ...]
    set: Callable[[Condition, float], Condition]
    light: bool = False

    def conditions(self, *, quick: bool) -> dict[float, Condition]:
        """Return the condition of every value."""
        values = self.quick_values if quick else self.values
        return {value: self.set(Condition(), value) for value in values}


SWEEPS = (
    Sweep(
        "photons", "photo-electrons at the peak", "e-",
        (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000), (1, 10, 100, 1000),
        lambda c, v: replace(c, peak_e=v), light=True,
    ),
    Sweep(
        "background", "background", "times the peak",
        (0.01, 0.1, 0.3, 1, 3, 10), (0.1, 3),
        lambda c, v: replace(c, background_fraction=v), light=True,
    ),
    Sweep(
        "blur", "blur", "times the width of the PSF", (1, 1.5, 2, 3, 4), (1, 3),
        lambda c, v: replace(c, blur=v),
    ),
    Sweep(
        "voxel", "voxel size", "times the middle of the training", (0.25, 0.5, 1, 2, 4), (0.5, 2),
        lambda c, v: replace(c, voxel=v),
    ),
    Sweep(
        "density", "density", "overlaid scenes", (1, 2, 4, 8), (1, 4),
        lambda c, v: replace(c, density=int(v)),
    ),
    Sweep(
        "neighbour", "bright neighbour", "times the peak", (1, 3, 10, 30, 100), (3, 100),
        lambda c, v: replace(c, neighbour=v),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """A noise-free stack of a sweep: (Z, Y, X) without unit, 1 at its 99.9th percentile.

    ``truth`` is what should come back, on the same scale; another than ``signal`` for models that
    sharpen. ``measured`` is the part of it in which brightness is compared: all of it, or what lies
    apart from a bright neighbour.
    """

    signal: Signal
    truth: Signal
    voxel_zyx_um: tuple[float, float, float]
    measured: tuple[slice, slice, slice] = (slice(None), slice(None), slice(None))


class Scenes:
    """Draws the scenes of the sweeps with voxel sizes like those that a model was trained on.

    Parameters
    ----------
    shape_zyx
        Of every stack.
    card
        Its trained voxel sizes; where it has none, those of the simulator.
    """

    def __init__(self, shape_zyx: tuple[int, int, int], card: ModelCard) -> None:
        self._config = SimulationConfig(shape_zyx=shape_zyx, truth_psf_width=card.truth_psf_width)
        trained = card.trained_voxel_um
        self._z_um = _middle(trained.get("z", self._config.voxel_z_um))
        self._xy_um = _middle(trained.get("xy", self._config.voxel_xy_um))
        # One scene serves all light levels, and is by far the dearest part of them.
        self._draw = lru_cache(maxsize=32)(self._drawn)

    def sample(self, condition: Condition, seed: int) -> Sample:
        """Return the stack of a condition before light and camera; the same for the same seed."""
        config = self._at_voxel(condition.voxel)
        seeds = [seed + _OVERLAY_STRIDE * n for n in range(condition.density)]
        drawn = [self._draw(condition.voxel, s) for s in seeds]
        signal, truth = np.sum(drawn, axis=0)
        if condition.blur > 1:
            further = np.array(_further_blur(config, condition.blur))
            signal = ndimage.gaussian_filter(signal, further)
            truth = ndimage.gaussian_filter(truth, further * config.truth_psf_width)
        peak = np.float32(max(float(np.percentile(signal, 99.9)), 1e-9))
        xy_um = config.voxel_xy_um[0]
        voxel_zyx_um = (config.voxel_z_um[0], xy_um, xy_um)
        signal, truth = signal / peak, truth / peak
        if not condition.neighbour:
            return Sample(signal, truth, voxel_zyx_um)
        ball = np.float32(condition.neighbour) * _ball(signal.shape)
        apart = (slice(None), slice(None), slice(signal.shape[2] // 2, None))
        return Sample(signal + ball, truth + ball, voxel_zyx_um, apart)

    def _at_voxel(self, factor: float) -> SimulationConfig:
        z, xy = self._z_um * factor, self._xy_um * factor
        return self._config.model_copy(update={"voxel_z_um": (z, z), "voxel_xy_um": (xy, xy)})

    def _drawn(self, factor: float, seed: int) -> NDArray[np.float32]:
        """Return signal and truth as one array (2, Z, Y, X)."""
        scene = simulate_scene(self._at_voxel(factor), seed)
        return np.stack([scene.signal, scene.truth])


def _ball(shape_zyx: tuple[int, ...]) -> Signal:
    """Return a soft ball (peak 1) in the left half of a stack; its right half is left alone."""
    radius = min(shape_zyx[1], shape_zyx[2]) / 8
    centre = (shape_zyx[0] / 2, shape_zyx[1] / 2, shape_zyx[2] / 5)
    z, y, x = np.ogrid[tuple(slice(0, size) for size in shape_zyx)]
    # Planes are coarser than pixels, so that a ball is flat in voxels.
    distance = np.sqrt((4 * (z - centre[0])) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2)
    return np.asarray(np.clip((radius - distance) / 3 + 0.5, 0, 1), np.float32)


def _middle(limits: tuple[float, float]) -> float:
    return float(np.sqrt(limits[0] * limits[1]))


def _further_blur(config: SimulationConfig, factor: float) -> tuple[float, float, float]:
    """Return the sigma (voxels) that makes a typical PSF ``factor`` times as wide.

    Widths of Gaussians add in squares, so sqrt(factor^2 - 1) of the first is missing. The first is
    the Gaussian nearest to the PSF in the middle of the simulator's ranges (Zhang, Zerubia and
    Olivo-Marin, Applied Optics 46, 1819 (2007)): 0.21 lambda / NA laterally, and 3 times that
    axially, as for an aperture of about 1.
    """
    psf_um = 0.21 * float(np.mean(config.emission_um)) / float(np.mean(config.numerical_aperture))
    xy_um = psf_um * np.sqrt(factor**2 - 1)
    z_um = 3 * xy_um
    lateral = xy_um / config.voxel_xy_um[0]
    return (z_um / config.voxel_z_um[0], lateral, lateral)
