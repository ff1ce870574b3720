"""What patches are cut from: a measured pair, or a scene that is photographed each time anew."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from live_restore.errors import StackRefusedError
from live_restore.inference.image.intensity import IntensityScale, scale_from_percentiles
from live_restore.simulation.camera import Camera
from live_restore.stack import Volume
from live_restore_export.simulator.simulate import SimulationConfig
from live_restore_export.training.options import TrainingOptions
from live_restore_export.training.patches import Patch, Window, place_window
from live_restore_export.training.twin import Light, draw_camera, draw_light, expose, noiseless

# Up to here a scene is exposed whole. Of a larger one the percentiles are taken from every n-th
# voxel, as many as this: 260 of them are above the 99.9th percentile, which fixes it to 2 % or so.
_WHOLE_VOXELS = 2**18

# An exposure of fewer grey values than this between its percentiles is darkness to any camera; in
# network units its one or two values would be thousands. Light is drawn again, so many times.
_LEAST_SPAN_ADU = 3.0
_MOST_DRAWS = 16

# Truth and raw stack are compared after averaging blocks: single voxels of a low-light stack are
# mostly noise.
_BLOCK_ZYX = (2, 4, 4)
LEAST_CORRELATION = 0.1
"""Of block means of raw and truth; below it they show different things."""


class Subject(Protocol):
    """What patches are cut from."""

    def cut(
        self, options: TrainingOptions, foreground_share: float, rng: np.random.Generator
    ) -> Patch:
        """Return a patch of ``options.patch_zyx``, not augmented."""
        ...


@dataclass(frozen=True)
class Scene:
    """Light without noise (Z, Y, X), and foreground voxels of it (N, 3).

    ``signal`` falls on the camera; ``truth`` is what should come back, on the same scale.
    """

    signal: NDArray[np.float32]
    truth: NDArray[np.float32]
    places: NDArray[np.int32]
    simulation: SimulationConfig

    def cut(
        self, options: TrainingOptions, foreground_share: float, rng: np.random.Generator
    ) -> Patch:
        """Photograph with a random camera and light level, and cut.

        Percentiles come from the whole noisy stack, as they do in use; the truth is mapped with
        the noisy stack's scale, so that the network learns to return camera units.
        """
        light, camera_seed = draw_light(self.simulation, rng), int(rng.integers(2**63))
        window = place_window(
            self.signal.shape, options.patch_zyx, self.places, foreground_share, rng
        )
        for _ in range(_MOST_DRAWS):
            raw, scale = self._photographed(window, options.percentiles, light, camera_seed, rng)
            if scale.high_adu - scale.low_adu >= _LEAST_SPAN_ADU:
                break
            light, camera_seed = draw_light(self.simulation, rng), int(rng.integers(2**63))
        truth = noiseless(self.truth[window], light, self._camera(raw.shape, camera_seed))
        return Patch(scale.normalise(raw), scale.normalise(truth))

    def _photographed(
        self,
        window: Window,
        ranks: tuple[float, float],
        light: Light,
        camera_seed: int,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.uint16], IntensityScale]:
        """Return the window of an exposure, and the scale of all of it."""
        apart = math.ceil((self.signal.size / _WHOLE_VOXELS) ** (1 / 3))
        if apart > 1:
            overview = self._exposed((slice(None, None, apart),) * 3, light, camera_seed, rng)
            raw = self._exposed(window, light, camera_seed, rng)
        else:
            overview = self._exposed((slice(None),) * 3, light, camera_seed, rng)
            raw = overview[window]
        return raw, scale_from_percentiles(overview, *ranks)

    def _exposed(
        self,
        part: tuple[slice, slice, slice],
        light: Light,
        camera_seed: int,
        rng: np.random.Generator,
    ) -> NDArray[np.uint16]:
        signal = self.signal[part]
        return expose(signal, light, self._camera(signal.shape, camera_seed), rng)

    def _camera(self, shape_zyx: tuple[int, ...], seed: int) -> Camera:
        """Return the camera of that seed, with as many pixels as are needed."""
        return draw_camera(self.simulation, shape_zyx, np.random.default_rng(seed))


@dataclass(frozen=True)
class Pair:
    """A noisy stack and its ground truth, both (Z, Y, X) as they are in their files.

    The network's truth is ``truth`` with its own scale applied: grey values of the truth that are 0
    and 1 in the network units of the noisy stack.
    """

    raw: Volume
    truth: Volume
    raw_scale: IntensityScale
    truth_scale: IntensityScale
    places: NDArray[np.int32]

    def cut(
        self, options: TrainingOptions, foreground_share: float, rng: np.random.Generator
    ) -> Patch:
        """Cut the same window out of both."""
        window = place_window(self.raw.shape, options.patch_zyx, self.places, foreground_share, rng)
        return Patch(
            self.raw_scale.normalise(self.raw[window]),
            self.truth_scale.normalise(self.truth[window]),
        )


def fitted_truth_scale(
    raw: Volume, truth: Volume, raw_scale: IntensityScale, name: str
) -> IntensityScale:
    """Return the scale that brings ``truth`` onto the grey values of ``raw``.

    Noise has no mean: the straight line ``raw = a * truth + b`` of least squares gives what the
    noisy camera would have given without noise, whatever exposure or camera the truth is from.
    Percentiles do not: noise moves those of the raw stack outwards.

    Parameters
    ----------
    raw, truth
        (Z, Y, X), the same field.
    raw_scale
        Scale of the noisy stack.
    name
        What an error calls the pair.

    Raises
    ------
    StackRefusedError
        The two hardly correlate.
    """
    ours, theirs = (_block_means(v) for v in (raw, truth))
    spread = theirs - theirs.mean()
    covariance = float(np.mean(spread * ours))
    variance = float(np.mean(spread**2))
    correlation = covariance / max(math.sqrt(variance) * float(ours.std()), 1e-300)
    if not correlation >= LEAST_CORRELATION:
        raise StackRefusedError(
            f"{name} and its ground truth show different things: their correlation is "
            f"{correlation:.2f}, less than {LEAST_CORRELATION}",
            None,
            'check the order of the names, or set data.truth_scale = "percentiles"',
        )
    slope = covariance / variance
    offset = float(ours.mean()) - slope * float(theirs.mean())
    low, high = ((v - offset) / slope for v in (raw_scale.low_adu, raw_scale.high_adu))
    return IntensityScale(low, high, raw_scale.epsilon_adu / slope)


def _block_means(volume: Volume) -> NDArray[np.float64]:
    """Return the means of blocks of 2 x 4 x 4 voxels; an axis shorter than that stays."""
    z, y, x = (min(block, size) for block, size in zip(_BLOCK_ZYX, volume.shape, strict=True))
    depth, height, width = (
        size // block for size, block in zip(volume.shape, (z, y, x), strict=True)
    )
    whole = volume[: depth * z, : height * y, : width * x]
    blocks = whole.reshape(depth, z, height, y, width, x)
    return np.asarray(blocks.mean(axis=(1, 3, 5), dtype=np.float64))
