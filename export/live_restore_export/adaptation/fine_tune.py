"""Fine-tune a network on noisy stacks, while the photons left out say that it gets better."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from live_restore.errors import TrainingError
from live_restore_export.adaptation.examples import NoisyStack, draw_batch
from live_restore_export.adaptation.judge import NEARLY_ALL, HeldOut, Network
from live_restore_export.adaptation.options import AdaptOptions
from live_restore_export.network import RCAN
from live_restore_export.training.clock import WorkClock
from live_restore_export.training.optimisation import choose_device, follow, gradients

_Floats = NDArray[np.float32]

# Of a run, that is looked at between steps; the verdict looks at all that is held out.
_MOST_LOOKED_AT = 3
# Looks at the held-out stacks, spread over the run, and how many may pass without a better one.
_LOOKS, _PATIENCE = 12, 6
_EMA_DECAY = 0.99
_LAST_RATE = 0.02
_GRADIENT_CLIP = 0.3


@dataclass(frozen=True)
class Look:
    """What was found between steps.

    ``surprise`` is that of the photons left out (nats per voxel, less is better).
    """

    step: int
    minutes: float
    surprise: float


def fine_tune(
    start: RCAN,
    learning: Sequence[NoisyStack],
    held_out: Sequence[NoisyStack],
    options: AdaptOptions,
    report: Callable[[Look], None],
    pause: Callable[[], None] = lambda: None,
    progress: Callable[[int, float], None] | None = None,
) -> tuple[RCAN, list[Look]]:
    """Return the network that made the photons left out of ``held_out`` the least surprising.

    That may be ``start`` itself.

    Parameters
    ----------
    start
        The network to begin with; it is not changed.
    learning, held_out
        Stacks to learn from, and others.
    options
        How.
    report
        Takes every look.
    pause
        Called between steps; the time it takes does not count.
    progress
        Takes how many steps were taken, and the minutes that count, after each.

    Returns
    -------
    network
        On the processor, in evaluation mode.
    looks
        The first of them is that of ``start``.

    Raises
    ------
    TrainingError
        The loss is not a number any more.
    """
    device = choose_device(options.device)
    torch.manual_seed(options.seed)
    network = copy.deepcopy(start).to(device, memory_format=torch.channels_last_3d).train()  # type: ignore[call-overload]
    average, best = copy.deepcopy(network), copy.deepcopy(network)
    optimiser = torch.optim.Adam(network.parameters(), lr=options.learning_rate)
    rng = np.random.default_rng(options.seed)
    cases = [HeldOut.of(stack, NEARLY_ALL, n) for n, stack in enumerate(held_out[:_MOST_LOOKED_AT])]
    with WorkClock() as clock:
        looks = [Look(0, 0.0, _surprise(cases, as_network(average, device)))]
        report(looks[0])
        began, step, since_best, looked_s = clock.seconds, 0, 0, 0.0
        while True:
            before = clock.seconds
            pause()
            looked_s += clock.seconds - before
            worked_s = clock.seconds - began - looked_s
            done = max(step / options.steps, worked_s / (options.minutes * 60))
            if done >= len(looks) / _LOOKS or done >= 1:
                before = clock.seconds
                look = Look(step, worked_s / 60, _surprise(cases, as_network(average, device)))
                looked_s += clock.seconds - before
                report(look)
                if look.surprise < min(each.surprise for each in looks):
                    best.load_state_dict(average.state_dict())
                    since_best = 0
                else:
                    since_best += 1
                looks.append(look)
                if done >= 1 or since_best >= _PATIENCE:
                    break
            for group in optimiser.param_groups:
                group["lr"] = _rate(done, step, options)
            _learn(network, optimiser, learning, options, rng, device)
            step += 1
            follow(average, network, step, _EMA_DECAY)
            if progress is not None:
                progress(step, (clock.seconds - began - looked_s) / 60)
    return best.cpu().eval(), looks


def _learn(
    network: RCAN,
    optimiser: torch.optim.Optimizer,
    stacks: Sequence[NoisyStack],
    options: AdaptOptions,
    rng: np.random.Generator,
    device: torch.device,
) -> None:
    """Take one step: the mean squared error to the rest of the light, over that of its noise."""
    batch, variance = draw_batch(stacks, options.patch_zyx, options.batch, rng)
    kept = torch.from_numpy(batch.noisy).to(device, memory_format=torch.channels_last_3d)
    rest, noise = (torch.from_numpy(v).to(device) for v in (batch.truth, variance))

    def loss(restored: Tensor) -> Tensor:
        return (((restored.float() - rest) ** 2).mean(dim=(1, 2, 3, 4)) / noise).mean()

    unscaled = torch.amp.GradScaler(device.type, enabled=False)
    _, norm = gradients(network, optimiser, unscaled, kept, loss, "bfloat16", _GRADIENT_CLIP)
    if not math.isfinite(norm):
        raise TrainingError(
            "the weights have diverged", None, "adapt with a smaller --learning-rate"
        )
    optimiser.step()


def _rate(done: float, step: int, options: AdaptOptions) -> float:
    """Return the learning rate: a short warm-up, then a half cosine down to 2 %."""
    decay = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    warm = min(1.0, (step + 1) / 20)
    return options.learning_rate * warm * (_LAST_RATE + (1 - _LAST_RATE) * decay)


def _surprise(cases: Sequence[HeldOut], network: Network) -> float:
    return float(np.mean([case.evidence(network).surprise.mean() for case in cases]))


def as_network(model: RCAN, device: torch.device) -> Network:
    """Return what restores a stack in network units with a torch model, whole, in float32."""
    fold = model.config.lateral_shuffle

    def run(stack: _Floats) -> _Floats:
        _, y, x = stack.shape
        padded = np.pad(stack, ((0, 0), (0, -y % fold), (0, -x % fold)), mode="reflect")
        with torch.inference_mode():
            made = model(torch.from_numpy(padded)[None, None].to(device))
        return np.asarray(made[0, 0, :, :y, :x].cpu().numpy()).copy()

    return run
