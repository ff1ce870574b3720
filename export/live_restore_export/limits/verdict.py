"""From measured stacks to the envelope: where did restoration help, without exception?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from live_restore.inference.model.envelope import Envelope, SweepLimit
from live_restore_export.limits.measure import Measured
from live_restore_export.limits.sweeps import SWEEPS, Sweep

BRIGHTNESS_BOUND = 0.05
"""Of a bleaching curve or a ratio of two channels, what people take for no difference."""


@dataclass(frozen=True)
class Point:
    """All stacks at one value of a sweep; means of their PSNR (dB) and of the other qualities.

    The model *helps* where the restored stacks are on average at least as near to the truth as the
    best Gaussian and as the raw stacks, and no single one is farther from it than its raw stack.
    """

    sweep: str
    value: float
    stacks: tuple[Measured, ...]

    @property
    def snr(self) -> float:
        """Median of the estimated signal-to-noise ratios."""
        return float(np.median([s.snr_estimated for s in self.stacks]))

    @property
    def helps(self) -> bool:
        """Whether restoration is worth it here, judged by PSNR.

        PSNR is what the best Gaussian was chosen by: the measure by which it is hardest to beat.
        """
        raw, gaussian, restored = (
            np.array([getattr(s, kind).psnr_db for s in self.stacks])
            for kind in ("raw", "gaussian", "restored")
        )
        return bool(restored.mean() >= max(raw.mean(), gaussian.mean()) and (restored >= raw).all())

    @property
    def keeps_brightness(self) -> bool:
        """Whether light of bright regions comes out within 5 % in nine of ten stacks that have any.

        The mean over stacks would hide one that is far off, and the worst of twelve is chance.
        """
        off = [abs(s.light.ratio - 1) for s in self.stacks if math.isfinite(s.light.ratio)]
        return bool(off) and float(np.quantile(off, 0.9)) <= BRIGHTNESS_BOUND

    def mean(self, kind: str, measure: str) -> float:
        """Return the mean of a measure over the stacks, such as ("raw", "psnr_db")."""
        return float(np.mean([getattr(getattr(s, kind), measure) for s in self.stacks]))


def points(measured: Sequence[Measured], sweep: str) -> list[Point]:
    """Return the points of a sweep, by value."""
    own = sorted((m for m in measured if m.sweep == sweep), key=lambda m: m.value)
    return [
        Point(sweep, value, tuple(group))
        for value, group in itertools.groupby(own, key=lambda m: m.value)
    ]


def longest_run(values: Sequence[float], good: Sequence[bool]) -> tuple[float, float] | None:
    """Return the first and last of the longest unbroken run of good values, in order.

    Of runs of equal length the one with the wider ratio counts.

    Examples
    --------
    >>> longest_run([1, 2, 5, 10], [True, False, True, True])
    (5, 10)
    >>> longest_run([1, 2], [False, False]) is None
    True
    """
    runs = [
        [value for value, _ in group]
        for is_good, group in itertools.groupby(zip(values, good, strict=True), lambda v: v[1])
        if is_good
    ]
    best = max(runs, key=lambda run: (len(run), run[-1] / max(run[0], 1e-9)), default=None)
    return None if best is None else (best[0], best[-1])


def envelope_of(
    measured: Sequence[Measured], how: str, sweeps: Sequence[Sweep] = SWEEPS
) -> Envelope:
    """Return where the model was shown to help.

    The range of signal-to-noise ratios is that of the sweeps of light and background: the longest
    in which every point helps, from the median estimate of its first point to that of its last.
    Blur, voxel size and density do not show in this ratio; they have limits of their own.
    """
    limits = {}
    for sweep in sweeps:
        found = points(measured, sweep.name)
        values = [p.value for p in found]
        limits[sweep.name] = SweepLimit(
            quantity=sweep.quantity,
            unit=sweep.unit,
            tested=(values[0], values[-1]),
            helps=longest_run(values, [p.helps for p in found]),
            keeps_brightness=longest_run(values, [p.keeps_brightness for p in found]),
        )
    light = [p for s in sweeps if s.light for p in points(measured, s.name)]
    light.sort(key=lambda p: p.snr)
    ratios = [round(p.snr, 2) for p in light]
    return Envelope(
        snr=longest_run(ratios, [p.helps for p in light]),
        brightness_snr=longest_run(ratios, [p.keeps_brightness for p in light]),
        brightness_measured=True,
        limits=limits,
        measured=how,
    )
