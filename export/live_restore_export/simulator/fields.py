"""Samples made of random fields: what no list of structures names, by the endless number.

A cell's inside is texture at every scale: chromatin, cytoplasm, unevenly labelled membranes,
bands. Instead of caricatures of each, random fields of any spectrum go through random
nonlinearities and are cut by random shapes, so that a network learns what light does rather than
what cells look like.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from live_restore_export.simulator.structures import log_uniform, uniform

Field = NDArray[np.float32]

# Finest and coarsest sizes (um) of a field's grains: below any optics, and as large as a cell.
_GRAIN_UM = (0.05, 4.0)


def random_sample(
    rng: np.random.Generator, shape_zyx: tuple[int, int, int], voxel_zyx_um: NDArray[np.float64]
) -> Field:
    """Draw a sample of one or two fields, multiplied or added.

    Parameters
    ----------
    shape_zyx
        Voxels to draw.
    voxel_zyx_um
        Their size (um).

    Returns
    -------
    ndarray
        (Z, Y, X) float32, 0 or more, 1 at its brightest.
    """
    sample = _textured(rng, shape_zyx, voxel_zyx_um)
    if rng.random() < 0.6:
        other = _textured(rng, shape_zyx, voxel_zyx_um)
        share = log_uniform(rng, (0.03, 1.0))
        sample = sample * (other + share) if rng.random() < 0.5 else sample + share * other
    if rng.random() < 0.7:
        sample = sample * _shape(rng, shape_zyx, voxel_zyx_um)
    if rng.random() < 0.3:
        sample = sample + _clutter(rng, shape_zyx) * sample.max()
    return np.asarray(sample / max(float(sample.max()), 1e-9), np.float32)


def _noise_field(
    rng: np.random.Generator, shape_zyx: tuple[int, int, int], voxel_zyx_um: NDArray[np.float64]
) -> Field:
    """Draw a field of mean 0 and deviation 1: grains of one size, or of all with a random slope.

    Grains are as deep as wide, or stretched up to three times along one axis.
    """
    stretch = np.exp(rng.uniform(0, np.log(3), 3) * (rng.random() < 0.4))
    grain_um = log_uniform(rng, _GRAIN_UM)
    field = np.zeros(shape_zyx, np.float32)
    octaves = 1 if rng.random() < 0.4 else 5
    persistence = uniform(rng, (0.4, 1.1))
    for octave in range(octaves):
        sigma = grain_um * stretch / 2**octave / voxel_zyx_um
        grains = ndimage.gaussian_filter(
            rng.standard_normal(shape_zyx, dtype=np.float32), np.minimum(sigma, 40), mode="wrap"
        )
        field += grains / max(float(grains.std()), 1e-9) * persistence**octave
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-9), np.float32)


def _clumps(rng: np.random.Generator, field: Field) -> Field:
    return np.asarray(np.exp(log_uniform(rng, (0.2, 2.5)) * field), np.float32)


def _ridges(rng: np.random.Generator, field: Field) -> Field:
    level, width = uniform(rng, (-1.0, 1.0)), log_uniform(rng, (0.05, 0.6))
    return np.asarray(np.exp(-0.5 * ((field - level) / width) ** 2), np.float32)


def _islands(rng: np.random.Generator, field: Field) -> Field:
    level, edge = uniform(rng, (-0.5, 2.2)), log_uniform(rng, (0.02, 0.5))
    return np.asarray(1 / (1 + np.exp(np.clip((level - field) / edge, -30, 30))), np.float32)


def _folds(rng: np.random.Generator, field: Field) -> Field:
    """Turn a field into bands across it, as of a phase."""
    turns, sharpness = log_uniform(rng, (1, 12)), log_uniform(rng, (1, 6))
    return np.asarray((0.5 + 0.5 * np.sin(turns * field)) ** sharpness, np.float32)


_KINDS: tuple[Callable[[np.random.Generator, Field], Field], ...] = (
    _clumps,
    _ridges,
    _islands,
    _folds,
)


def _textured(
    rng: np.random.Generator, shape_zyx: tuple[int, int, int], voxel_zyx_um: NDArray[np.float64]
) -> Field:
    field = _noise_field(rng, shape_zyx, voxel_zyx_um)
    textured = _KINDS[int(rng.integers(len(_KINDS)))](rng, field)
    return np.asarray(textured / max(float(textured.max()), 1e-9), np.float32)


def _shape(
    rng: np.random.Generator, shape_zyx: tuple[int, int, int], voxel_zyx_um: NDArray[np.float64]
) -> Field:
    """Draw what cuts a texture: a few large bodies, their outside, or a shell."""
    sigma = log_uniform(rng, (0.8, 5.0)) / voxel_zyx_um
    body = ndimage.gaussian_filter(
        rng.standard_normal(shape_zyx, dtype=np.float32), np.minimum(sigma, 40), mode="wrap"
    )
    body /= max(float(body.std()), 1e-9)
    cut = _ridges(rng, body) if rng.random() < 0.3 else _islands(rng, body)
    rest = uniform(rng, (0.0, 0.1))
    return np.asarray(rest + (1 - rest) * cut, np.float32)


def _clutter(rng: np.random.Generator, shape_zyx: tuple[int, int, int]) -> Field:
    """Draw bright points, of one brightness or over three decades, 1 at the brightest."""
    count = int(log_uniform(rng, (5, 3000)))
    points = tuple(rng.integers(0, size, count) for size in shape_zyx)
    clutter = np.zeros(shape_zyx, np.float32)
    np.add.at(clutter, points, rng.lognormal(0, uniform(rng, (0.0, 1.5)), count))
    return clutter / max(float(clutter.max()), 1e-9)
