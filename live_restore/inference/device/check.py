"""Known answers: a tile of any size whose right result follows from that of a small one.

Runtimes have shipped 3-D convolutions that are silently wrong at large shapes only, so a device is
checked at the size of the tiles that it will get; and there the trusted path, a CPU in float32,
would take minutes. The way out: an input that repeats itself. Convolutions commute with shifts,
and channel attention sees the same means in one period as in twenty, so the network's result
repeats itself too. A small tile of two to four periods per axis, computed on the trusted path,
gives every voxel of the large one, borders and corners included.

What is lost: the means near a border differ, and the border is a larger part of the small tile.
Measured with the bundled models, worst block (relative rms): `fast` 0.5 % for tiles of 16 x 160 x
140 and 1.3 % for 32 x 512 x 512, `standard` 0.015 %.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from live_restore.inference.backends.backend import Variant
from live_restore.inference.backends.session import (
    Counts,
    CountsSession,
    Device,
    Floats,
    Scale,
    Session,
    Shape5,
)
from live_restore.inference.device.cache import DeviceCache
from live_restore.inference.device.opening import Opener
from live_restore.inference.device.precision import ERROR_BOUND
from live_restore.inference.device.refusals import WrongNumbersError
from live_restore.inference.model.card import ModelCard

# Of the tile that every device is measured and first checked with.
_SMALL_ZYX = (16, 64, 64)
_PERIOD_ZYX = (8, 32, 32)
_WAVES = 8
# Relative to the brightest structure: about 30 photo-electrons at the peak, an everyday stack.
_NOISE = 0.15

# Largest relative rms difference between a device and the known answer, in any block of the tile.
# A block is judged by itself because faults were seen in parts of large tiles, where the mean over
# millions of right voxels would hide them. Above what the method loses (see above) and what 24-bit
# or 8-bit significands cost; far below what a wrong convolution does, which is of the order of 1.
TOLERANCE_FP32 = 0.03
TOLERANCE_REDUCED = 0.05
# On the small tile float32 has about 1e-6, TF32 3e-4. Where no kernel without tensor cores exists,
# ONNX Runtime takes TF32 unasked.
FLOAT32_ERROR = 1e-4


def small_shape(card: ModelCard) -> Shape5:
    """Return the shape of the tile that every device is measured and first checked with."""
    return tile_shape(card, _SMALL_ZYX)


def tile_shape(card: ModelCard, least_zyx: tuple[int, int, int]) -> Shape5:
    """Return the shape of the smallest tile of at least these sizes that the model takes."""
    z, y, x = (
        -(-size // multiple) * multiple
        for size, multiple in zip(least_zyx, card.shape_multiple_zyx, strict=True)
    )
    return (1, card.input_channels, z, y, x)


def period_zyx(card: ModelCard) -> tuple[int, int, int]:
    """Return the period of the known tile (voxels): of a size that the model takes."""
    z, y, x = (math.lcm(p, m) for p, m in zip(_PERIOD_ZYX, card.shape_multiple_zyx, strict=True))
    return z, y, x


def trusted_shape(shape: Shape5, card: ModelCard) -> Shape5:
    """Return the shape of the small tile for a tile of ``shape`` (N is 1).

    Whole periods are taken out of the middle of what has more than four.

    Examples
    --------
    >>> trusted_shape((1, 1, 16, 350, 64), ModelCard(name="x"))
    (1, 1, 16, 126, 64)
    """
    z, y, x = (
        size if size <= 4 * p else 3 * p + size % p
        for size, p in zip(shape[2:], period_zyx(card), strict=True)
    )
    return (1, shape[1], z, y, x)


def known_tile(shape: Shape5, card: ModelCard) -> Floats:
    """Return a tile in network units, smooth structures under noise, repeated along Z, Y and X."""
    period = period_zyx(card)
    rng = np.random.default_rng(20261124)
    grid = np.meshgrid(*(np.arange(p) / p for p in period), indexing="ij")
    texture = np.zeros((shape[1], *period))
    for channel in texture:
        for _ in range(_WAVES):
            cycles = (rng.integers(0, 2), *rng.integers(-4, 5, 2))
            phase = sum(k * g for k, g in zip(cycles, grid, strict=True)) + rng.random()
            channel += np.cos(2 * np.pi * phase)
        channel -= channel.min()
        channel /= channel.max()
        channel **= 2
        # Photon noise grows with the root of the light, above a floor that the camera adds.
        channel += _NOISE * rng.standard_normal(period) * np.sqrt(channel + 0.05)
    index = [np.arange(size) % p for size, p in zip(shape[2:], period, strict=True)]
    tile = texture.astype(np.float32)[np.ix_(np.arange(shape[1]), *index)]
    return np.broadcast_to(tile, shape).copy()


def counts_of(tile: Floats) -> tuple[Counts, Scale]:
    """Return a tile in grey values of 16 bits, and their scale.

    The tile takes half of them, with as much room below and above. Rounding is 1 % of 1 %.
    """
    lowest, span = tile.min(), np.ptp(tile)
    factor = np.float32(span / 2**15)
    low = np.float32(np.rint(2**14 - lowest / factor))
    return np.rint(tile / factor + low).astype(np.uint16), (low, factor, np.float32(1 / factor))


def worst_error(found: Floats, trusted: Floats, card: ModelCard) -> float:
    """Return the largest error of a block of ``found``, given the small tile's right result.

    Parameters
    ----------
    found
        (1, C, Z, Y, X), what the device made of ``known_tile(found.shape, card)``.
    trusted
        The right result for :func:`trusted_shape`.
    card
        Of the model.

    Returns
    -------
    float
        Root mean square of the difference over the standard deviation of ``trusted``; of the worst
        block of one period. Infinite where ``found`` is not finite.
    """
    period = period_zyx(card)
    index_z, index_y, index_x = (
        _counterpart(size, small, p)
        for size, small, p in zip(found.shape[2:], trusted.shape[2:], period, strict=True)
    )
    starts = [np.arange(0, size, p) for size, p in zip(found.shape[2:], period, strict=True)]
    sums = np.zeros((found.shape[1], found.shape[2], len(starts[1]), len(starts[2])))
    with np.errstate(over="ignore", invalid="ignore"):
        for z, small_z in enumerate(index_z):  # by planes: no second copy of a large volume
            expected = trusted[0, :, small_z][:, index_y][:, :, index_x]
            squares = np.square(found[0, :, z] - expected, dtype=np.float64)
            sums[:, z] = np.add.reduceat(
                np.add.reduceat(squares, starts[1], axis=1), starts[2], axis=2
            )
        blocks = np.add.reduceat(sums, starts[0], axis=1)
    depths, heights, widths = (
        np.diff(np.append(s, size)) for s, size in zip(starts, found.shape[2:], strict=True)
    )
    voxels = depths[:, None, None] * heights[:, None] * widths
    worst = float(np.sqrt(np.max(blocks / voxels)))
    return worst / float(trusted.std()) if math.isfinite(worst) else math.inf


def relative_rms(found: Floats, trusted: Floats) -> float:
    """Return the rms difference over the standard deviation of ``trusted``; never NaN."""
    error = float(np.sqrt(np.mean(np.square(found - trusted, dtype=np.float64))))
    return error / float(trusted.std()) if math.isfinite(error) else math.inf


def _counterpart(size: int, small: int, period: int) -> NDArray[np.intp]:
    """Return, for each voxel along an axis of the large tile, its like in the small one.

    Both ends stand for themselves; in between, the second period of the small tile repeats.
    """
    index = np.arange(size)
    if size == small:
        return index
    end = size - (small - 2 * period)
    between = period + index % period
    return np.where(
        index < 2 * period, index, np.where(index >= end, index - (size - small), between)
    )


class Checker:
    """Opens variants, and lets none pass whose numbers are wrong.

    With ``exact``, TF32 under the name of float32 is wrong, too.
    """

    def __init__(self, opener: Opener, cache: DeviceCache, *, exact: bool = False) -> None:
        self._opener = opener
        self._cache = cache
        self._exact = exact
        self._approved: dict[Variant, float] = {}

    def forget(self, variant: Variant) -> None:
        """Ask a variant for the small tile again when it is opened next."""
        self._approved.pop(variant, None)

    def is_approved(self, variant: Variant) -> bool:
        """Return whether a variant's numbers were right on the small tile."""
        return variant in self._approved

    def error_of(self, variant: Variant) -> float:
        """Return a variant's relative rms error on the small tile; 0: it was not asked."""
        return self._approved.get(variant, 0.0)

    def precision_of(self, variant: Variant, device: Device) -> str:
        """Return what a device computes in, by its error: TF32 may go by the name of float32."""
        named = device.precision
        if device.on_gpu and named == "fp32" and self.error_of(variant) > FLOAT32_ERROR:
            return "tf32"
        return named

    def checked(self, variant: Variant, shape: Shape5) -> Session:
        """Return a session whose numbers are right on a small tile and at full size.

        Raises
        ------
        WrongNumbersError
            They are not.
        ModelError, DeviceError, InferenceError
            It cannot be opened, or fails.
        """
        if self._opener.is_trusted(variant):
            return self._opener.open(variant, shape)
        card, full = self._opener.card, variant.precision == "fp32"
        small = small_shape(card)
        session = None
        if variant not in self._approved:
            session = self._opener.open(variant, small)
            found = session.run(known_tile(small, card))
            error = relative_rms(found, self._answer(small))
            exact = self._exact and not variant.backend.on_cpu
            bound = (FLOAT32_ERROR if exact else TOLERANCE_FP32) if full else ERROR_BOUND
            _require(error, bound, small)
            self._approved[variant] = error
        if shape != small or session is None:
            del session  # two at once might not fit into the memory of a GPU
            session = self._opener.open(variant, shape)
        if shape != small:
            found = session.run(known_tile(shape, card))
            error = worst_error(found, self._answer(trusted_shape(shape, card)), card)
            _require(error, TOLERANCE_FP32 if full else TOLERANCE_REDUCED, shape)
        return session

    def checked_counts(self, variant: Variant, shape: Shape5) -> CountsSession:
        """Return a session for tiles of grey values whose numbers are right at full size.

        Raises
        ------
        WrongNumbersError
            They are not; or, as :meth:`checked`, those of the other session are not.
        ModelError, DeviceError, InferenceError
            It cannot be opened, or fails.
        """
        card, full = self._opener.card, variant.precision == "fp32"
        if variant not in self._approved and not self._opener.is_trusted(variant):
            self.checked(variant, small_shape(card))
        session = self._opener.open_counts(variant, shape)
        tile, scale = counts_of(known_tile(shape, card))
        found = session.run_counts(tile, scale)
        low, factor, _ = scale
        error = worst_error(
            (found.volume - low) * factor, self._answer(trusted_shape(shape, card)), card
        )
        if found.not_finite or found.clipped_voxels:
            error = math.inf  # there is room for all that a right network makes of it
        _require(error, TOLERANCE_FP32 if full else TOLERANCE_REDUCED, shape)
        return session

    def _answer(self, shape: Shape5) -> Floats:
        """Return the right result for the known tile of ``shape``, from disk where it is kept."""
        tile = known_tile(shape, self._opener.card)
        # Named after the question, too: a later version may ask another one.
        asked = hashlib.sha256(tile.tobytes()).hexdigest()
        name = f"{self._opener.source.digest[:16]}-{asked[:16]}"
        kept = self._cache.array(name, shape)
        if kept is not None:
            return kept
        answer = self._opener.trusted.run(tile)
        self._cache.keep_array(name, answer)
        return answer


def _require(error: float, bound: float, shape: Shape5) -> None:
    if not error <= bound:
        raise WrongNumbersError(
            f"it computes wrong numbers (error {error:.2g} on a tile of "
            f"{' x '.join(map(str, shape[2:]))}, allowed {bound:g})"
        )
