"""A living cell for the demo: microtubules that sway and vesicles that wander.

Curves and spots as in the training simulator, since both are simulations, but another composition,
with motion, and a seed of its own: a scene that the model has never seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from live_restore.simulation.camera import Camera
from live_restore.simulation.emitters import rasterise, unit_vectors, worm_like_chain

VOXEL_ZYX_UM = (0.3, 0.1, 0.1)
TIME_STEP_S = 5.0
_PSF_SIGMA_UM = np.array([0.32, 0.12, 0.12])


@dataclass(frozen=True)
class LivingCell:
    """A scene that moves, reproducible from its seed.

    Parameters
    ----------
    shape_zyx
        Shape of each stack.
    peak_e
        Photo-electrons in the brightest voxels (99.9th percentile of the first time point).
    background_e
        Photo-electrons of flat background in every voxel.
    seed
        Of structure, motion and noise.
    camera
        Turns photo-electrons into grey values.
    """

    shape_zyx: tuple[int, int, int] = (16, 256, 256)
    peak_e: float = 20.0
    background_e: float = 2.0
    seed: int = 7
    camera: Camera = field(default_factory=Camera)

    def _size_um(self) -> NDArray[np.float64]:
        return np.asarray(np.array(self.shape_zyx) * np.array(VOXEL_ZYX_UM))

    def _light(self, time: int) -> NDArray[np.float32]:
        """Return where light comes from at a time point, through the optics, no unit."""
        rng = np.random.default_rng(self.seed)
        size_um = self._size_um()
        centre = size_um * np.array([0.5, 0.45, 0.5])
        points, weights = [], []
        for _ in range(60):
            chain = worm_like_chain(rng, centre + rng.normal(0, 0.8, 3), rng.uniform(6, 16), 0.25)
            phase, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.5)
            along = np.linspace(0, 3 * np.pi, len(chain))
            sway = 0.25 * np.sin(along + phase + speed * time)[:, None] * unit_vectors(rng, 1)
            points.append(chain + sway)
            weights.append(np.full(len(chain), rng.uniform(0.5, 1.0)))
        for _ in range(140):
            radius = rng.uniform(0.05, 0.25)
            shell = unit_vectors(rng, 60) * radius
            start = rng.uniform(0.05, 0.95, 3) * size_um
            walk = np.cumsum(rng.normal(0, 0.12, (200, 3)), axis=0)[time % 200]
            points.append(start + walk + shell)
            weights.append(np.full(60, rng.uniform(0.3, 1.2)))
        cloud = (
            np.concatenate(points).astype(np.float32),
            np.concatenate(weights).astype(np.float32),
        )
        # Here, since programs without this need not wait for it when they start.
        from scipy import ndimage

        voxel_um = np.array(VOXEL_ZYX_UM)
        voxels = rasterise(cloud, self.shape_zyx, voxel_um)
        return np.asarray(ndimage.gaussian_filter(voxels, _PSF_SIGMA_UM / voxel_um), np.float32)

    def expected_e(self, time: int) -> NDArray[np.float32]:
        """Return the expected photo-electrons of a time point, (Z, Y, X), e-."""
        # One scale for the whole time-lapse: brightness must not jump between time points.
        first = self._light(0)
        scale = self.peak_e / float(np.percentile(first, 99.9))
        light = self._light(time) if time else first
        return np.asarray(light * scale + self.background_e, np.float32)

    def exposed(self, time: int) -> NDArray[np.uint16]:
        """Return the noisy stack of a time point, (Z, Y, X), ADU."""
        return self.camera.expose(
            self.expected_e(time), np.random.default_rng((self.seed, 1, time))
        )

    def truth_adu(self, time: int) -> NDArray[np.float32]:
        """Return what an endless average would show, (Z, Y, X), ADU."""
        return self.camera.noiseless_adu(self.expected_e(time))
