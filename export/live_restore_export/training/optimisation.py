"""How weights are changed: rate, loss, optimiser, running average, reduced precision."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from live_restore.errors import DeviceError
from live_restore_export.training.options import TrainingOptions

_CHARBONNIER_EPSILON = 1e-3
"""Network units; Lai et al., IEEE Trans. Pattern Anal. Mach. Intell. 41, 2599 (2019)."""

# Network units: the noise of a patch of some 30 e-, at which a weight is 1, and less than any has.
_USUAL_NOISE = 0.05
_LEAST_NOISE = 1e-3
# Whose mean a person measures: a vesicle's surroundings rather than a nucleus.
_REGION_ZYX = (4, 8, 8)

AUTOCAST_TYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def choose_device(wanted: str) -> torch.device:
    """Return the device that ``auto``, ``cpu`` or ``cuda`` means here.

    Raises
    ------
    DeviceError
        ``cuda`` was asked for by name, and torch finds none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "torch finds no CUDA device",
            remedy='install the CUDA build of torch, or set training.device = "cpu"',
        )
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def learning_rate(step: int, total: float, options: TrainingOptions) -> float:
    """Return the rate at ``step``: linear warm-up, then a half cosine down to 1 %."""
    warm = min(1.0, (step + 1) / options.warmup_steps)
    decay = 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))
    return options.learning_rate * warm * (0.01 + 0.99 * decay)


def precision_of(step: int, total: float, options: TrainingOptions) -> str:
    """Return what ``step`` computes in: a key of ``AUTOCAST_TYPES``."""
    return "float32" if step >= (1 - options.float32_share) * total else options.precision


def loss_of(restored: Tensor, noisy: Tensor, truth: Tensor, options: TrainingOptions) -> Tensor:
    """Return the loss of a batch (N, 1, Z, Y, X), in float32 whatever the network computed in.

    ``"mae"`` is the mean absolute error (Chen et al. 2021); ``"charbonnier"`` the same with a round
    bottom, the mean of ``sqrt(error**2 + epsilon**2)`` with 0.001 and ``charbonnier_noise_share``
    of the patch's noise as epsilon. Each patch is weighed by its noise, the mean
    of ``|noisy - truth|``, to the power of ``-options.noise_balance``.

    ``options.brightness_share`` adds the squared mean error of regions, over what noise alone
    leaves of such a mean: a voxel's error may be traded for its neighbour's, a region's light may
    not be lost.
    """
    axes = (1, 2, 3, 4)
    error = restored.float() - truth
    noise = (noisy - truth).abs().mean(dim=axes).clamp_min(_LEAST_NOISE)
    lost = _lost_light(error, noise) if options.brightness_share else 0.0
    if options.loss == "charbonnier":
        epsilon = _CHARBONNIER_EPSILON + options.charbonnier_noise_share * noise
        error = torch.sqrt(error**2 + epsilon.view(-1, 1, 1, 1, 1) ** 2)
    per_patch = error.abs().mean(dim=axes)
    if options.noise_balance:
        per_patch = per_patch * (_USUAL_NOISE / noise) ** options.noise_balance
    return per_patch.mean() + options.brightness_share * _USUAL_NOISE * lost


def _lost_light(error: Tensor, noise: Tensor) -> Tensor:
    """Return the mean square of the regions' mean errors, 1 where it is that of the raw noise."""
    region = tuple(min(size, most) for size, most in zip(error.shape[2:], _REGION_ZYX, strict=True))
    means = torch.nn.functional.avg_pool3d(error, region)
    voxels = float(region[0] * region[1] * region[2])
    of_noise = (noise**2 / voxels).view(-1, 1, 1, 1, 1)
    # A region that is wrong by far more than noise is structure not learnt yet: linear from there.
    return torch.nn.functional.huber_loss(
        means / of_noise.sqrt(), torch.zeros_like(means), delta=3.0
    )


def gradients(
    model: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    noisy: Tensor,
    loss_of_restored: Callable[[Tensor], Tensor],
    precision: str,
    clip: float,
) -> tuple[Tensor, Tensor]:
    """Leave clipped gradients in the weights, for the scaler's step.

    Parameters
    ----------
    model, optimiser, scaler
        What learns. The scaler is for float16, whose steps overflow now and then, and disabled for
        others.
    noisy
        A batch (N, C, Z, Y, X).
    loss_of_restored
        Takes what the model makes of it.
    precision
        What the model computes in: a key of ``AUTOCAST_TYPES``.
    clip
        Largest norm of the gradients.

    Returns
    -------
    loss, norm
        On the device; the norm is that before the clipping.
    """
    device = noisy.device.type
    with torch.autocast(device, AUTOCAST_TYPES[precision], enabled=precision != "float32"):
        restored = model(noisy)
    loss = loss_of_restored(restored)
    optimiser.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    scaler.unscale_(optimiser)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    # torch 2.13 on processors with AVX-512 bf16 gives NaN gradients, without an error, for patches
    # of two planes. float16 has the scaler, which leaves such a step out.
    if precision == "bfloat16" and device == "cpu" and not math.isfinite(norm):
        return gradients(model, optimiser, scaler, noisy, loss_of_restored, "float32", clip)
    return loss.detach(), norm


def make_optimiser(model: torch.nn.Module, options: TrainingOptions) -> torch.optim.Optimizer:
    """Return Adam or AdamW over all weights."""
    kind = torch.optim.AdamW if options.optimiser == "adamw" else torch.optim.Adam
    # Fused, on a GPU it neither waits for the scaler's verdict nor takes a launch per weight.
    on_gpu = next(model.parameters()).device.type == "cuda"
    return kind(
        model.parameters(),
        lr=options.learning_rate,
        weight_decay=options.weight_decay,
        fused=on_gpu or None,
    )


@torch.no_grad()
def follow(average: torch.nn.Module, model: torch.nn.Module, step: int, decay: float) -> None:
    """Move the running average of the weights towards those after ``step`` steps.

    Early averages are short, so that the random start is soon forgotten.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    move = get_ema_multi_avg_fn(1 - weight)  # type: ignore[no-untyped-call]
    means: list[Tensor] = list(average.parameters())
    move(means, list(model.parameters()), 0)
