"""What would half the light have cost? Stacks of less light, compared without a truth. Pure.

A stack is thinned to a share of its photo-electrons and restored. What its result has for an error
beside that of all the light is how far the two are apart: a result of more light is nearer to the
truth by just that, if both are what can be known from their light (the mean of the posterior; the
tower property of expectations). The photons that were left out are the witness: their noise is
known, and they know nothing of that in the thinned stack.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from live_restore.inference.image.flux import Flux, flux_of_less
from live_restore.inference.image.gain import Gain
from live_restore.inference.image.thinning import Thinned, electrons, read_variance_e
from live_restore.settings.camera import CameraSettings
from live_restore.stack import Volume

_Floats = NDArray[np.float32]

SHARES = (0.5, 0.25, 0.1)
"""Of the light, that are tried."""
# The error as the sum of two was right to so much of it, on all but one of ten kinds of structure
# (crowds of points, of which a network makes too little: 24 % less than the truth).
_SUM_IS_RIGHT_TO = 0.08
# Besides chance, as shares of the noise's variance: what the error of all the light may be off by
# (pixels that differ in offset make 1.6 % more of it at 30 e-), and what the photons left out tell,
# in which the settings of the camera have a say.
_OWN_IS_RIGHT_TO, _NOISE_IS_RIGHT_TO = 0.005, 0.003
# Of what the stack's noise is away from that of its camera's settings, half is taken for chance,
# and half for an error of the settings.
_AWAY_SHARE = 0.5
# Standard errors that are stated on the careful side, and of more than so many dB nothing is
# stated: chosen on one stack of each judge and six simulated ones, tested on others
# (docs/explanation/trust.md).
_CAREFUL, _MOST_UNSURE_DB = 1.0, 0.4
_ABOVE_AT_MOST_DB = 0.8
# The photons left out may contradict by so much of the error, and of the variance of the noise.
_MOST_APART, _MOST_APART_NOISE = 0.4, 0.03
_NAMES = {0.5: "half the light", 0.25: "a quarter of the light", 0.1: "a tenth of the light"}


class Dealt(NamedTuple):
    """A share of the light, the stack that was dealt out, and what the network made of it (ADU)."""

    share: float
    thinned: Thinned
    restored: _Floats


@dataclass(frozen=True)
class LightLevel:
    """What a share of the light would cost.

    Parameters
    ----------
    share
        Of the light.
    cost_db, error_db
        By so much at most the mean squared error would be larger, at the brightness of all the
        light, and by how much less that may be; ``None`` where it is not known.
    over_raw_db
        By so much at least it would still be nearer to the truth than the raw stack of all the
        light; ``None`` where the photons left out contradict.
    flux
        What would become of the light of bright regions.
    """

    share: float
    cost_db: float | None
    error_db: float | None
    over_raw_db: float | None
    flux: Flux

    @property
    def name(self) -> str:
        """For a screen: ``"half the light"``."""
        return _NAMES[self.share]


@dataclass(frozen=True)
class LessLight:
    """What less light would cost, from the most to the least; or why that is not known."""

    levels: tuple[LightLevel, ...]
    unknown_because: str = ""

    def of_another_result(self) -> LessLight:
        """Return this of a result of which more than a little is not the network's."""
        return LessLight((), "the network took away structure, part of which was given back")

    @property
    def in_words(self) -> str:
        """For a screen, in one sentence."""
        if self.unknown_because:
            return f"not known: {self.unknown_because}"
        costs = [(each.name, each.cost_db) for each in self.levels if each.cost_db is not None]
        if costs:
            (name, cost), *others = costs
            more = "".join(
                f", {other.removesuffix(' of the light')} {db:.1f} dB" for other, db in others
            )
            return f"{name} would cost {cost:.1f} dB at most{more}"
        left = [each for each in self.levels if each.over_raw_db is not None]
        if left:
            return f"{left[-1].name} would leave {left[-1].over_raw_db:.1f} dB over raw at least"
        return "not known: the photons left out contradict it"


def less_light(
    raw: Volume, restored: _Floats, dealt: Sequence[Dealt], gain: Gain, camera: CameraSettings
) -> LessLight:
    """Return what less light would cost.

    Parameters
    ----------
    raw, restored
        (Z, Y, X) in ADU; ``restored`` as the network gave it.
    dealt
        The same of shares of the light.
    gain
        Of ``restored`` over ``raw``.
    camera
        That recorded it.
    """
    light, whole = electrons(raw, camera), electrons(restored, camera)
    noise_e2 = float(light.mean(dtype=np.float64)) + read_variance_e(camera)
    if gain.unknown_because:
        return LessLight((), gain.unknown_because)
    if not (math.isfinite(noise_e2) and noise_e2 > 0):
        return LessLight((), "its numbers are not finite")
    levels = []
    for share, stack, made in dealt:
        less = electrons(made, camera) / np.float32(share)
        left_out = stack.left_out_e / np.float32(1 - share)
        apart, witness = (
            float(np.mean((less - other) ** 2, dtype=np.float64)) / noise_e2
            for other in (whole, left_out)
        )
        kept = electrons(stack.raw, camera) / np.float32(share)
        flux = flux_of_less(light, whole, kept, less)
        levels.append(_level(share, apart, witness - 1 / (1 - share), made.size, gain, flux))
    return LessLight(tuple(levels))


def _level(
    share: float, apart: float, witness: float, voxels: int, gain: Gain, flux: Flux
) -> LightLevel:
    """Return what is known of a share of the light.

    Parameters
    ----------
    apart, witness
        Over the variance of the noise: the mean squared difference from the result of all the
        light, and the mean squared error by the photons that were left out.
    voxels
        That were compared.
    """
    own = 10 ** (-gain.floor_db / 10)
    error = own + apart
    if not (math.isfinite(error + witness) and error > 0):
        return LightLevel(share, None, None, None, flux)
    off = witness - error if gain.db is None else abs(witness - error)
    if off > _MOST_APART * error + _MOST_APART_NOISE:
        return LightLevel(share, None, None, None, flux)
    chance = math.sqrt(2 / voxels)
    witness_unsure = math.hypot(chance, _NOISE_IS_RIGHT_TO) / (1 - share)
    if gain.db is None:
        over_raw = -_db(max(error, witness + witness_unsure))
        return LightLevel(share, None, None, over_raw, flux)
    witness = max(witness, 0.3 * error)  # by chance it may be next to nothing, or less
    weight, of_witness = _SUM_IS_RIGHT_TO**-2, (witness_unsure / witness) ** -2
    weights = weight + of_witness
    likely = (weight * _db(error / own) + of_witness * _db(witness / own)) / weights
    # The error of all the light, over which both are, is in the sum as well.
    right_to = max(_OWN_IS_RIGHT_TO, _AWAY_SHARE * abs(gain.noise_as_set - 1))
    own_unsure = math.hypot(chance, right_to) / own
    own_unsure *= (weight * apart / error + of_witness) / weights
    unsure_db = _db(math.e) * math.hypot(weights**-0.5, own_unsure)
    cost = max(likely + _CAREFUL * unsure_db, 0.0)
    if unsure_db > _MOST_UNSURE_DB:
        return LightLevel(share, None, None, gain.db - cost, flux)
    return LightLevel(share, cost, _ABOVE_AT_MOST_DB, gain.db - cost, flux)


def _db(ratio: float) -> float:
    return 10 * math.log10(ratio)
