"""How much nearer to the truth is the restored stack than the raw one? Without the truth. Pure.

Stein's unbiased risk estimate: of what was taken away, the mean square is known, and so is the
noise of the camera; what lies between them is the error of the result, but for the noise that the
network let through. That share is measured by adding a little more noise, and looking how much of
it arrives (Ramani, Blu, Unser, IEEE Transactions on Image Processing 17, 1540 (2008); for the noise
of photons, whose variance depends on brightness, Le Montagner, Angelini, Olivo-Marin, ibid. 23,
1255 (2014)).
"""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from live_restore.inference.image.finest_detail import (
    finest_detail,
    mean_around_detail,
    mean_under_detail,
)
from live_restore.settings.camera import CameraSettings
from live_restore.stack import Volume

_Floats = NDArray[np.float32]
_Reals = NDArray[np.floating]

# Noise that is added, over that which is there: less is lost in the rounding of reduced precision,
# more is no longer a small change (measured 0.1 to 1: equal from 0.2 to 0.5).
_PROBE = 0.3
# Voxels that are looked at; of fewer, chance decides.
MOST_VOXELS, FEWEST_VOXELS = 2**19, 2**15
HIGHEST_DB = 15.0
"""Above it, an error of 1 % of the noise's variance would be more than 1.4 dB."""
_BESIDES_DB = 0.3
"""What the estimate is wrong by besides."""
_MOST_ERROR_DB = 3.0
"""A gain that may be wrong by more is stated as what it is at least."""
MOST_GIVEN_BACK = 0.01
"""Share of a stack, from which on a result is no longer what the network made."""
# The noise of the stack itself over that of the camera's settings, as variances: what lies farther
# from 1 has another camera, or was processed. A gain that is wrong by 10 % is 0.1 away.
_AS_SET = 0.025
# How wrong settings may be, and stay unseen by that: by what the stack's noise is away from them,
# and by what chance may hide, in standard errors. The least is what was found with the right
# camera. Of stacks whose brighter half has more noise than the darker one, structure as fine as a
# pixel passes for noise, and hides in the darker half what noise is missing: a quarter of that.
# Chosen on three stacks of each judge kind and five real ones: then all gains that are stated with
# a camera that is wrong lie within their error, as docs/explanation/trust.md has it of others.
_LEAST_UNSEEN = 0.012
_CHANCE = 1.25
_HIDDEN_SHARE = 0.25
_BRIGHT_CLASSES = 5
# Squared standard error of a variance times the places it is from; neighbours share their noise.
_CHANCE_OF_A_PLACE = 7.56
# The risk is estimated too low by about so much of the noise's variance, on the simulated and real
# stacks of docs/explanation/trust.md alike; chosen by eye on nine of them.
_TOO_LOW = 0.005


@dataclass(frozen=True)
class Gain:
    """How much nearer to the truth a restored stack is than its raw one.

    Parameters
    ----------
    db
        ``10 log10`` of the mean squared error of the raw stack over that of the restored one;
        ``None`` where it is not known, or only what it is at least.
    error_db
        What it may be wrong by, with settings of the camera that are as wrong as the stack's own
        noise cannot tell.
    unknown_because
        Why it is not known; empty where it is.
    noise_as_set
        Variance of the stack's own noise over that which its camera's settings tell.
    at_least_db
        What the gain is more than, where that is all that is known; else ``None``.
    risk
        The estimate itself: mean squared error of the restored stack over the noise's variance.
    """

    db: float | None
    error_db: float | None
    unknown_because: str
    noise_as_set: float
    at_least_db: float | None = None
    risk: float = 0.0

    @property
    def as_set(self) -> bool:
        """Whether the stack's noise is that of its camera's settings."""
        return abs(self.noise_as_set - 1) <= _AS_SET

    @property
    def floor_db(self) -> float:
        """The gain, or what it is at least."""
        return self.db if self.db is not None else self.at_least_db or 0.0

    @property
    def risk_between(self) -> tuple[float, float]:
        """Between what the risk lies if the camera is as it is told: what error bars agree with."""
        highest = 10 ** (-HIGHEST_DB / 10)
        if self.risk <= highest:
            return 0.0, highest
        factor = 10 ** ((_BESIDES_DB + 10 / math.log(10) * _LEAST_UNSEEN / self.risk) / 10)
        return self.risk / factor, self.risk * factor

    def of_another_result(self) -> Gain:
        """Return this of a result of which more than a little is not the network's."""
        reason = "the network took away structure, part of which was given back"
        return replace(self, db=None, error_db=None, unknown_because=reason, at_least_db=None)

    @property
    def in_words(self) -> str:
        """For a screen: ``"12.3 dB (within 0.6)"``, ``"more than 15 dB"`` or ``"not known"``."""
        if self.unknown_because:
            return "not known"
        if self.db is None:
            return f"more than {self.floor_db:g} dB"
        return f"{self.db:.1f} dB (within {self.error_db:.1f})"


def part_to_look_at(shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
    """Return the middle of a stack (Z, Y, X), of half a million voxels; of up to twice that, all.

    A part has to be restored once more by itself, which of so small a stack would take longer.
    """
    z, y, x = shape
    if math.prod(shape) <= 2 * MOST_VOXELS:
        return slice(0, z), slice(0, y), slice(0, x)
    planes = min(z, 32)
    side = max(8, math.isqrt(MOST_VOXELS // planes) // 8 * 8)
    return _middle(z, planes), _middle(y, min(y, side)), _middle(x, min(x, side))


def variance_of(camera: CameraSettings, restored: _Reals, *, rounded: bool) -> _Floats:
    """Return the variance (ADU**2) of the camera's noise at the brightness of a restored stack."""
    dark = (camera.gain_adu_per_e * camera.read_noise_e) ** 2 + (1 / 12 if rounded else 0)
    signal = np.maximum(restored - np.float32(camera.offset_adu), 0)
    return np.asarray(np.float32(camera.gain_adu_per_e) * signal + np.float32(dark))


def probe(variance: _Floats) -> _Floats:
    """Return noise to add (ADU): white, of 0.3 standard deviations, the same for the same shape."""
    signs = np.random.default_rng(0).integers(0, 2, variance.shape, np.int8) * 2 - 1
    return np.asarray(np.float32(_PROBE) * np.sqrt(variance) * signs)


def gain_over_raw(
    raw: Volume,
    restored: _Floats,
    camera: CameraSettings,
    variance: _Floats,
    added: _Floats,
    arrived: _Floats,
) -> Gain:
    """Return the gain of a restored stack over its raw one.

    Parameters
    ----------
    raw, restored
        (Z, Y, X) in ADU; ``restored`` as the network gave it.
    camera
        That recorded it.
    variance
        Of the camera's noise, by :func:`variance_of`.
    added, arrived
        The probe, and by how much it changed what the network gave.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        taken = raw.astype(np.float32) - restored
        # As a number of numpy, by which one can divide: padding seen by a camera without read noise
        # has none.
        noise = variance.mean(dtype=np.float64)
        passed = float((added * arrived).mean(dtype=np.float64)) / _PROBE**2 / noise
        risk = float((taken * taken).mean(dtype=np.float64)) / noise - 1 + 2 * passed + _TOO_LOW
        as_set, unseen = _noise_as_set(raw, taken, camera, added, arrived)
    return _judged(float(risk), as_set, unseen, raw.size)


def _noise_as_set(
    raw: Volume, taken: _Floats, camera: CameraSettings, added: _Floats, arrived: _Floats
) -> tuple[float, float]:
    """Return the variance of the noise over that of the settings, in the darker half.

    There, offset and read noise decide, and there is least structure. What is dark, the raw voxels
    around each place tell, whose noise has no say in what is measured there: of even places, a
    network finds those dark that had fewer photons by chance, and so less noise (4 % in the demo's
    stacks). For the same reason the variance is that of the raw light. What the network let through
    of the finest noise is missing in what it took away, and is added.

    Returns
    -------
    as_set
        That.
    unseen
        By what share the noise may be another than that of the settings, and nothing tells.
    """
    if min(raw.shape[1:]) < 5:
        return math.nan, math.nan
    around = mean_around_detail(raw)
    light = mean_under_detail(raw)[:, 1:-1, 1:-1]
    taken, added, arrived = (finest_detail(each)[:, 1:-1, 1:-1] for each in (taken, added, arrived))
    middle, *edges = np.quantile(around, np.linspace(0.5, 1, _BRIGHT_CLASSES + 1))

    def over_settings(here: NDArray[np.bool_]) -> float:
        t, a, b = taken[here], added[here], arrived[here]
        share = (a * b).sum(dtype=np.float64) / (a * a).sum(dtype=np.float64)
        mean = light[here].mean(dtype=np.float64, keepdims=True)
        expected = variance_of(camera, mean, rounded=raw.dtype.kind in "iu")[0]
        found = (t * t).mean(dtype=np.float64)
        return float(found / expected / np.maximum((1 - share) ** 2, 0.1))

    dark = around <= middle
    if not dark.any():  # of numbers that are too large for float32, none is
        return math.nan, math.nan
    as_set = over_settings(dark)
    brighter = []
    for low, high in itertools.pairwise((middle, *edges)):
        here = (around > low) & (around <= high)
        # Few places may have no noise at all.
        if here.any() and math.isfinite(found := over_settings(here)):
            brighter.append(found)
    hidden = max(0.0, statistics.median(brighter) - as_set) if brighter else 0.0
    chance = math.sqrt(_CHANCE_OF_A_PLACE / np.count_nonzero(dark))
    unseen = max(_LEAST_UNSEEN, abs(as_set - 1) + _CHANCE * chance)
    return as_set, unseen + _HIDDEN_SHARE * hidden


def _judged(risk: float, as_set: float, unseen: float, voxels: int) -> Gain:
    def unknown(reason: str) -> Gain:
        return Gain(None, None, reason, as_set)

    if voxels < FEWEST_VOXELS:
        return unknown("the stack is too small")
    if not all(map(math.isfinite, (risk, as_set, unseen))):
        return unknown("its numbers are not finite")
    if abs(as_set - 1) > _AS_SET:
        return unknown(
            f"its noise has {as_set:.2f} times the variance that [camera] tells: check [camera]; "
            "or it was processed before"
        )
    if risk <= _TOO_LOW - _AS_SET:
        return unknown("less was taken away than the noise of [camera]: check [camera]")
    if risk > max(unseen, 10 ** (-HIGHEST_DB / 10)):
        error_db = _BESIDES_DB - 10 * math.log10(1 - unseen / risk)
        if error_db <= _MOST_ERROR_DB:
            return Gain(-10 * math.log10(risk), error_db, "", as_set, risk=risk)
    least_db = math.floor(-10 * math.log10(max(risk, 0.0) + unseen) - _BESIDES_DB)
    if least_db <= 0:
        return unknown("its noise leaves open whether it gained at all")
    return Gain(None, None, "", as_set, min(HIGHEST_DB, least_db), risk)


def _middle(size: int, part: int) -> slice:
    first = (size - part) // 2
    return slice(first, first + part)
