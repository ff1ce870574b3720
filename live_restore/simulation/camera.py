"""A scientific camera, from expected photo-electrons to grey values."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PixelMaps:
    """What differs from pixel to pixel of a sensor; each map is (Y, X) float32."""

    offset_e: NDArray[np.float32]
    """Deviation from the camera's offset (e-)."""
    response: NDArray[np.float32]
    """Sensitivity over that of the average pixel."""
    read_noise: NDArray[np.float32]
    """Read noise over the camera's."""


@dataclass(frozen=True)
class Camera:
    """Linear camera model: Poisson photo-electrons, Gaussian read noise, gain, offset, 16 bits.

    An electron-multiplying register makes of each electron a random number with an exponential
    distribution, so that n electrons come out with a gamma distribution of shape n and the variance
    of the light is doubled (Hirsch et al., PLoS ONE 8, e53671 (2013)).

    Parameters
    ----------
    offset_adu
        Grey value of darkness (ADU).
    gain_adu_per_e
        Grey values per photo-electron (ADU/e-).
    read_noise_e
        Standard deviation of the read noise (e-).
    full_scale_adu
        Largest grey value; brighter pixels saturate.
    quantum_efficiency
        Photo-electrons per photon on the sensor.
    pixels
        What differs from pixel to pixel (sCMOS); ``None`` for an even sensor.
    multiplies
        Whether it has an electron-multiplying register; ``read_noise_e`` is then over its gain.
    """

    offset_adu: float = 100.0
    gain_adu_per_e: float = 2.0
    read_noise_e: float = 1.5
    full_scale_adu: int = 65535
    quantum_efficiency: float = 1.0
    pixels: PixelMaps | None = None
    multiplies: bool = False

    def with_pixel_maps(self, shape_yx: tuple[int, int], rng: np.random.Generator) -> Camera:
        """Return this camera with the pixel-to-pixel differences of an sCMOS sensor.

        Spreads are those of common sensors (Huang et al., Nature Methods 10, 653 (2013); EMVA
        1288 sheets): gain 1 %, offset 0.3 e-, and a read noise with a long tail of hot pixels.
        """
        maps = PixelMaps(
            offset_e=(0.3 * rng.standard_normal(shape_yx)).astype(np.float32),
            response=(1 + 0.01 * rng.standard_normal(shape_yx)).astype(np.float32),
            read_noise=rng.lognormal(-0.08, 0.4, shape_yx).astype(np.float32),
        )
        return replace(self, pixels=maps)

    def expected_electrons(self, photons: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the photo-electrons (e-) that ``photons`` per pixel (any shape) set free."""
        return np.asarray(photons * self.quantum_efficiency, dtype=np.float32)

    def expose(
        self, expected_e: NDArray[np.floating], rng: np.random.Generator
    ) -> NDArray[np.uint16]:
        """Return one noisy exposure of ``expected_e`` (..., Y, X; e-) in grey values (ADU).

        Raises
        ------
        ValueError
            The camera has pixel maps of another (Y, X).
        """
        pixels = self.pixels
        if pixels is not None:
            if pixels.response.shape != expected_e.shape[-2:]:
                raise ValueError(
                    f"pixel maps of {pixels.response.shape} do not fit {expected_e.shape[-2:]}"
                )
            expected_e = expected_e * pixels.response
        electrons = rng.poisson(expected_e).astype(np.float32)
        if self.multiplies:
            electrons = rng.standard_gamma(electrons, dtype=np.float32)
        noise_e = rng.standard_normal(expected_e.shape, dtype=np.float32) * self.read_noise_e
        if pixels is not None:
            noise_e = noise_e * pixels.read_noise + pixels.offset_e
        return self.digitise(electrons + noise_e)

    def digitise(self, electrons: NDArray[np.floating]) -> NDArray[np.uint16]:
        """Return ``electrons`` (e-, any shape) as grey values (ADU), rounded and saturated."""
        adu = electrons * self.gain_adu_per_e + self.offset_adu
        return np.asarray(np.clip(np.rint(adu), 0, self.full_scale_adu), np.uint16)

    def noiseless_adu(self, expected_e: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the grey values (ADU, not rounded) that an endless average would give."""
        return np.asarray(expected_e * self.gain_adu_per_e + self.offset_adu, dtype=np.float32)
