"""What a network is adapted with: of a noisy stack one share of the light, and the rest as truth.

What the network is to return for the kept share is what the rest shows, on average: the two are
independent exposures, so that the mean squared error to the rest is least where that to the truth
is (Lehtinen et al., ICML 2018). Flat stacks of nothing but noise, whose truth is known, are mixed
in: without them a network may learn that there is structure everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from live_restore.errors import StackRefusedError
from live_restore.inference.image.intensity import IntensityScale, scale_from_percentiles
from live_restore.inference.image.thinning import electrons, read_variance_e, thinned
from live_restore.settings.camera import CameraSettings
from live_restore.stack import Volume
from live_restore_export.training.batches import Batch

_Floats = NDArray[np.float32]

SHARES = (0.25, 0.5, 0.7, 0.85)
"""Of the light, that are given to the network: the less is left out, the more noise has the truth,
and the more is left out, the darker is what is learnt from."""
FLAT_SHARE = 0.2
"""Of the examples, that hold nothing but noise; with half as many, `fast` left 3.9 % of it after
100 steps, and 3.1 % before."""
# Voxels of a whole stack that tell a scale: 130 are above its percentile of 99.9.
_SCALE_VOXELS = 2**17


@dataclass(frozen=True)
class NoisyStack:
    """A noisy stack, and what the network to begin with makes of it.

    Parameters
    ----------
    raw
        (Z, Y, X) in ADU.
    expected
        The same restored, float32 in ADU.
    camera
        That recorded it.
    percentiles
        Of a stack, that are 0 and 1 to the network.
    """

    raw: Volume
    expected: _Floats
    camera: CameraSettings
    percentiles: tuple[float, float]
    _scales: dict[float, IntensityScale] = field(default_factory=dict)

    def scale(self, share: float) -> IntensityScale:
        """Return the intensity scale that this stack has with a share of its light.

        Raises
        ------
        StackRefusedError
            So little light has no contrast.
        """
        if share not in self._scales:
            step = max(1, self.raw.size // _SCALE_VOXELS)
            sample, expected = self.raw.reshape(-1)[::step], self.expected.reshape(-1)[::step]
            rng = np.random.default_rng(int(share * 1000))
            dealt = thinned(sample, expected, share, self.camera, rng)
            found = scale_from_percentiles(dealt.raw, *self.percentiles)
            if not found.high_adu > found.low_adu:
                raise StackRefusedError(f"has no contrast with {share:.0%} of its light")
            self._scales[share] = found
        return self._scales[share]


def draw_batch(
    stacks: Sequence[NoisyStack],
    patch_zyx: tuple[int, int, int],
    count: int,
    rng: np.random.Generator,
) -> tuple[Batch, NDArray[np.float32]]:
    """Return examples in network units, and the mean variance of the noise in each one's truth.

    Returns
    -------
    batch
        (N, 1, Z, Y, X) float32: the kept share, and the rest at the kept share's brightness.
    variance
        (N,): what a squared error has to be measured by.
    """
    drawn = [
        _flat_example(stacks, patch_zyx, rng)
        if rng.random() < FLAT_SHARE
        else _example(stacks, patch_zyx, rng)
        for _ in range(count)
    ]
    kept, rest, variances = zip(*drawn, strict=True)
    return Batch(np.stack(kept)[:, None], np.stack(rest)[:, None]), np.array(variances, np.float32)


def _example(
    stacks: Sequence[NoisyStack], patch_zyx: tuple[int, int, int], rng: np.random.Generator
) -> tuple[_Floats, _Floats, float]:
    stack = stacks[int(rng.integers(len(stacks)))]
    share = SHARES[int(rng.integers(len(SHARES)))]
    camera, scale = stack.camera, stack.scale(share)
    starts = [
        int(rng.integers(size - patch + 1))
        for size, patch in zip(stack.raw.shape, patch_zyx, strict=True)
    ]
    window = tuple(slice(s, s + p) for s, p in zip(starts, patch_zyx, strict=True))
    dealt = thinned(stack.raw[window], stack.expected[window], share, camera, rng)
    rest = dealt.left_out_e * np.float32(share / (1 - share) * camera.gain_adu_per_e)
    rest += np.float32(camera.offset_adu)
    light = np.maximum(electrons(stack.expected[window], camera), 0)
    noise_e2 = (float(light.mean()) + read_variance_e(camera)) * share**2 / (1 - share)
    span_e = (scale.high_adu - scale.low_adu) / camera.gain_adu_per_e
    turned = _turned(scale.normalise(dealt.raw), scale.normalise(rest), rng)
    return *turned, noise_e2 / span_e**2


def _flat_example(
    stacks: Sequence[NoisyStack], patch_zyx: tuple[int, int, int], rng: np.random.Generator
) -> tuple[_Floats, _Floats, float]:
    """Return noise on an even brightness of the run, scaled by itself as a whole stack would be."""
    stack = stacks[int(rng.integers(len(stacks)))]
    camera = stack.camera
    level_e = max(float(electrons(rng.choice(stack.expected.reshape(-1), 1), camera)[0]), 0.0)
    level_e *= float(rng.uniform(0.1, 1))
    planes = max(patch_zyx[0], _SCALE_VOXELS // (patch_zyx[1] * patch_zyx[2]))
    shape = (planes, *patch_zyx[1:])
    raw = even_exposure(level_e, shape, camera, rng)
    scale = scale_from_percentiles(raw, *stack.percentiles)
    if not scale.high_adu > scale.low_adu:  # darkness, in one grey value
        return _example(stacks, patch_zyx, rng)
    truth = np.full(patch_zyx, level_e * camera.gain_adu_per_e + camera.offset_adu, np.float32)
    span_e = (scale.high_adu - scale.low_adu) / camera.gain_adu_per_e
    noise_e2 = level_e + read_variance_e(camera)
    return scale.normalise(raw[: patch_zyx[0]]), scale.normalise(truth), noise_e2 / span_e**2


def even_exposure(
    level_e: float, shape: tuple[int, ...], camera: CameraSettings, rng: np.random.Generator
) -> _Floats:
    """Return what a camera records of an even brightness: whole grey values (ADU), as float32."""
    light = rng.poisson(level_e, shape) + rng.standard_normal(shape) * camera.read_noise_e
    return np.rint(light * camera.gain_adu_per_e + camera.offset_adu).astype(np.float32)


def _turned(kept: _Floats, rest: _Floats, rng: np.random.Generator) -> tuple[_Floats, _Floats]:
    """Flip both alike along every axis by chance, and turn them about Z by quarter turns."""
    for axis in range(3):
        if rng.random() < 0.5:
            kept, rest = np.flip(kept, axis), np.flip(rest, axis)
    turns = int(rng.integers(4))
    return (
        np.ascontiguousarray(np.rot90(kept, turns, (1, 2))),
        np.ascontiguousarray(np.rot90(rest, turns, (1, 2))),
    )
