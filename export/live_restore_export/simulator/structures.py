"""Structures of cells as clouds of point emitters, in micrometres, sparse to dense.

Each function draws one kind of structure in a box of ``size_um`` (z, y, x) and returns a
:data:`~live_restore.simulation.emitters.Cloud`. They are caricatures: what matters for a restorer
is that their shapes, densities and brightnesses cover far more than any one cell shows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from live_restore.simulation.emitters import Cloud, unit_vectors, worm_like_chain

Range = tuple[float, float]
Size = NDArray[np.float64]


def uniform(rng: np.random.Generator, limits: Range) -> float:
    """Draw from ``limits``, each value alike."""
    return float(rng.uniform(*limits))


def log_uniform(rng: np.random.Generator, limits: Range) -> float:
    """Draw from ``limits`` (above 0), each factor alike."""
    return float(np.exp(rng.uniform(np.log(limits[0]), np.log(limits[1]))))


def _cloud(points: list[NDArray[np.float64]], weights: list[NDArray[np.float64]]) -> Cloud:
    return np.concatenate(points).astype(np.float32), np.concatenate(weights).astype(np.float32)


def _chains(
    rng: np.random.Generator, size_um: Size, count: int, bend: Range, length: Range
) -> list[NDArray[np.float64]]:
    return [
        worm_like_chain(
            rng,
            rng.uniform(0, 1, 3) * size_um,
            uniform(rng, length) * float(size_um[1:].max()),
            log_uniform(rng, bend),
        )
        for _ in range(count)
    ]


def filaments(rng: np.random.Generator, size_um: Size) -> Cloud:
    """Microtubule-like or actin-like curves, thinner than the PSF, sparse to dense."""
    curves = _chains(rng, size_um, int(log_uniform(rng, (4, 90))), (0.05, 1.0), (0.4, 2.0))
    weights = [np.full(len(c), log_uniform(rng, (0.4, 1.6))) for c in curves]
    return _cloud(curves, weights)


def tubes(rng: np.random.Generator, size_um: Size) -> Cloud:
    """Mitochondria-like tubes: filled or with a bright wall, 0.1 to 0.5 um in radius."""
    points, weights = [], []
    for curve in _chains(rng, size_um, int(log_uniform(rng, (2, 40))), (0.3, 2.0), (0.05, 0.6)):
        radius_um, hollow = uniform(rng, (0.1, 0.5)), rng.random() < 0.5
        centres = np.repeat(curve, 12, axis=0)
        radii = radius_um * (1.0 if hollow else rng.random((len(centres), 1)) ** (1 / 3))
        points.append(centres + unit_vectors(rng, len(centres)) * radii)
        weights.append(np.full(len(centres), log_uniform(rng, (0.4, 1.6)) / 12))
    return _cloud(points, weights)


def vesicles(rng: np.random.Generator, size_um: Size) -> Cloud:
    """Spots, beads and small round vesicles (shells), alike or over two decades of brightness."""
    count = int(log_uniform(rng, (5, 900)))
    spread = log_uniform(rng, (1.1, 10.0))
    brightness = (1 / spread, spread)
    largest_um = log_uniform(rng, (0.03, 0.6))
    points, weights = [], []
    for _ in range(count):
        samples = 1 if largest_um < 0.06 else 80
        shell = unit_vectors(rng, samples) * rng.uniform(0, largest_um)
        points.append(rng.uniform(0, 1, 3) * size_um + shell)
        weights.append(np.full(samples, log_uniform(rng, brightness) / samples))
    return _cloud(points, weights)


def membranes(rng: np.random.Generator, size_um: Size) -> Cloud:
    """Closed, bumpy membranes: nuclear envelopes, cell outlines, large vesicles."""
    points = []
    for _ in range(int(log_uniform(rng, (1, 12)))):
        directions = unit_vectors(rng, 40_000)
        bumps = sum(
            uniform(rng, (0.0, 0.12))
            * np.sin(directions @ unit_vectors(rng, 1)[0] * rng.integers(2, 9) + rng.uniform(0, 6))
            for _ in range(4)
        )
        axes = rng.uniform(0.15, 0.7, 3) * size_um[1:].max() / 2
        axes[0] = min(axes[0], size_um[0] * rng.uniform(0.3, 1.5))
        surface = directions * (1 + np.asarray(bumps))[:, None] * axes
        points.append(rng.uniform(0, 1, 3) * size_um + surface)
    cloud = np.concatenate(points)
    return cloud.astype(np.float32), np.full(len(cloud), 1e-2, np.float32)


def sheets(rng: np.random.Generator, size_um: Size) -> Cloud:
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


def nuclei(rng: np.random.Generator, size_um: Size) -> Cloud:
    """Filled nuclei with chromatin-like texture and darker nucleoli."""
    points, weights = [], []
    for _ in range(int(log_uniform(rng, (1, 25)))):
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
        weights.append(np.clip(texture, 0, None) * log_uniform(rng, (0.3, 2.0)) * 1e-2)
    return _cloud(points, weights)


def tubules(rng: np.random.Generator, size_um: Size) -> Cloud:
    """Endoplasmic-reticulum-like network: junctions in a layer, each tied to its neighbours."""
    per_um2 = log_uniform(rng, (0.05, 1.5))
    count = max(4, int(per_um2 * size_um[1] * size_um[2]))
    junctions = rng.uniform(0, 1, (count, 3)) * size_um
    layer = rng.uniform(0, size_um[0])
    junctions[:, 0] = layer + rng.standard_normal(count) * uniform(rng, (0.05, 0.5))
    neighbours = cKDTree(junctions).query(junctions, k=4)[1][:, 1:]
    links = np.unique(
        np.sort(np.column_stack([np.repeat(np.arange(count), 3), neighbours.ravel()])), axis=0
    )
    points, weights = [], []
    for first, second in links:
        ends = junctions[[first, second]]
        steps = max(2, int(np.linalg.norm(ends[1] - ends[0]) / 0.03))
        along = np.linspace(0, 1, steps)[:, None]
        sag = rng.standard_normal(3) * 0.1 * np.linalg.norm(ends[1] - ends[0])
        points.append(ends[0] * (1 - along) + ends[1] * along + np.sin(np.pi * along) * sag)
        weights.append(np.full(steps, log_uniform(rng, (0.6, 1.6))))
    return _cloud(points, weights)


def pores(rng: np.random.Generator, size_um: Size) -> Cloud:
    """Nuclear-pore-like dots, even on closed surfaces, thinly or densely."""
    points, weights = [], []
    for _ in range(int(log_uniform(rng, (1, 6)))):
        axes = rng.uniform(0.2, 0.7, 3) * size_um[1:].max() / 2
        axes[0] = min(axes[0], size_um[0] * rng.uniform(0.3, 1.0))
        per_um2 = log_uniform(rng, (0.5, 12.0))
        count = max(10, min(20_000, int(per_um2 * 4 * np.pi * float(np.prod(axes)) ** (2 / 3))))
        points.append(rng.uniform(0, 1, 3) * size_um + unit_vectors(rng, count) * axes)
        weights.append(rng.lognormal(0.0, 0.4, count) * log_uniform(rng, (0.5, 2.0)))
    return _cloud(points, weights)


def chromosomes(rng: np.random.Generator, size_um: Size) -> Cloud:
    """Bundles of short thick rods, from a loose prophase to a packed plate."""
    points, weights = [], []
    for _ in range(int(log_uniform(rng, (1, 8)))):
        centre = rng.uniform(0.1, 0.9, 3) * size_um
        spread = rng.uniform(0.3, 3.0, 3)
        rods = int(log_uniform(rng, (8, 60)))
        brightness = log_uniform(rng, (0.3, 2.0))
        for _ in range(rods):
            axis = worm_like_chain(
                rng, centre + rng.standard_normal(3) * spread, uniform(rng, (0.5, 3.0)), 0.5
            )
            centres = np.repeat(axis, 20, axis=0)
            radii = uniform(rng, (0.15, 0.4)) * rng.random((len(centres), 1)) ** (1 / 3)
            points.append(centres + unit_vectors(rng, len(centres)) * radii)
            weights.append(np.full(len(centres), brightness * uniform(rng, (0.7, 1.3)) / 20))
    return _cloud(points, weights)


STRUCTURES: dict[str, Callable[[np.random.Generator, Size], Cloud]] = {
    "filaments": filaments,
    "tubes": tubes,
    "vesicles": vesicles,
    "membranes": membranes,
    "sheets": sheets,
    "nuclei": nuclei,
    "tubules": tubules,
    "pores": pores,
    "chromosomes": chromosomes,
}
