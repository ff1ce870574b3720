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
from live_restore.inference.image.gain import HIGHEST_DB, Gain
from live_restore.inference.image.thinning import Thinned, electrons, read_variance_e
from live_restore.settings.camera import CameraSettings
from live_restore.stack import Volume

_Floats = NDArray[np.float32]

SHARES = (0.5, 0.25, 0.1)
"""Of the light, that are tried."""
# What is stated of stacks whose gain is known was wrong by no more than so much besides
# (docs/explanation/trust.md).
_BESIDES_DB = 0.4
# The photons left out may contradict by so much of the error, and of the variance of the noise.
_MOST_APART, _MOST_APART_NOISE = 0.25, 0.03
_NAMES = {0.5: "half the light", 0.25: "a quarter", 0.1: "a tenth"}


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
        By so much the mean squared error would be larger, at the brightness of all the light, and
        what that may be wrong by; ``None`` where it is not known.
    over_raw_db
        By so much it would still be nearer to the truth than the raw stack of all the light: at
        least, where the gain of that is only known to be more than 15 dB; ``None`` where the
        photons left out contradict.
    flux
        What would become of the light of bright regions.
    """

    share: float
    cost_db: float | None
    error_db: float | None
    over_raw_db: float | None
    flux: Flux

    @property
    def in_words(self) -> str:
        """For a screen, such as ``"half the light 1.8 dB (within 0.5), brightness -2.1 %"``."""
        if self.cost_db is not None:
            cost = f"{self.cost_db:.1f} dB (within {self.error_db:.1f})"
        elif self.over_raw_db is not None:
            cost = f"not known, but leaves more than {self.over_raw_db:.1f} dB over raw"
        else:
            cost = "not known"
        bias = self.flux.bias_percent
        change = "" if bias is None else f", brightness {bias:+.1f} %"
        return f"{_NAMES[self.share]} {cost}{change}"


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
        """For a screen, in one line."""
        if self.unknown_because:
            return f"not known: {self.unknown_because}"
        return "cost of " + "; ".join(level.in_words for level in self.levels)


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
        levels.append(_level(share, apart, witness - 1 / (1 - share), gain, flux))
    return LessLight(tuple(levels))


def _level(share: float, apart: float, witness: float, gain: Gain, flux: Flux) -> LightLevel:
    """Return what is known of a share of the light.

    Parameters
    ----------
    apart, witness
        Over the variance of the noise: the mean squared difference from the result of all the
        light, and the mean squared error by the photons that were left out.
    """
    own = 10 ** (-(HIGHEST_DB if gain.db is None else gain.db) / 10)
    error = own + apart
    if not (math.isfinite(error + witness) and error > 0):
        return LightLevel(share, None, None, None, flux)
    off = witness - error if gain.db is None else abs(witness - error)
    if off > _MOST_APART * error + _MOST_APART_NOISE:
        return LightLevel(share, None, None, None, flux)
    over_raw = -10 * math.log10(error)
    if gain.db is None or gain.error_db is None:
        return LightLevel(share, None, None, over_raw, flux)
    cost, low, high = (
        10 * math.log10(1 + apart * 10 ** ((gain.db + wrong) / 10))
        for wrong in (0.0, -gain.error_db, gain.error_db)
    )
    error_db = _BESIDES_DB + max(cost - low, high - cost)
    return LightLevel(share, cost, error_db, over_raw, flux)
