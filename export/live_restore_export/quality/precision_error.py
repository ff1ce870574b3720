"""The error that a reduced precision costs, measured on simulated stacks against float32."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from live_restore.errors import ModelError
from live_restore.inference.model.card import ModelCard
from live_restore_export.network import RCANConfig
from live_restore_export.onnx.evaluate import evaluate
from live_restore_export.onnx.precision import Precision, convert
from live_restore_export.simulator.simulate import SimulationConfig
from live_restore_export.training.options import TrainingOptions
from live_restore_export.training.sources import SimulatedSource

# Largest accepted root-mean-square difference from fp32 on test stacks, over the standard
# deviation of the fp32 output. Half precision has 11 significant bits, bfloat16 8: a rounding of
# 2.4e-4 and 2e-3 each; the bounds allow it to grow by 20, and are far below the noise that is left
# in a restored image.
ERROR_BOUNDS: dict[str, float] = {"fp16": 5e-3, "mixed": 5e-3, "bf16": 4e-2}

# A single voxel differs by more than the rms; measured on random and trained weights, the largest
# difference was never above twice the relative rms.
_LARGEST_OVER_RMS = 4.0


def reduced_tolerance(bound: float) -> float:
    """Return the largest difference (network units) to accept under a relative rms ``bound``."""
    return _LARGEST_OVER_RMS * bound


@dataclass(frozen=True)
class PrecisionError:
    """Difference between a reduced model and fp32 on test stacks."""

    relative_rms: float
    """Root mean square of the difference over the standard deviation of the fp32 output."""
    largest: float
    """Largest difference, network units."""
    bound: float
    stacks: int

    @property
    def accepted(self) -> bool:
        """Whether the relative error is within its bound; NaN and infinity are not."""
        return self.relative_rms <= self.bound


@functools.cache
def simulated_stacks(channels: int, count: int = 3) -> tuple[NDArray[np.float32], ...]:
    """Return simulated low-light stacks (1, C, Z, Y, X) in network units, always the same ones."""
    options = TrainingOptions(patch_zyx=(8, 48, 48))
    simulation = SimulationConfig.model_validate({"shape_zyx": (16, 64, 64)})
    source = SimulatedSource(simulation, 2_000_000_000)
    stacks = []
    for i in range(count):
        scene = source.load(i)
        images = [
            scene.cut(options, 0.0, np.random.default_rng((i, c))).noisy for c in range(channels)
        ]
        stacks.append(np.stack(images)[np.newaxis])
    return tuple(stacks)


def measure(
    reduced: onnx.ModelProto, exact: onnx.ModelProto, config: RCANConfig, bound: float
) -> PrecisionError:
    """Compare a reduced model with its float32 original on test stacks."""
    squares, variances, largest = [], [], 0.0
    stacks = simulated_stacks(config.in_channels)
    for stack in stacks:
        want = evaluate(exact, stack).astype(np.float64)
        difference = evaluate(reduced, stack).astype(np.float64) - want
        squares.append(float(np.mean(difference**2)))
        variances.append(float(np.var(want)))
        largest = max(largest, float(np.abs(difference).max()))
    relative = float(np.sqrt(np.mean(squares) / np.mean(variances)))
    return PrecisionError(relative, largest, bound, len(stacks))


_STACKS = "simulated low-light stacks of 8 x 48 x 48"
_COMPUTED_BY = "torch on a CPU, each node rounded to its type, float32 sums inside"


def precision_errors(model: onnx.ModelProto, config: RCANConfig) -> dict[str, dict[str, Any]]:
    """Return what running a float32 model in less would cost, for ``metrics.precision_errors``.

    Devices that reduce precision themselves ask the card for it
    (``live_restore/inference/device/precision.py``).
    """
    errors: dict[str, dict[str, Any]] = {}
    for precision in ("bf16", "fp16"):
        try:
            reduced = convert(model, config, precision)
        except ModelError:  # a weight too large for the type: no device may try
            errors[precision] = {"relative_rms": None}
            continue
        error = measure(reduced, model, config, ERROR_BOUNDS[precision])
        errors[precision] = {
            "relative_rms": error.relative_rms,
            "largest_network_units": error.largest,
            "stacks": f"{error.stacks} {_STACKS}",
            "computed_by": _COMPUTED_BY,
        }
    return errors


def reduce_precision(
    model: onnx.ModelProto,
    card: ModelCard,
    config: RCANConfig,
    precision: Precision,
    bound: float | None = None,
) -> tuple[onnx.ModelProto, ModelCard, PrecisionError]:
    """Return the reduced model, its card with the measured error, and the error.

    Raises
    ------
    ModelError
        The error is above ``bound`` (``ERROR_BOUNDS`` where not given).
    """
    bound = ERROR_BOUNDS[precision] if bound is None else bound
    reduced = convert(model, config, precision)
    error = measure(reduced, model, config, bound)
    if not error.accepted:
        raise ModelError(
            f"{precision} differs by {error.relative_rms:.2g} (relative rms) from fp32 on test "
            f"stacks, more than {bound:g}",
            remedy="use --precision fp32, or mixed",
        )
    metrics = {
        **card.metrics,
        "precision_error": {
            "against": "fp32",
            "relative_rms": error.relative_rms,
            "largest_network_units": error.largest,
            "bound_relative_rms": bound,
            "stacks": f"{error.stacks} {_STACKS}",
            "computed_by": _COMPUTED_BY,
        },
    }
    return reduced, card.model_copy(update={"precision": precision, "metrics": metrics}), error
