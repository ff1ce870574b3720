"""Gain, offset and read noise of a camera, from what it recorded: the photon transfer curve. Pure.

The variance of a linear camera is ``gain * (mean - offset) + (gain * read noise)**2`` (Janesick,
*Photon Transfer*, SPIE 2007; EMVA 1288, release 4.0, chapter 6). Variance is taken from the
difference of two frames, in which all that stays cancels: structure, uneven light, the pattern of
the sensor. Of the difference, only the finest detail counts, where optics pass next to nothing:
what moved slowly or bleached in between is not in it. So any two frames of one scene will do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from live_restore.errors import StackRefusedError
from live_restore.inference.image.finest_detail import (
    finest_detail,
    mean_around_detail,
    mean_under_detail,
    weighted_mean,
)
from live_restore.stack import Mask
from live_restore.trust.bootstrap import DRAWS, PARTS, Measured, interval
from live_restore.trust.darkness import ROUNDING, Darkness

_Floats = NDArray[np.float32]
_Doubles = NDArray[np.float64]

Pair = tuple[NDArray[np.generic], NDArray[np.generic]]
"""Two frames (Y, X) of one scene (ADU)."""

# Shares of the places below each class of brightness: few are bright in most samples.
_CLASS_RANKS = (0.1, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99)
_CLASSES = len(_CLASS_RANKS) + 1
_FEWEST_PLACES = 200
_FEWEST_PILED_UP = 20
# White noise has the same variance at any scale. Where there is more in the next coarser detail,
# something moved, or the frames were smoothed; less: they were sharpened. Stacks of the demo's
# cell, which sways, have up to 1.18 between two times, and their gain is right to 3 %.
_WHITE = (0.85, 1.25)
# A gain that is wrong by 10 % already breaks what is computed from it
# (docs/explanation/trust.md), so that one that may be by twice that is none.
_WORST_GAIN = 0.2
# The slope by itself may differ by so much, and by its error, from that through the dark stack.
_STRAIGHT = 0.1


@dataclass(frozen=True)
class CameraEstimate:
    """A camera as its frames tell; what they do not tell is ``None``.

    Parameters
    ----------
    gain_adu_per_e, offset_adu, read_noise_e
        As in the settings.
    noise_ratio
        Variance of the next coarser detail over that of the finest: 1 of white noise.
    pairs
        How many pairs of frames were compared.
    """

    gain_adu_per_e: Measured
    offset_adu: Measured | None
    read_noise_e: Measured | None
    noise_ratio: float
    pairs: int


def photon_transfer(
    pairs: Iterable[Pair], dark: Darkness | None = None, offset_adu: float | None = None
) -> CameraEstimate:
    """Return what pairs of frames of one scene each tell about the camera.

    Parameters
    ----------
    pairs
        Lit evenly or with structure, of one brightness or several; no frame in two of them.
    dark
        From the same camera and settings: offset and read noise are then taken from it, and the
        curve is held through it.
    offset_adu
        Where it is known without a dark stack; without either, only the gain can be told.

    Raises
    ------
    StackRefusedError
        What cannot be: saturated, filtered, moving, of one brightness only, or not linear.
    """
    count, points = 0, []
    for number, pair in enumerate(pairs):
        points.append(_points(pair, number, None if dark is None else ~dark.bad_pixels))
        count += 1
    table = np.concatenate(points) if points else np.zeros((0, 5))
    if table[:, _COUNT].sum() < _FEWEST_PLACES:
        raise StackRefusedError(
            "holds too few places to compare", None, "give larger frames, with less light"
        )
    if not table[:, _FINE] @ table[:, _COUNT] > 0:
        raise StackRefusedError(
            "has no noise: its frames are constant, or saturated",
            None,
            "record it with the camera, with less light",
        )
    ratio = float((table[:, _COARSE] @ table[:, _COUNT]) / (table[:, _FINE] @ table[:, _COUNT]))
    if not _WHITE[0] <= ratio <= _WHITE[1]:
        raise StackRefusedError(
            "has noise that is not independent from pixel to pixel (variance of coarse detail over "
            f"fine: {ratio:.2f})",
            None,
            "use frames as the camera gave them, not filtered or compressed, of a sample that does "
            "not move",
        )
    free = _lines(table, None)
    held = free if dark is None else _lines(table, dark)
    gain = interval(held[:, 0])
    if not (gain.low > 0 and gain.error < _WORST_GAIN):
        raise StackRefusedError(
            f"does not tell the gain ({gain.value:.3g}, 95 % between {gain.low:.3g} and "
            f"{gain.high:.3g}): its brightness hardly differs, or its frames are too few",
            None,
            "add a dark stack (--dark), or frames of other brightness",
        )
    if dark is not None:
        slope = interval(free[:, 0])
        brightness = float(np.average(table[:, _MEAN], weights=table[:, _COUNT]))
        if brightness <= dark.offset_adu.value:
            raise StackRefusedError(
                f"is darker ({brightness:.1f}) than the dark stack ({dark.offset_adu.value:.1f})",
                None,
                "record the dark stack with the shutter closed, or name the other one with --dark",
            )
        apart = abs(slope.value - gain.value)
        if apart > max(slope.high - slope.low, _STRAIGHT * gain.value):
            raise StackRefusedError(
                f"is not linear: its slope is {slope.value:.3g} by itself, {gain.value:.3g} "
                "through the dark stack",
                None,
                "record both with the same settings, far from saturation",
            )
        return CameraEstimate(gain, dark.offset_adu, _over(dark.noise_adu, gain), ratio, count)
    if offset_adu is None:
        return CameraEstimate(gain, None, None, ratio, count)
    variances = free[:, 1] + free[:, 0] * offset_adu - ROUNDING
    noise = interval(np.sqrt(np.maximum(variances, 0)) / free[:, 0])
    exact = Measured(offset_adu, offset_adu, offset_adu)
    return CameraEstimate(gain, exact, noise, ratio, count)


# Columns of a table of points: a class of brightness in a part of a pair.
_COUNT, _MEAN, _FINE, _COARSE, _GROUP = range(5)


def _points(pair: Pair, number: int, good: Mask | None) -> _Doubles:
    """Return a table of points of the curve; variances are those of one frame.

    Places are put into classes by what lies around them, whose noise has no say in the choice.
    """
    one, other = (frame.astype(np.float32) for frame in pair)
    if one.shape != other.shape or one.ndim != 2 or min(one.shape) < 5:
        raise StackRefusedError("has frames of different or too small size", None, "give others")
    usable = _not_cut_off(one, other)
    if good is not None and good.shape == one.shape:
        usable &= _around_all(good)
    difference, mean = one - other, (one + other) / np.float32(2)
    fine = np.asarray(finest_detail(difference)[1:-1, 1:-1] ** 2 / 2, np.float32)
    coarse = _at_twice_the_step(difference) ** 2 / 2
    inner, ring = mean_under_detail(mean)[1:-1, 1:-1], mean_around_detail(mean)
    edges = np.quantile(ring[usable], _CLASS_RANKS) if usable.any() else np.zeros(_CLASSES - 1)
    brightness = np.searchsorted(edges, ring)
    rows, columns = fine.shape
    part = (np.arange(rows) * PARTS // rows)[:, np.newaxis] * PARTS + (
        np.arange(columns) * PARTS // columns
    )
    where = (part * _CLASSES + brightness)[usable]
    size = PARTS * PARTS * _CLASSES
    counts = np.bincount(where, minlength=size).astype(np.float64)
    table = np.stack(
        [
            counts,
            *(
                np.bincount(where, values[usable], size) / np.maximum(counts, 1)
                for values in (inner, fine, coarse)
            ),
            number * PARTS * PARTS + np.arange(size) // _CLASSES,
        ],
        axis=1,
    )
    return np.asarray(table[counts > 0])


def _lines(table: _Doubles, dark: Darkness | None) -> _Doubles:
    """Return slope and value at 0 of the line through the points, and of redrawn ones: (1 + N, 2).

    With ``dark``, the line is held through that point. Points are weighted by what the line itself
    says of their errors (the relative error of a variance is that of its count), in three rounds.
    """
    count, mean, variance = table[:, _COUNT], table[:, _MEAN], table[:, _FINE]
    zero = float(mean.min()) if dark is None else dark.offset_adu.value
    floor = 0.0 if dark is None else dark.noise_adu.value**2 + ROUNDING
    x, y = mean - zero, variance - floor
    groups, group = np.unique(table[:, _GROUP], return_inverse=True)
    rng = np.random.default_rng(0)  # the same frames must give the same numbers
    drawn = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), DRAWS)
    drawn = np.concatenate([np.ones((1, len(groups)), drawn.dtype), drawn])
    weights = count / max(float(np.average(variance, weights=count)), 1e-30) ** 2
    for _ in range(3):
        moments = np.stack(
            [np.bincount(group, weights * each) for each in (np.ones_like(x), x, y, x * x, x * y)]
        )
        w, wx, wy, wxx, wxy = moments @ drawn.T
        if dark is None:
            slope = (w * wxy - wx * wy) / np.maximum(w * wxx - wx * wx, 1e-30)
            level = (wy - slope * wx) / w
        else:
            slope, level = wxy / np.maximum(wxx, 1e-30), np.zeros_like(wx)
        fitted = level[0] + slope[0] * x + floor
        weights = count / np.maximum(fitted, 0.1 * float(np.median(variance))) ** 2
    return np.stack([slope, level + floor - slope * zero], axis=1)


def _over(adu: Measured, gain: Measured) -> Measured:
    """Return a noise in electrons; both errors count."""
    value = adu.value / gain.value
    half = value * math.hypot(adu.error, gain.error)
    return Measured(value, max(value - half, 0.0), value + half)


def _not_cut_off(one: _Floats, other: _Floats) -> Mask:
    """Return the places (Y - 4, X - 4) without a voxel at a limit of the grey values.

    Raises
    ------
    StackRefusedError
        More than one in a hundred is.
    """
    good = np.ones(one.shape, bool)
    for frame in (one, other):
        for extreme in (float(frame.max()), float(frame.min())):
            at = frame == extreme
            inside = frame[~at]
            if np.count_nonzero(at) < _FEWEST_PILED_UP or not inside.size:
                continue
            beside = inside.max() if extreme > float(inside.max()) else inside.min()
            if np.count_nonzero(at) > 2 * np.count_nonzero(frame == beside):
                good &= ~at
    if good.mean() < 0.99:
        share = 100 * (1 - good.mean())
        raise StackRefusedError(
            f"is saturated, or cut off at its lowest grey value, in {share:.0f} % of its pixels",
            None,
            "record with less light, or a higher offset",
        )
    return _around_all(good)


def _around_all(good: Mask) -> Mask:
    """Return where all of 5 x 5 are good, (Y - 4, X - 4)."""
    bad = (~good).astype(np.float32)
    return np.asarray(weighted_mean(bad, (1, 1, 1, 1, 1)) == 0)


def _at_twice_the_step(image: _Floats) -> _Floats:
    """Return what :func:`finest_detail` does, of every second pixel: (Y - 4, X - 4)."""
    second = image[:-4] + image[4:] - 2 * image[2:-2]
    return np.asarray((second[:, :-4] + second[:, 4:] - 2 * second[:, 2:-2]) / 6)
