"""A scientific camera, from expected photo-electrons to grey values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Camera:
    """Linear camera model: Poisson photo-electrons, Gaussian read noise, gain, offset, 16 bits.

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
    """

    offset_adu: float = 100.0
    gain_adu_per_e: float = 2.0
    read_noise_e: float = 1.5
    full_scale_adu: int = 65535

    def expose(
        self, expected_e: NDArray[np.floating], rng: np.random.Generator
    ) -> NDArray[np.uint16]:
        """Return one noisy exposure of ``expected_e`` (any shape, e-) in grey values (ADU)."""
        electrons = rng.poisson(expected_e).astype(np.float32)
        electrons += rng.standard_normal(expected_e.shape, dtype=np.float32) * self.read_noise_e
        return self.digitise(electrons)

    def digitise(self, electrons: NDArray[np.floating]) -> NDArray[np.uint16]:
        """Return ``electrons`` (e-, any shape) as grey values (ADU), rounded and saturated."""
        adu = electrons * self.gain_adu_per_e + self.offset_adu
        return np.asarray(np.clip(np.rint(adu), 0, self.full_scale_adu), np.uint16)

    def noiseless_adu(self, expected_e: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the grey values (ADU, not rounded) that an endless average would give."""
        return np.asarray(expected_e * self.gain_adu_per_e + self.offset_adu, dtype=np.float32)
