"""Is an adapted network better than the one it began as, on stacks that it never learnt from?

Judged by the photons that were left out, at full light nearly, and at less and less of it: a run
bleaches. And by stacks of nothing but noise, from which no structure may come.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from live_restore.errors import StackRefusedError
from live_restore.inference.image.intensity import IntensityScale, scale_from_percentiles
from live_restore.inference.image.thinning import Thinned, electrons, read_variance_e, thinned
from live_restore.inference.model.envelope import Envelope
from live_restore.settings.camera import CameraSettings
from live_restore.trust.snr import estimate_snr
from live_restore_export.adaptation.examples import NoisyStack, even_exposure
from live_restore_export.adaptation.left_out import Difference, Evidence, evidence

_Floats = NDArray[np.float32]
Network = Callable[[_Floats], _Floats]
"""Restores (Z, Y, X) in network units."""

NEARLY_ALL = 0.9
SHARES = (NEARLY_ALL, 0.5, 0.25, 0.1)
"""Of the light, at which networks are judged."""
ERRORS = 2.0
"""Standard errors by which a network must be better, and may not be worse."""
BLEACHED = 0.5
"""Share of the light down to which a network may not be worse than it began: a run bleaches. What
it does below that, its envelope tells."""
MOST_NOISE, MUCH_NOISE = 1.1, 0.05
"""What may come of nothing but noise, as a standard deviation: so many times as much as came of it
to begin with, or as much as is taken for nothing in docs/explanation/quality.md."""
_FLAT_ZYX = (16, 96, 96)


@dataclass(frozen=True)
class HeldOut:
    """A held-out stack at one share of its light."""

    stack: NoisyStack
    share: float
    dealt: Thinned
    scale: IntensityScale

    @classmethod
    def of(cls, stack: NoisyStack, share: float, seed: int) -> HeldOut:
        """Thin a stack, always in the same way for a seed."""
        rng = np.random.default_rng((seed, int(share * 1000)))
        dealt = thinned(stack.raw, stack.expected, share, stack.camera, rng)
        return cls(stack, share, dealt, stack.scale(share))

    def evidence(self, network: Network) -> Evidence:
        """Return what the photons left out tell about what a network makes of the rest."""
        made = self.scale.restore(network(self.scale.normalise(self.dealt.raw)))
        return evidence(made, self.dealt.left_out_e, self.stack.raw, self.share, self.stack.camera)

    @property
    def raw_error(self) -> float:
        """The mean squared error of the raw stack at this share, at all the light (e-**2)."""
        light = float(np.mean(electrons(self.stack.raw, self.stack.camera), dtype=np.float64))
        return max(light * self.share + read_variance_e(self.stack.camera), 1e-9) / self.share**2


@dataclass(frozen=True)
class AtShare:
    """Both networks at one share of the light, over all held-out stacks.

    Parameters
    ----------
    share
        Of the light.
    before, after
        Estimated mean squared errors (e-**2) of the network to begin with and the adapted one.
    chance
        Standard error of the smaller of the two.
    surprise
        By how much the photons left out are less surprising after than before.
    worst
        The same of the stack where it is least, over its standard error.
    snr
        Estimated signal-to-noise ratios of the thinned stacks, least and largest.
    helps
        Whether the adapted network is nearer to the truth than the raw stacks, every one, and not
        certainly worse than it began.
    """

    share: float
    before: float
    after: float
    chance: float
    surprise: Difference
    worst: float
    snr: tuple[float, float]
    helps: bool

    @property
    def gain_db(self) -> float | None:
        """By how much the squared error fell (dB); ``None`` where chance hides it."""
        if min(self.before, self.after) <= ERRORS * self.chance:
            return None
        return 10 * math.log10(self.before / self.after)


@dataclass(frozen=True)
class Verdict:
    """Whether an adapted network may be used, and why."""

    shares: tuple[AtShare, ...]
    flat_before: float
    flat_after: float

    @property
    def refused_because(self) -> str:
        """Why it may not; "" where it may."""
        full = self.shares[0]
        if not full.surprise.certain(ERRORS):
            return "it is not certainly better than the model it began as"
        for each in (s for s in self.shares if s.share >= BLEACHED):
            if each.surprise.certainly_worse(ERRORS) or each.worst < -ERRORS:
                return f"with {each.share:.0%} of the light it is worse than the model it began as"
        if self.flat_after > max(MOST_NOISE * self.flat_before, MUCH_NOISE):
            return (
                f"it leaves {self.flat_after:.1%} of pure noise, and the model it began as "
                f"{self.flat_before:.1%}"
            )
        return ""

    @property
    def in_words(self) -> str:
        """What was gained, for people."""
        found = [
            f"{each.gain_db:+.1f} dB with {each.share:.0%} of the light"
            for each in self.shares
            if each.gain_db is not None
        ]
        return ", ".join(found) if found else "better, by less than can be told in dB"

    def envelope(self, held_out: int, run: str) -> Envelope:
        """Return where the adapted network was shown to help: on this run, and nowhere else."""
        helping = []
        for each in self.shares:  # from much light to little, as far as it helps without a gap
            if not each.helps:
                break
            helping.append(each.snr)
        reached = (min(low for low, _ in helping), max(h for _, h in helping)) if helping else None
        return Envelope(
            snr=reached,
            measured=f"{held_out} held-out stacks of {run} and the same with "
            f"{', '.join(f'{s.share:.0%}' for s in self.shares)} of their light, by the photons "
            "left out; nothing is known about other samples",
        )


def judge(held_out: Sequence[NoisyStack], before: Network, after: Network, seed: int) -> Verdict:
    """Compare two networks on stacks that neither has learnt from.

    At as many shares of the light as leave the stacks some contrast, from much to little.
    """
    cases: dict[float, list[HeldOut]] = {}
    for share in SHARES:
        try:
            cases[share] = [HeldOut.of(stack, share, seed + n) for n, stack in enumerate(held_out)]
        except StackRefusedError:
            break
    return Verdict(
        tuple(_at(share, found, before, after) for share, found in cases.items()),
        *(left_of_noise(held_out[0], network, seed) for network in (before, after)),
    )


def _at(share: float, cases: Sequence[HeldOut], before: Network, after: Network) -> AtShare:
    old, new = ([case.evidence(network) for case in cases] for network in (before, after))
    pairs = [Difference.of(a.surprise, b.surprise) for a, b in zip(old, new, strict=True)]
    ratios = [found.ratio for case in cases if (found := estimate_snr(_as_adu(case))) is not None]
    errors = [float(each.squared_error.mean()) for each in new]
    surprise = Difference.of(
        np.concatenate([each.surprise for each in old]),
        np.concatenate([each.surprise for each in new]),
    )
    squared = [np.concatenate([each.squared_error for each in found]) for found in (old, new)]
    least = min(squared, key=lambda values: float(values.mean()))
    return AtShare(
        share,
        float(squared[0].mean()),
        float(squared[1].mean()),
        float(least.std()) / least.size**0.5,
        surprise,
        min(each.mean / each.error if each.error > 0 else 0.0 for each in pairs),
        (min(ratios, default=0.0), max(ratios, default=0.0)),
        not surprise.certainly_worse(ERRORS)
        and all(e < case.raw_error for e, case in zip(errors, cases, strict=True)),
    )


def _as_adu(case: HeldOut) -> NDArray[np.uint16]:
    return np.clip(case.dealt.raw, 0, 65535).astype(np.uint16)


def left_of_noise(stack: NoisyStack, network: Network, seed: int) -> float:
    """Return how much a network leaves of noise on an even brightness, over that noise.

    At the brightness of the run's darkest tenth, which most of it has.
    """
    camera: CameraSettings = stack.camera
    level_e = max(float(np.percentile(electrons(stack.expected, camera), 10)), 0.0)
    raw = even_exposure(level_e, _FLAT_ZYX, camera, np.random.default_rng(seed))
    scale = scale_from_percentiles(raw, *stack.percentiles)
    if not scale.high_adu > scale.low_adu:
        return 0.0
    noise = camera.gain_adu_per_e * math.sqrt(level_e + read_variance_e(camera))
    return float(scale.restore(network(scale.normalise(raw))).std()) / noise
