"""What the network took away, raw minus restored: is it noise? Where it is more, some goes back.

A network that never saw such texture takes it for noise, and nobody who looks at the result can
tell. The camera can: its noise at every brightness is known, and what was taken away may not be
more than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from live_restore.inference.image.finest_detail import finest_detail
from live_restore.inference.image.windows import Grid
from live_restore.settings.camera import CameraSettings
from live_restore.stack import Volume

_Floats = NDArray[np.float32]
_Doubles = NDArray[np.float64]
_Mask = NDArray[np.bool_]

# Standard errors above noise alone: from the first on something goes back, from the second on all
# that pays. Of windows that hold nothing but noise, one in forty gets a hundredth or so.
_SIGNIFICANT = (2.0, 4.0)
# Squares above that of 4 standard deviations count as that, since flickering pixels and cosmic rays
# are no structure; unless more of a window's voxels have such squares than these can be.
_MOST_SQUARE = 16.0
_MOST_FLICKER = 0.02
# Pixels that stand out by so many standard deviations in the mean of all planes may be defects of
# the camera.
_DEFECT = 3.0
# Of the finest line that optics make, eight neighbours together have 2.5 times as much as itself.
_DEFECT_NEIGHBOURS = 1.5
# What a network makes of a defect lies around it.
_AROUND_DEFECT = np.ones((5, 5), bool)
_FEWEST_PLANES_FOR_DEFECTS = 3
_EIGHT_NEIGHBOURS = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.float32)
# No more than this is needed of a square, and float32 keeps what else is in the sum.
_LARGEST_SQUARE = 1e6
# Details beyond so many standard deviations of noise are structure's.
_NOISE_DETAIL = 3.0
# Share of the raw stack in a window from which on it counts as given back, if so many windows have
# it, which overlap: one alone may be chance.
_WORTH_REPORTING = 0.1
_MORE_THAN_CHANCE = 4


@dataclass(frozen=True)
class GivenBack:
    """How much of what the network took away went back into a result.

    Parameters
    ----------
    share
        Of the stack, the places that got a tenth or more of it back, 0 to 1.
    weight
        Mean over those places of what went back, 0 (nothing) to 1 (the raw stack).
    """

    share: float
    weight: float


def give_back(raw: Volume, restored: _Floats, camera: CameraSettings) -> GivenBack:
    """Add to ``restored`` what a network took away beyond noise, as far as that pays.

    The best mixture ``restored + w * (raw - restored)`` has, by least squares, the weight
    ``w = 1 - N (1 - a) / R`` in every window: ``R`` is the mean square of what was taken away,
    ``N`` the variance of the camera's noise, and ``a`` the share of the noise that the network let
    through (the divergence in Stein's unbiased risk estimate, Annals of Statistics 9, 1135 (1981)).
    That share is read from the finest detail of both stacks. Networks let more through of coarser
    noise, so that rather too little is given back. Where ``R`` is not significantly more than
    ``N``, nothing is changed. Noise is given back with the structure; nothing is invented.

    Windows hold some 1024 voxels, 4 x 16 x 16 where there are as many planes, and overlap by half;
    weights are interpolated between their centres.

    Parameters
    ----------
    raw
        (C, Z, Y, X) in grey values of the camera (ADU), any real dtype. Channels are compared each
        for itself.
    restored
        (C, Z, Y, X) float32 (ADU), not rounded; changed in place.
    camera
        Its noise: ``gain * (grey value - offset) + (gain * read noise)**2``.
    """
    # Values that are not finite are refused by whoever finishes the result.
    with np.errstate(invalid="ignore", over="ignore"):
        each = [_give_back_channel(*pair, camera) for pair in zip(raw, restored, strict=True)]
    weights = np.concatenate([channel.weights for channel in each])
    compared = sum(channel.compared for channel in each)
    mean = float(weights.mean()) if weights.size else 0.0
    return GivenBack(weights.size / max(compared, 1), mean)


class _ChannelGivenBack(NamedTuple):
    """Weights of the windows that count as given back, and how many windows were compared."""

    weights: _Doubles
    compared: int


def _give_back_channel(raw: Volume, restored: _Floats, camera: CameraSettings) -> _ChannelGivenBack:
    """Give back to (Z, Y, X)."""
    grid = Grid.of(raw.shape)
    noise = _Noise.of(camera, raw)
    sums, voxels, defects = _cell_sums(raw, restored, noise, grid)
    capped, whole, flicker, signal = (grid.windows(values) for values in sums)
    counts = np.maximum(grid.windows(voxels), 1)
    ratio = np.where(flicker > _MOST_FLICKER * counts, whole, capped) / counts
    electrons = signal / counts / camera.gain_adu_per_e
    # Of a Poisson variable and Gaussian noise.
    excess_kurtosis = electrons / np.maximum(electrons + camera.read_noise_e**2, 1e-3) ** 2
    error = np.sqrt((2 + excess_kurtosis) / counts)
    low, high = _SIGNIFICANT
    sure = np.nan_to_num(np.clip(((ratio - 1) / error - low) / (high - low), 0, 1))
    if not sure.any():
        return _ChannelGivenBack(np.zeros(0), sure.size)
    some, own, common = (
        grid.windows(values) for values in _detail_sums(raw, restored, noise, grid, sure)
    )
    passed = np.clip(common / np.maximum(own, np.finfo(np.float64).tiny), 0, 1)
    # Padding and saturated places have no noise, and show nothing about it.
    blank = (some == 0) & (sure > 0) & (min(raw.shape[1:]) > 2)
    weights = np.where(blank, 0, sure * (1 - (1 - passed) / np.maximum(ratio, 1)))
    _mix(raw, restored, weights.astype(np.float32), grid, defects)
    counted = weights[weights >= _WORTH_REPORTING]
    if counted.size < min(_MORE_THAN_CHANCE, weights.size):
        counted = counted[:0]
    return _ChannelGivenBack(counted, int(weights.size - np.count_nonzero(blank)))


@dataclass(frozen=True)
class _Noise:
    """The camera's noise (ADU)."""

    gain: np.float32
    offset: np.float32
    dark_variance: np.float32

    @classmethod
    def of(cls, camera: CameraSettings, raw: Volume) -> _Noise:
        dark = (camera.gain_adu_per_e * camera.read_noise_e) ** 2
        # Counts may also come as float32.
        if raw.dtype.kind in "iu" or np.array_equal(np.rint(raw[0]), raw[0]):
            dark += 1 / 12  # of rounding
        # A float32 stack may have no noise at all where it is dark.
        return cls(
            np.float32(camera.gain_adu_per_e),
            np.float32(camera.offset_adu),
            np.float32(max(dark, 1e-6)),
        )

    def signal(self, restored: _Floats) -> _Floats:
        return np.asarray(np.maximum(restored - self.offset, 0))

    def deviation(self, signal: _Floats) -> _Floats:
        """Return the standard deviation of the noise."""
        return np.asarray(np.sqrt(self.gain * signal + self.dark_variance))


def _cell_sums(
    raw: Volume, restored: _Floats, noise: _Noise, grid: Grid
) -> tuple[_Doubles, _Doubles, _Mask]:
    """Return sums over cells of the squares that were taken away, over the noise's variance.

    Returns
    -------
    numpy.ndarray
        (4, cells in Z, Y, X): squares up to ``_MOST_SQUARE``, whole squares, how many are above
        that, and the signal (ADU).
    numpy.ndarray
        Voxels of each cell. Defective pixels and what lies around them are in none of these sums.
    numpy.ndarray
        (Y, X) bool: the defective pixels.
    """
    sums = np.zeros((4, *grid.shape))
    standing_out = np.zeros(raw.shape[1:], np.float32)
    for piece in grid.pieces():
        parts, taken = _compared(raw[piece.voxels], restored[piece.voxels], noise)
        for into, values in zip(sums, parts, strict=True):
            into[piece.cells] = piece.sums(values)
        limit = np.float32(_DEFECT + 1)  # so that no single plane decides
        standing_out[piece.voxels[1]] += np.clip(taken, -limit, limit).sum(axis=0)
    voxels = grid.voxels()
    defects = np.zeros(raw.shape[1:], bool)
    if len(raw) >= _FEWEST_PLANES_FOR_DEFECTS:
        defects, around = _defects(standing_out / np.float32(len(raw)))
        y, x = np.nonzero(around)
        cells = grid.cells_of(0)[:, np.newaxis], grid.cells_of(1)[y], grid.cells_of(2)[x]
        parts, _ = _compared(raw[:, y, x], restored[:, y, x], noise)
        for out_of, values in zip(sums, parts, strict=True):
            np.subtract.at(out_of, cells, values)
        np.subtract.at(voxels, cells, 1)
    return sums, voxels, defects


def _compared(
    raw: Volume, restored: _Floats, noise: _Noise
) -> tuple[tuple[_Floats, _Floats, _Floats, _Floats], _Floats]:
    """Return what is summed (see :func:`_cell_sums`), and what was taken away over its noise."""
    signal = noise.signal(restored)
    taken = (raw.astype(np.float32) - restored) / noise.deviation(signal)
    squares = np.minimum(taken * taken, np.float32(_LARGEST_SQUARE))
    capped = np.minimum(squares, np.float32(_MOST_SQUARE))
    return (capped, squares, (squares > capped).astype(np.float32), signal), taken


def _defects(standing_out: _Floats) -> tuple[_Mask, _Mask]:
    """Return where the camera is defective, and around, given (Y, X) of the mean of all planes.

    Defects are single pixels, whose neighbours together hardly stand out farther (a network smears
    them, so that these tend to the other side), and rows and columns most of which stands out, with
    none beside them. Optics make nothing of the kind.
    """
    far = np.abs(standing_out) > _DEFECT
    if not far.any():
        return far, far
    # Here, since programs without a camera need not wait for it when they start.
    from scipy import ndimage

    neighbours = ndimage.convolve(standing_out, _EIGHT_NEIGHBOURS, mode="constant")
    single = neighbours * np.sign(standing_out) < _DEFECT_NEIGHBOURS * np.abs(standing_out)
    rows, columns = far.mean(1) > 0.5, far.mean(0) > 0.5
    defects = far & (single | _alone(rows)[:, np.newaxis] | _alone(columns))
    return defects, ndimage.binary_dilation(defects, _AROUND_DEFECT)


def _alone(lines: _Mask) -> _Mask:
    beside = np.pad(lines, 1)
    return np.asarray(lines & ~beside[:-2] & ~beside[2:])


def _detail_sums(
    raw: Volume, restored: _Floats, noise: _Noise, grid: Grid, asked: _Doubles
) -> _Doubles:
    """Return sums over the cells of the windows that ``asked`` is above 0 for.

    Returns
    -------
    numpy.ndarray
        (3, cells in Z, Y, X), of the finest detail of the raw stack over its noise: voxels where
        there is any; its square, where it may be noise; and there its product with the restored
        stack's.
    """
    sums = np.zeros((3, *grid.shape))
    if min(raw.shape[1:]) < 3:
        return sums
    for piece in grid.pieces():
        if not asked[piece.windows].any():
            continue
        planes, rows = piece.voxels
        # With a row on either side, where there is one.
        wide = slice(max(rows.start - 1, 0), min(rows.stop + 1, raw.shape[1]))
        values, result = raw[planes, wide].astype(np.float32), restored[planes, wide]
        before, after = np.zeros_like(values), np.zeros_like(values)
        before[:, 1:-1, 1:-1] = finest_detail(values)
        after[:, 1:-1, 1:-1] = finest_detail(result)
        inner = slice(rows.start - wide.start, rows.stop - wide.start)
        deviation = noise.deviation(noise.signal(result[:, inner]))
        before, after = before[:, inner] / deviation, after[:, inner] / deviation
        sums[0][piece.cells] = piece.sums((before != 0).astype(np.float32))
        before[np.abs(before) > _NOISE_DETAIL] = 0
        sums[1][piece.cells] = piece.sums(before * before)
        sums[2][piece.cells] = piece.sums(before * after)
    return sums


def _mix(raw: Volume, restored: _Floats, weights: _Floats, grid: Grid, defects: _Mask) -> None:
    """Mix the raw stack into the restored one, in place, but for defective pixels."""
    kept = restored[:, defects]
    for piece in grid.pieces():
        if not weights[piece.windows].any():
            continue
        here = grid.between_centres(weights, piece)
        part = restored[piece.voxels]
        part *= 1 - here
        part += here * raw[piece.voxels].astype(np.float32)
    restored[:, defects] = kept
