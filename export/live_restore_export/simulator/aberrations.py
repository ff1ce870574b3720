"""Point spread functions of an aberrated objective: samples and cover glasses bend light.

The scalar Debye integral over a pupil with a phase of low Zernike polynomials (Born and Wolf,
chapters 8.8 and 9.2). The vectorial model of ``simulator.optics`` knows none but the aberration of
a refractive mismatch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Aberrations = tuple[float, float, float, float, float]
"""Root mean square (waves) of astigmatism at 0 and 45 degrees, coma along X and Y, and spherical
aberration."""

NONE: Aberrations = (0.0, 0.0, 0.0, 0.0, 0.0)

# Amplitude passes up to NA / wavelength, intensity up to twice that: pixels of a computation.
_PIXELS_PER_PERIOD = 4.0


def draw_aberrations(rng: np.random.Generator, rms_waves: float) -> Aberrations:
    """Draw aberrations of a root mean square of ``rms_waves`` all together, in any direction."""
    direction = rng.standard_normal(5)
    direction *= rms_waves / np.linalg.norm(direction)
    a, b, c, d, e = (float(v) for v in direction)
    return a, b, c, d, e


def aberrated_psf(
    shape_zyx: tuple[int, int, int],
    voxel_zyx_um: tuple[float, float, float],
    aperture: float,
    index: float,
    wavelength_um: float,
    aberrations: Aberrations,
) -> NDArray[np.float64]:
    """Return the intensity (Z, Y, X; odd sizes, focus in the middle, sum 1)."""
    planes, pixels, _ = shape_zyx
    z_um, xy_um, _ = voxel_zyx_um
    finest_um = wavelength_um / aperture / _PIXELS_PER_PERIOD
    fine = 2 * int(np.ceil((xy_um / finest_um - 1) / 2)) + 1 if xy_um > finest_um else 1
    size, spacing = pixels * fine, xy_um / fine
    frequencies = np.fft.fftfreq(size, spacing)
    fy, fx = frequencies[:, None], frequencies[None, :]
    radius = np.hypot(fx, fy) / (aperture / wavelength_um)
    angle = np.arctan2(fy, fx)
    pupil = (radius <= 1) * np.exp(2j * np.pi * _phase_waves(radius, angle, aberrations))
    axial = np.sqrt(np.maximum((index / wavelength_um) ** 2 - fx**2 - fy**2, 0))
    depths = (np.arange(planes) - planes // 2) * z_um
    field = np.stack([np.fft.ifft2(pupil * np.exp(2j * np.pi * axial * z)) for z in depths])
    intensity = np.fft.fftshift(np.abs(field) ** 2, axes=(1, 2))
    binned = intensity.reshape(planes, pixels, fine, pixels, fine).sum(axis=(2, 4))
    return np.asarray(binned / binned.sum())


def _phase_waves(
    radius: NDArray[np.float64], angle: NDArray[np.float64], aberrations: Aberrations
) -> NDArray[np.float64]:
    """Return the phase (waves); polynomials of root mean square 1 over the pupil (Noll 1976)."""
    astigmatism, oblique, coma_x, coma_y, spherical = aberrations
    squared = radius**2
    phase = np.sqrt(6) * squared * (astigmatism * np.cos(2 * angle) + oblique * np.sin(2 * angle))
    phase += (
        np.sqrt(8) * (3 * squared - 2) * radius * (coma_x * np.cos(angle) + coma_y * np.sin(angle))
    )
    phase += np.sqrt(5) * (6 * squared**2 - 6 * squared + 1) * spherical
    return np.asarray(phase)
