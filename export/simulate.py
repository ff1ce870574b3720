"""Simulated fluorescence stacks: structures, optics and camera, each in physical units.

A scene is a cloud of emitters drawn on a finer idea of space than the voxels, summed into voxels
and blurred by a Gaussian model of the point spread function (Zhang, Zerubia and Olivo-Marin,
Applied Optics 46, 1819 (2007) give its accuracy). Every stack is reproducible from its seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

from live_restore.simulation.camera import Camera
from live_restore.simulation.emitters import Cloud, rasterise, unit_vectors, worm_like_chain

Range = tuple[float, float]


class SimulationConfig(BaseModel):
    """Ranges from which each simulated stack is drawn; pairs are (lowest, highest)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shape_zyx: tuple[int, int, int] = (24, 128, 128)
    voxel_xy_um: Range = (0.06, 0.2)
    voxel_z_um: Range = (0.15, 0.5)
    psf_sigma_xy_um: Range = Field((0.08, 0.2), description="lateral standard deviation of the PSF")
    psf_axial_ratio: Range = Field((2.0, 3.5), description="axial over lateral standard deviation")
    structures_per_stack: tuple[int, int] = (1, 3)
    peak_e: Range = Field((3.0, 400.0), description="photo-electrons at the 99.9th percentile")
    background_fraction: Range = Field((0.002, 0.3), description="flat background over peak")
    haze_fraction: Range = Field((0.0, 0.4), description="out-of-focus haze over signal")
    read_noise_e: Range = (0.7, 3.0)
    gain_adu_per_e: Range = (0.5, 4.0)
    offset_adu: Range = (90.0, 110.0)


@dataclass(frozen=True)
class Scene:
    """A noise-free stack: ``signal`` (Z, Y, X) is 1 at its 99.9th percentile and at most 8."""

    signal: NDArray[np.float32]
    voxel_zyx_um: tuple[float, float, float]
    structures: tuple[str, ...]


def _uniform(rng: np.random.Generator, limits: Range) -> float:
    return float(rng.uniform(*limits))


def _log_uniform(rng: np.random.Generator, limits: Range) -> float:
    return float(np.exp(rng.uniform(np.log(limits[0]), np.log(limits[1]))))


def _chains(
    rng: np.random.Generator, size_um: NDArray[np.float64], count: int, bend: Range, length: Range
) -> list[NDArray[np.float64]]:
    return [
        worm_like_chain(
            rng,
            rng.uniform(0, 1, 3) * size_um,
            _uniform(rng, length) * float(size_um[1:].max()),
            _log_uniform(rng, bend),
        )
        for _ in range(count)
    ]


def filaments(rng: np.random.Generator, size_um: NDArray[np.float64]) -> Cloud:
    """Microtubule-like or actin-like curves, thinner than the PSF, sparse to dense."""
    curves = _chains(rng, size_um, int(_log_uniform(rng, (4, 90))), (0.05, 1.0), (0.4, 2.0))
    weights = [np.full(len(c), _log_uniform(rng, (0.4, 1.6))) for c in curves]
    return np.concatenate(curves).astype(np.float32), np.concatenate(weights).astype(np.float32)


def tubes(rng: np.random.Generator, size_um: NDArray[np.float64]) -> Cloud:
    """Mitochondria-like tubes: filled or with a bright wall, 0.1 to 0.5 um in radius."""
    points, weights = [], []
    for curve in _chains(rng, size_um, int(_log_uniform(rng, (2, 40))), (0.3, 2.0), (0.05, 0.6)):
        radius_um, hollow = _uniform(rng, (0.1, 0.5)), rng.random() < 0.5
        centres = np.repeat(curve, 12, axis=0)
        radii = radius_um * (1.0 if hollow else rng.random((len(centres), 1)) ** (1 / 3))
        points.append(centres + unit_vectors(rng, len(centres)) * radii)
        weights.append(np.full(len(centres), _log_uniform(rng, (0.4, 1.6)) / 12))
    return np.concatenate(points).astype(np.float32), np.concatenate(weights).astype(np.float32)


def vesicles(rng: np.random.Generator, size_um: NDArray[np.float64]) -> Cloud:
    """Spots, pores and small round vesicles (shells) with brightness over a decade."""
    count = int(_log_uniform(rng, (20, 900)))
    largest_um = _log_uniform(rng, (0.03, 0.6))
    points, weights = [], []
    for _ in range(count):
        samples = 1 if largest_um < 0.06 else 80
        shell = unit_vectors(rng, samples) * rng.uniform(0, largest_um)
        points.append(rng.uniform(0, 1, 3) * size_um + shell)
        weights.append(np.full(samples, _log_uniform(rng, (0.3, 3.0)) / samples))
    return np.concatenate(points).astype(np.float32), np.concatenate(weights).astype(np.float32)


def membranes(rng: np.random.Generator, size_um: NDArray[np.float64]) -> Cloud:
    """Closed, bumpy membranes: nuclear envelopes, cell outlines, large vesicles."""
    points = []
    for _ in range(int(_log_uniform(rng, (1, 12)))):
        directions = unit_vectors(rng, 40_000)
        bumps = sum(
            _uniform(rng, (0.0, 0.12))
            * np.sin(directions @ unit_vectors(rng, 1)[0] * rng.integers(2, 9) + rng.uniform(0, 6))
            for _ in range(4)
        )
        axes = rng.uniform(0.15, 0.7, 3) * size_um[1:].max() / 2
        axes[0] = min(axes[0], size_um[0] * rng.uniform(0.3, 1.5))
        surface = directions * (1 + np.asarray(bumps))[:, None] * axes
        points.append(rng.uniform(0, 1, 3) * size_um + surface)
    cloud = np.concatenate(points)
    return cloud.astype(np.float32), np.full(len(cloud), 1e-2, np.float32)


def sheets(rng: np.random.Generator, size_um: NDArray[np.float64]) -> Cloud:
    """Endoplasmic-reticulum-like sheets: wavy surfaces with holes."""
    points = []
    for _ in range(int(rng.integers(1, 5))):
        yx = rng.uniform(0, 1, (120_000, 2)) * size_um[1:]
        height = np.full(len(yx), rng.uniform(0, size_um[0]))
        holes = np.zeros(len(yx))
        for _ in range(5):
            wave = rng.standard_normal(2) * 2 * np.pi / rng.uniform(1.0, 8.0)
            height += 0.12 * size_um[0] * np.sin(yx @ wave + rng.uniform(0, 6))
            holes += np.sin(yx @ (wave * rng.uniform(1.5, 3.0)) + rng.uniform(0, 6))
        keep = holes > rng.uniform(-1.5, 1.0)
        points.append(np.column_stack([height, yx])[keep])
    cloud = np.concatenate(points)
    return cloud.astype(np.float32), np.full(len(cloud), 5e-3, np.float32)


def nuclei(rng: np.random.Generator, size_um: NDArray[np.float64]) -> Cloud:
    """Filled nuclei with chromatin-like texture and darker nucleoli."""
    points, weights = [], []
    for _ in range(int(_log_uniform(rng, (1, 25)))):
        axes = rng.uniform(0.1, 0.4, 3) * size_um[1:].max() / 2
        axes[0] = min(axes[0], size_um[0] * rng.uniform(0.3, 1.0))
        inside = unit_vectors(rng, 60_000) * rng.random((60_000, 1)) ** (1 / 3)
        texture = np.ones(len(inside))
        for _ in range(6):
            wave = unit_vectors(rng, 1)[0] * rng.uniform(3.0, 25.0)
            texture += 0.4 * np.sin(inside @ wave + rng.uniform(0, 6))
        for _ in range(int(rng.integers(0, 4))):
            nucleolus = np.linalg.norm(inside - rng.uniform(-0.5, 0.5, 3), axis=1)
            texture[nucleolus < rng.uniform(0.1, 0.25)] *= 0.1
        points.append(rng.uniform(0, 1, 3) * size_um + inside * axes)
        weights.append(np.clip(texture, 0, None) * _log_uniform(rng, (0.3, 2.0)) * 1e-2)
    return np.concatenate(points).astype(np.float32), np.concatenate(weights).astype(np.float32)


STRUCTURES: dict[str, Callable[[np.random.Generator, NDArray[np.float64]], Cloud]] = {
    "filaments": filaments,
    "tubes": tubes,
    "vesicles": vesicles,
    "membranes": membranes,
    "sheets": sheets,
    "nuclei": nuclei,
}


def simulate_scene(config: SimulationConfig, seed: int) -> Scene:
    """Draw a noise-free scene: structures through the optics, without background.

    Returns
    -------
    Scene
        ``signal`` as float32 without unit.
    """
    rng = np.random.default_rng(seed)
    lateral_um = _log_uniform(rng, config.voxel_xy_um)
    voxel_um = np.array([_log_uniform(rng, config.voxel_z_um), lateral_um, lateral_um])
    # Emitters are drawn a little beyond the field so that the borders are like the middle.
    margin = np.array([4, 8, 8])
    drawn_shape = np.array(config.shape_zyx) + 2 * margin
    size_um = drawn_shape * voxel_um
    low, high = config.structures_per_stack
    names = rng.choice(list(STRUCTURES), size=int(rng.integers(low, high + 1)), replace=False)
    sigma_xy_um = _uniform(rng, config.psf_sigma_xy_um)
    sigma_um = np.array([sigma_xy_um * _uniform(rng, config.psf_axial_ratio), *[sigma_xy_um] * 2])
    # 0.35 voxel: the linear weights of rasterise() and the pixel's own area already blur.
    sigma_voxels = np.sqrt(np.maximum((sigma_um / voxel_um) ** 2 - 0.35**2, 0.35**2))
    a, b, c = (int(d) for d in drawn_shape)
    signal = np.zeros((a, b, c), np.float32)
    for name in names:
        part = rasterise(STRUCTURES[str(name)](rng, size_um), (a, b, c), voxel_um)
        part = ndimage.gaussian_filter(part, sigma_voxels)
        signal += part / max(float(np.percentile(part, 99.9)), 1e-9) * _log_uniform(rng, (0.2, 1.0))
    if rng.random() < 0.5:
        signal += (
            _uniform(rng, config.haze_fraction)
            * ndimage.gaussian_filter(signal, np.minimum(sigma_voxels * 6, drawn_shape / 4))
            * 3
        )
    signal = signal[tuple(slice(m, -m) for m in margin)]
    # A few lonely spots would otherwise be many times brighter than "the peak".
    signal /= max(float(np.percentile(signal, 99.9)), float(signal.max()) / 8, 1e-9)
    return Scene(signal, (float(voxel_um[0]), lateral_um, lateral_um), tuple(str(n) for n in names))


def random_camera(config: SimulationConfig, rng: np.random.Generator) -> Camera:
    """Draw a camera from the configured ranges."""
    return Camera(
        offset_adu=_uniform(rng, config.offset_adu),
        gain_adu_per_e=_log_uniform(rng, config.gain_adu_per_e),
        read_noise_e=_log_uniform(rng, config.read_noise_e),
    )


def expected_electrons(
    scene_signal: NDArray[np.float32], peak_e: float, background_fraction: float
) -> NDArray[np.float32]:
    """Return expected photo-electrons (e-): signal at ``peak_e`` on a flat background."""
    return np.asarray(scene_signal * peak_e + background_fraction * peak_e, dtype=np.float32)
