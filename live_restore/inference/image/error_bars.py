"""How far may each voxel of a restored stack be from the truth? A standard error. Pure.

The error of a network, over the noise of the camera at that brightness, depends mostly on three
things that anybody can see: how bright it is there, how much structure there is, and how much more
was taken away than noise can be. For each combination, the factor is known that held 90 of 100
errors on simulated stacks whose truth is known (conformal prediction with scaled residuals, class
by class: Lei et al., JASA 113, 1094 (2018); Vovk, Machine Learning 92, 349 (2013)). A stack as a
whole is then held to its own error, which Stein's estimate tells (``gain.py``).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from live_restore.inference.image.defects import Defects
from live_restore.inference.image.gain import (
    MOST_GIVEN_BACK,
    Gain,
    part_to_look_at,
    variance_of,
)
from live_restore.inference.image.residual import GivenBack
from live_restore.settings.camera import CameraSettings
from live_restore.stack import Volume

_Floats = NDArray[np.float32]
_Doubles = NDArray[np.float64]

COVERED = 0.9
"""Share of the errors that factors hold."""
STANDARD_ERRORS = 1.645
"""Of a normal distribution, so many standard errors hold that share."""
# Neighbourhoods (Z, Y, X): of structure the nearest, of noise as many as tell its variance to 4 %.
_NEAREST = (3, 3, 3)
_WINDOW = (5, 15, 15)
# Planes and rows that are gone through at once, so that memory stays small.
_BLOCK = (16, 128)
_STEPS = 48
# A cosmic ray beside a voxel says nothing about what the network took away.
_MOST_SQUARE = 16.0


@dataclass(frozen=True)
class ErrorBars:
    """The standard error of every voxel of a result.

    Parameters
    ----------
    standard_error
        (Z, Y, X) float32 (ADU), NaN where it is not known; ``None`` where nothing of it is.
    unknown_because
        Why nothing is known; empty where something is.
    median_adu, most_adu
        Median and 99.9th percentile of what is known.
    tested
        How well such bars held the truth where it is known.
    """

    standard_error: _Floats | None
    unknown_because: str = ""
    median_adu: float = math.nan
    most_adu: float = math.nan
    tested: str = ""

    @classmethod
    def of(cls, standard_error: _Floats, tested: str = "") -> ErrorBars:
        """Return known error bars."""
        median, most = np.nanpercentile(standard_error, (50.0, 99.9))
        return cls(standard_error, median_adu=float(median), most_adu=float(most), tested=tested)


@dataclass(frozen=True)
class Features:
    """What the size of an error depends on; each (Z, Y, X) float32.

    Parameters
    ----------
    noise
        Standard deviation of the camera's noise (ADU).
    signal
        Restored brightness above the camera's offset, over ``noise``.
    structure
        Standard deviation of the restored stack among the nearest voxels, over ``noise``.
    taken
        Mean square of what was taken away, in a window, over ``noise`` squared.
    """

    noise: _Floats
    signal: _Floats
    structure: _Floats
    taken: _Floats


def features_of(raw: Volume, restored: _Floats, camera: CameraSettings) -> Features:
    """Return what the size of the error depends on.

    Parameters
    ----------
    raw
        (Z, Y, X) as it was recorded (ADU), without defects.
    restored
        What became of it (ADU), not rounded.
    camera
        That recorded it.
    """
    # Here, since programs without error bars need not wait for it when they start.
    from scipy.ndimage import uniform_filter

    variance = variance_of(camera, restored, rounded=raw.dtype.kind in "iu")
    np.maximum(variance, np.float32(1e-6), out=variance)
    above = restored - np.float32(camera.offset_adu)
    mean = uniform_filter(above, _NEAREST)
    spread = uniform_filter(above * above, _NEAREST) - mean * mean
    noise = np.sqrt(variance)
    taken = (raw.astype(np.float32) - restored) ** 2 / variance
    return Features(
        noise=noise,
        signal=np.maximum(above, 0) / noise,
        structure=np.sqrt(np.maximum(spread, 0)) / noise,
        taken=uniform_filter(np.minimum(taken, np.float32(_MOST_SQUARE)), _WINDOW),
    )


@dataclass(frozen=True)
class ErrorBarTable:
    """Factors that hold :data:`COVERED` of the errors of one model, in noise of the camera.

    Parameters
    ----------
    signal, structure, taken
        Where the factors were measured, ascending, above 0. Between two, the logarithm of a factor
        follows that of the place; beyond the last, it is that of the last.
    factors
        By those, (signal, structure, taken).
    scale
        By ``signal``: what makes bars hold that share once they agree with the gain of their stack,
        found with stacks that had no part in the factors.
    tested
        Which share of the truth they held on stacks of kinds that had no part in any of it.
    """

    signal: _Doubles
    structure: _Doubles
    taken: _Doubles
    factors: _Doubles
    scale: _Doubles
    tested: str = ""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ErrorBarTable:
        """Return a table of the package's data."""
        names = ("signal", "structure", "taken", "factors", "scale")
        signal, structure, taken, factors, scale = (
            np.asarray(value[name], np.float64) for name in names
        )
        return cls(signal, structure, taken, factors, scale, str(value.get("tested", "")))

    @cached_property
    def unscaled(self) -> ErrorBarTable:
        """This table before its scale was found."""
        return replace(self, scale=np.ones(len(self.signal)))

    @cached_property
    def _fine(self) -> _Floats:
        """Factors at so many steps along each axis, which spares interpolating voxel by voxel."""
        found = np.log(self.factors * self.scale[:, np.newaxis, np.newaxis])
        for known in (self.signal, self.structure, self.taken):
            at = np.linspace(math.log(known[0]), math.log(known[-1]), _STEPS)
            rows = [np.interp(at, np.log(known), row) for row in found.reshape(len(known), -1).T]
            # The axis goes to the end; after all three they are in order again.
            found = np.asarray(rows).reshape(*found.shape[1:], _STEPS)
        return np.exp(found).astype(np.float32)

    def half_widths(self, features: Features) -> _Floats:
        """Return the half widths (ADU) of bars, but for the gain of their stack."""
        where = np.zeros(features.noise.shape, np.int32)
        for found, known in (
            (features.signal, self.signal),
            (features.structure, self.structure),
            (features.taken, self.taken),
        ):
            low, high = (math.log(known[end]) for end in (0, -1))
            step = np.log(np.clip(found, known[0], known[-1])) - np.float32(low)
            step *= np.float32((_STEPS - 1) / (high - low))
            where = where * _STEPS + np.rint(step).astype(np.int32)
        return np.asarray(self._fine.ravel()[where] * features.noise)


def error_bars_of(
    raw: Volume,
    restored: _Floats,
    defects: Sequence[Defects],
    camera: CameraSettings | None,
    table: ErrorBarTable,
    gain: Gain | None,
    given_back: GivenBack | None,
) -> ErrorBars:
    """Return the error bars of a stack, or why it has none.

    Parameters
    ----------
    raw, restored, camera, table, gain
        As for :func:`standard_error`; ``None`` where they are not known.
    defects
        Of the stack: what their voxels would have been, nobody knows.
    given_back
        What of the raw stack is in the result. Where it is more than a little, the network met what
        it does not know: bars held 84 % of the errors of such stacks, and 67 % where bright.
    """
    if camera is None:
        return ErrorBars(None, "its camera is not known")
    if gain is None:
        return ErrorBars(None, "its channels were restored together")
    if given_back is not None and given_back.share >= MOST_GIVEN_BACK:
        gain = gain.of_another_result()
    if gain.unknown_because:
        return ErrorBars(None, gain.unknown_because)
    bars = standard_error(raw, restored, camera, table, gain)
    for found in defects:
        bars[found.indices(len(raw))] = np.nan
    return ErrorBars.of(bars, table.tested)


def standard_error(
    raw: Volume,
    restored: _Floats,
    camera: CameraSettings,
    table: ErrorBarTable,
    gain: Gain | None = None,
) -> _Floats:
    """Return the standard error (ADU) of every voxel (Z, Y, X).

    Parameters
    ----------
    raw, restored, camera
        As for :func:`features_of`.
    table
        Of the model.
    gain
        Of the stack, where it is estimated: bars that contradict it are scaled to agree.
    """
    bars = np.empty(raw.shape, np.float32)
    for wide, inner, here in _blocks(raw.shape):
        features = features_of(raw[wide], restored[wide], camera)
        bars[here] = table.half_widths(features)[inner] / np.float32(STANDARD_ERRORS)
    if gain is not None:
        part = part_to_look_at(raw.shape)
        features = features_of(raw[part], restored[part], camera)
        stated = table.unscaled.half_widths(features) / np.float32(STANDARD_ERRORS)
        bars *= np.float32(agreement(_mean_square(stated) / _mean_square(features.noise), gain))
    if raw.dtype.kind in "iu":
        bars = np.sqrt(bars * bars + np.float32(1 / 12))
    return bars


_Place = tuple[slice, slice]


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[_Place, _Place, _Place]]:
    """Yield parts of a stack along Z and Y: with a margin; which of that is the part; the part."""
    margins = tuple(size // 2 for size in _WINDOW[:2])
    for first in itertools.product(*(range(0, n, b) for n, b in zip(shape, _BLOCK, strict=False))):
        places = []
        for at, size, block, margin in zip(first, shape, _BLOCK, margins, strict=False):
            end = min(at + block, size)
            low = max(at - margin, 0)
            wide = slice(low, min(end + margin, size))
            places.append((wide, slice(at - low, end - low), slice(at, end)))
        (z, y) = places
        yield (z[0], y[0]), (z[1], y[1]), (z[2], y[2])


def _mean_square(values: _Floats) -> float:
    return float((values * values).mean(dtype=np.float64))


def agreement(stated: float, gain: Gain) -> float:
    """Return the factor that makes the mean square of bars agree with the stack's own error.

    Parameters
    ----------
    stated
        Mean square of the bars over that of the noise.
    gain
        Of the stack, with its own error.
    """
    if stated <= 0:
        return 1.0
    low, high = gain.risk_between
    return math.sqrt(min(max(stated, low), high) / stated)
