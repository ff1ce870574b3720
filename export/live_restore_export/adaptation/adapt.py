"""From a run and a model to an adapted network, and whether it may be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from live_restore.errors import StackRefusedError
from live_restore.inference.image.intensity import scale_from_percentiles
from live_restore.stack import Volume
from live_restore_export.adaptation.examples import SHARES, NoisyStack
from live_restore_export.adaptation.fine_tune import Look, as_network, fine_tune
from live_restore_export.adaptation.judge import NEARLY_ALL, Network, Verdict, judge
from live_restore_export.adaptation.options import AdaptOptions
from live_restore_export.adaptation.run_stacks import RunStack
from live_restore_export.network import RCAN
from live_restore_export.training.optimisation import choose_device


@dataclass(frozen=True)
class Adapted:
    """An adapted network, what was seen on the way, and what it is worth."""

    network: RCAN
    looks: tuple[Look, ...]
    verdict: Verdict


def adapt(
    start: RCAN,
    percentiles: tuple[float, float],
    learning: Sequence[RunStack],
    held_out: Sequence[RunStack],
    options: AdaptOptions,
    report: Callable[[Look], None],
    pause: Callable[[], None] = lambda: None,
    progress: Callable[[int, float], None] | None = None,
) -> Adapted:
    """Adapt a network to the stacks of a run, and judge it on others of that run.

    Parameters
    ----------
    start, percentiles
        The network to begin with, and the percentiles of a stack that are 0 and 1 to it.
    learning, held_out
        See :class:`~live_restore_export.adaptation.run_stacks.RunStacks`.
    options, report, pause, progress
        As for :func:`~live_restore_export.adaptation.fine_tune.fine_tune`.

    Raises
    ------
    StackRefusedError
        A stack whose photons, dealt out, leave no contrast.
    TrainingError
        The weights have diverged.
    """
    device = choose_device(options.device)
    options = _fitting(options, start, [each.raw for each in learning])
    before = _between_pauses(as_network(start.to(device), device), pause)
    known, judged = (
        [_noisy(each, before, percentiles) for each in stacks] for stacks in (learning, held_out)
    )
    network, looks = fine_tune(start, known, judged, options, report, pause, progress)
    after = _between_pauses(as_network(network.to(device), device), pause)
    verdict = judge(judged, before, after, options.seed)
    return Adapted(network.cpu(), tuple(looks), verdict)


def _fitting(options: AdaptOptions, start: RCAN, raws: Sequence[Volume]) -> AdaptOptions:
    """Return the options with patches no larger than the smallest stack."""
    fold = start.config.lateral_shuffle
    smallest = np.min([raw.shape for raw in raws], axis=0).tolist()
    z, y, x = (min(a, b) for a, b in zip(options.patch_zyx, smallest, strict=True))
    side = min(y, x) // fold * fold  # patches are turned: square
    return replace(options, patch_zyx=(z, side, side))


def _between_pauses(network: Network, pause: Callable[[], None]) -> Network:
    def run(stack: NDArray[np.float32]) -> NDArray[np.float32]:
        pause()
        return network(stack)

    return run


def _noisy(stack: RunStack, network: Network, percentiles: tuple[float, float]) -> NoisyStack:
    scale = scale_from_percentiles(stack.raw, *percentiles)
    made = scale.restore(network(scale.normalise(stack.raw)))
    noisy = NoisyStack(stack.raw, made, stack.camera, percentiles)
    try:
        for share in (*SHARES, NEARLY_ALL):
            noisy.scale(share)
    except StackRefusedError as error:
        raise StackRefusedError(f"{stack.label} {error.what}", None, "leave it out") from error
    return noisy
