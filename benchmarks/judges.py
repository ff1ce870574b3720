"""Judge stacks: ten kinds of structure that no training draws. Frozen: do not change a kind.

Nothing here comes from the simulator that models are trained with: structures are random fields,
level sets, walks and tessellations instead of clouds of emitters; the optics are a scalar pupil
integral; the camera is three lines. A model that does well on them has not learnt them by heart.

    python benchmarks/quality.py --judges 1 --model fast --table judges.json

``signal("chromatin", 0)`` is the same array on every computer with the same numpy and scipy, up to
rounding. A kind that turns out badly drawn is left as it is, and a new one is added.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

SHAPE_ZYX = (16, 128, 128)
_MARGIN_ZYX = (4, 12, 12)
# Drawn twice as fine as the voxels along Y and X, and summed: the sample knows no pixels.
_FINE = 2

Floats = NDArray[np.float64]
Rng = np.random.Generator
Draw = Callable[[Rng, tuple[int, int, int], Floats], Floats]
"""Draws fluorophores on a grid of this shape, with spacings (Z, Y, X) in micrometres."""


# Optics ---------------------------------------------------------------------------------------


def scalar_psf(
    spacing_um: Floats, shape: tuple[int, int, int], aperture: float, emission_um: float
) -> Floats:
    """Return the intensity |FT(pupil x defocus)|^2 (Z, Y, X; sum 1, centre in the corner).

    The scalar Debye integral over an aberration-free pupil (Born and Wolf, chapter 8.8), in water
    of index 1.33; the simulator's own is vectorial, with the cover glass's aberration.
    """
    index = 1.33
    fy, fx = np.meshgrid(
        np.fft.fftfreq(shape[1], spacing_um[1]), np.fft.fftfreq(shape[2], spacing_um[2]),
        indexing="ij",
    )  # fmt: skip
    radial2 = fx**2 + fy**2
    pupil = (radial2 <= (aperture / emission_um) ** 2).astype(float)
    axial = np.sqrt(np.maximum((index / emission_um) ** 2 - radial2, 0))
    planes = np.fft.fftfreq(shape[0], 1 / (shape[0] * spacing_um[0]))
    field = np.stack([np.fft.ifft2(pupil * np.exp(2j * np.pi * axial * z)) for z in planes])
    intensity = np.abs(field) ** 2
    return np.asarray(intensity / intensity.sum())


def through_optics(sample: Floats, psf: Floats) -> Floats:
    """Return the image of a sample: a periodic convolution, whose borders are cut off later."""
    product = np.fft.rfftn(sample) * np.fft.rfftn(psf)
    return np.maximum(np.fft.irfftn(product, sample.shape, axes=(0, 1, 2)), 0)


# Structures -----------------------------------------------------------------------------------


def _field(rng: Rng, shape: tuple[int, int, int], spacing: Floats, slope: float) -> Floats:
    """Return a random field of mean 0 and standard deviation 1 whose power falls as f^-slope."""
    frequencies = np.meshgrid(
        *(np.fft.fftfreq(n, d) for n, d in zip(shape, spacing, strict=True)), indexing="ij"
    )
    radius = np.sqrt(sum(f**2 for f in frequencies))
    radius[0, 0, 0] = np.inf
    spectrum = np.fft.fftn(rng.standard_normal(shape)) * radius ** (-slope / 2)
    field = np.fft.ifftn(spectrum).real
    return np.asarray((field - field.mean()) / field.std())


def _band(rng: Rng, shape: tuple[int, int, int], spacing: Floats, period_um: float) -> Floats:
    """Return a random field of about one period: its zeros are a labyrinth."""
    fine = ndimage.gaussian_filter(rng.standard_normal(shape), 0.2 * period_um / spacing)
    wide = ndimage.gaussian_filter(fine, 0.35 * period_um / spacing)
    band = fine - wide
    return np.asarray(band / band.std())


def _coordinates(shape: tuple[int, int, int], spacing: Floats) -> list[Floats]:
    return list(np.meshgrid(
        *(np.arange(n) * d for n, d in zip(shape, spacing, strict=True)), indexing="ij"
    ))  # fmt: skip


def _bodies(rng: Rng, shape: tuple[int, int, int], spacing: Floats, count: int) -> list[Floats]:
    """Return signed distances (below 0 inside, in radii) of so many lumpy bodies."""
    z, y, x = _coordinates(shape, spacing)
    size = np.array(shape) * spacing
    found = []
    for _ in range(count):
        centre = rng.uniform(0.15, 0.85, 3) * size
        radii = rng.uniform(0.16, 0.32) * size[1] * np.array([0.6, 1, rng.uniform(0.7, 1.3)])
        lump = 0.25 * _field(rng, shape, spacing, 4.5)
        distance = sum(
            ((axis - c) / r) ** 2 for axis, c, r in zip((z, y, x), centre, radii, strict=True)
        )
        found.append(np.sqrt(distance) - 1 + lump)
    return found


def _walk(
    rng: Rng, spacing: Floats, size: Floats, length_um: float, stiffness_um: float
) -> tuple[Floats, Floats]:
    """Return points (N, 3; um) and directions of a worm-like chain within a box."""
    step = float(spacing[2]) * 0.7
    count = int(length_um / step)
    turns = rng.standard_normal((count, 3)) * np.sqrt(2 * step / stiffness_um)
    turns[:, 0] *= 0.4  # cells are flat
    direction = rng.standard_normal(3) * np.array([0.2, 1, 1])
    point = rng.uniform(0, 1, 3) * size
    points, directions = np.empty((count, 3)), np.empty((count, 3))
    for number in range(count):
        direction = direction / np.linalg.norm(direction) + turns[number]
        direction /= np.linalg.norm(direction)
        point = point + direction * step
        points[number], directions[number] = point, direction
    return points, directions


def _deposit(
    shape: tuple[int, int, int], spacing: Floats, points: Floats, weights: Floats
) -> Floats:
    """Return the sum of points in the grid's boxes; what lies outside is lost."""
    grid = np.zeros(shape)
    index = np.floor(points / spacing).astype(int)
    inside = np.all((index >= 0) & (index < shape), axis=1)
    np.add.at(grid, tuple(index[inside].T), weights[inside])
    return grid


def chromatin(rng: Rng, shape: tuple[int, int, int], spacing: Floats) -> Floats:
    """Nuclei of fractal density, with dark nucleoli."""
    density = np.exp(0.7 * _field(rng, shape, spacing, rng.uniform(2.2, 3.0)))
    sample = np.zeros(shape)
    for body in _bodies(rng, shape, spacing, 3):
        sample = np.where(body < 0, density, sample)
    holes = _band(rng, shape, spacing, 2.5) > 1.8
    return np.where(holes, 0.15 * sample, sample) + 0.01


def granules(rng: Rng, shape: tuple[int, int, int], spacing: Floats) -> Floats:
    """Cytoplasm with thousands of granules, each of a brightness of its own, and vacuoles."""
    sample = np.zeros(shape)
    size = np.array(shape) * spacing
    for body in _bodies(rng, shape, spacing, 2):
        sample += np.where(body < 0, 1.0, 0)
    points = rng.uniform(0, 1, (6000, 3)) * size
    spots = _deposit(shape, spacing, points, rng.lognormal(0, 1.0, len(points)))
    spots *= sample > 0
    vacuoles = ndimage.gaussian_filter(rng.standard_normal(shape), 0.5 / spacing)
    sample = np.where(vacuoles > 2 * vacuoles.std(), 0.1 * sample, sample)
    return 0.3 * sample + 25 * spots / max(float(np.percentile(spots[spots > 0], 90)), 1e-9)


def foam(rng: Rng, shape: tuple[int, int, int], spacing: Floats) -> Floats:
    """Borders of a crowded tissue's cells, labelled unevenly from voxel to voxel."""
    size = np.array(shape) * spacing
    seeds = rng.uniform(-0.2, 1.2, (60, 3)) * size
    voxels = np.stack([axis.ravel() for axis in _coordinates(shape, spacing)], axis=1)
    near, _ = cKDTree(seeds).query(voxels, k=2)
    gap = (near[:, 1] - near[:, 0]).reshape(shape)
    texture = rng.gamma(0.7, 1 / 0.7, shape)
    return np.exp(-0.5 * (gap / 0.12) ** 2) * texture + 0.02


def spots(rng: Rng, shape: tuple[int, int, int], spacing: Floats) -> Floats:
    """A few dozen points over four orders of brightness, on an uneven floor."""
    size = np.array(shape) * spacing
    points = rng.uniform(0, 1, (70, 3)) * size
    sample = _deposit(shape, spacing, points, 10 ** rng.uniform(0.5, 2.8, len(points)))
    return sample + 0.4 * np.exp(0.4 * _field(rng, shape, spacing, 4))


def labyrinth(rng: Rng, shape: tuple[int, int, int], spacing: Floats) -> Floats:
    """A continuous network of sheets and tubes, as of an organelle that fills the cell."""
    period = rng.uniform(0.7, 1.4)
    wall = np.exp(-0.5 * (_band(rng, shape, spacing, period) / 0.25) ** 2)
    second = np.exp(-0.5 * (_band(rng, shape, spacing, period) / 0.4) ** 2)
    cell = np.exp(0.6 * _field(rng, shape, spacing, 4.5))
    return wall * second * cell + 0.01


def stripes(rng: Rng, shape: tuple[int, int, int], spacing: Floats) -> Floats:
    """Bundles of fibres with sarcomere-like bands across them."""
    z, y, x = _coordinates(shape, spacing)
    bend = 0.8 * _field(rng, shape, spacing, 5)
    angle = rng.uniform(0, np.pi)
    along = x * np.cos(angle) + y * np.sin(angle) + bend
    across = -x * np.sin(angle) + y * np.cos(angle) + 0.3 * bend
    period = rng.uniform(0.5, 1.8)
    bands = np.clip(np.cos(2 * np.pi * along / period), 0, None) ** 3
    bundles = np.clip(np.cos(2 * np.pi * across / 1.6) * np.cos(2 * np.pi * z / 2.2), 0, None)
    return bands * bundles**0.5 * np.exp(0.3 * _field(rng, shape, spacing, 3)) + 0.01


def beside_bulk(rng: Rng, shape: tuple[int, int, int], spacing: Floats) -> Floats:
    """Fine walks of a thirtieth of the brightness of the smooth body beside them."""
    size = np.array(shape) * spacing
    bulk = np.clip(-_bodies(rng, shape, spacing, 1)[0] * 4, 0, 1)
    lines = np.zeros(shape)
    for _ in range(25):
        points, _ = _walk(rng, spacing, size, 12.0, 8.0)
        lines += _deposit(shape, spacing, points, np.ones(len(points)))
    return 30 * bulk + lines / max(np.percentile(lines[lines > 0], 90), 1e-9) * 4


def crowd(rng: Rng, shape: tuple[int, int, int], spacing: Floats) -> Floats:
    """Hundreds of crossing chains, with light from above and below the stack."""
    size = np.array(shape) * spacing
    sample = np.zeros(shape)
    for _ in range(160):
        points, _ = _walk(rng, spacing, size, rng.uniform(4, 20), rng.uniform(1, 15))
        sample += _deposit(shape, spacing, points, np.full(len(points), rng.uniform(0.3, 1)))
    haze = ndimage.gaussian_filter(sample, 2.5 / spacing)
    return sample / sample.mean() + 3 * haze / haze.mean()


def speckled_membrane(rng: Rng, shape: tuple[int, int, int], spacing: Floats) -> Floats:
    """Ruffled surfaces whose label is clustered at the scale of a pixel."""
    z, _, _ = _coordinates(shape, spacing)
    size = np.array(shape) * spacing
    sample = np.zeros(shape)
    for _ in range(2):
        relief = _field(rng, shape, spacing, 4)[:1] * rng.uniform(0.3, 0.8)
        height = rng.uniform(0.3, 0.7) * size[0] + relief
        label = rng.negative_binomial(0.6, 0.3, shape)
        sample += np.exp(-0.5 * ((z - height) / 0.15) ** 2) * label
    return sample + 0.03


def depth_faded(rng: Rng, shape: tuple[int, int, int], spacing: Floats) -> Floats:
    """Shells and full bodies at once, dimmer with depth, as in tissue."""
    z, _, _ = _coordinates(shape, spacing)
    sample = np.full(shape, 0.05)
    for number, body in enumerate(_bodies(rng, shape, spacing, 5)):
        part = np.exp(-0.5 * (body / 0.06) ** 2) if number % 2 else (body < 0) * 0.5
        sample += part * 10 ** rng.uniform(-0.7, 0.3)
    return sample * np.exp(-z / (0.7 * shape[0] * spacing[0]))


KINDS: dict[str, Draw] = {
    "chromatin": chromatin,
    "granules": granules,
    "foam": foam,
    "spots": spots,
    "labyrinth": labyrinth,
    "stripes": stripes,
    "beside-bulk": beside_bulk,
    "crowd": crowd,
    "speckled-membrane": speckled_membrane,
    "depth-faded": depth_faded,
}


def signal(
    kind: str, number: int, shape_zyx: tuple[int, int, int] = SHAPE_ZYX
) -> NDArray[np.float32]:
    """Return a judge stack without noise (Z, Y, X), 1 at its 99.9th percentile.

    Voxels, aperture and anisotropy follow from the kind and the number: pixels from a third to
    about the whole of the finest period that the optics transmit, planes 1 to 8 pixels apart.
    """
    rng = np.random.default_rng([20261128, sorted(KINDS).index(kind), number])
    aperture, emission_um = rng.uniform(0.7, 1.25), rng.uniform(0.45, 0.7)
    xy_um = rng.uniform(0.17, 0.5) * emission_um / aperture
    z_um = min(xy_um * float(np.exp(rng.uniform(0, np.log(8)))), 1.2)
    shape = tuple(
        (size + 2 * margin) * fine
        for size, margin, fine in zip(shape_zyx, _MARGIN_ZYX, (1, _FINE, _FINE), strict=True)
    )
    spacing = np.array([z_um, xy_um / _FINE, xy_um / _FINE])
    sample = KINDS[kind](rng, (shape[0], shape[1], shape[2]), spacing)
    psf = scalar_psf(spacing, sample.shape, aperture, emission_um)
    if rng.random() < 0.6:  # sectioned: excitation confines it once more
        psf = psf**2 / np.sum(psf**2)
    image = through_optics(sample, psf)
    z, y, x = (shape[0], shape[1] // _FINE, shape[2] // _FINE)
    image = image.reshape(z, y, _FINE, x, _FINE).sum(axis=(2, 4))
    inner = tuple(slice(m, -m) for m in _MARGIN_ZYX)
    image = image[inner]
    return np.asarray(image / np.percentile(image, 99.9), np.float32)
