"""From a checkpoint to a verified model file, as the commands ``onnx`` and ``train`` end.

Imports torch: commands import it when they run.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import onnx

from live_restore.errors import InferenceError, ModelError, one_line
from live_restore.inference.model.card import ModelCard
from live_restore_export.checkpoints import Checkpoint
from live_restore_export.cli.tables import print_comparisons
from live_restore_export.onnx.export import embed_card, export_network, write_atomically
from live_restore_export.onnx.graph import round_to_half
from live_restore_export.onnx.precision import Precision
from live_restore_export.onnx.verify import FP32_TOLERANCE, compare_with_network, has_bfloat16
from live_restore_export.quality.precision_error import (
    ERROR_BOUNDS,
    measure,
    precision_errors,
    reduce_precision,
    reduced_tolerance,
)


def publish(
    checkpoint: Checkpoint,
    card: ModelCard,
    path: Path,
    *,
    verify_it: bool,
    precision: Precision = "fp32",
    error_bound: float | None = None,
    half_weights: bool = False,
) -> int:
    """Write the model of a checkpoint if it computes what torch computes; return an exit code."""
    if half_weights:
        checkpoint, card = _rounded(checkpoint, card)
    model = export_network(checkpoint.network, card)
    if verify_it and not half_weights:
        _require(model, checkpoint, path, FP32_TOLERANCE)
    config = checkpoint.network.config
    if precision == "fp32" and verify_it:
        metrics = {**card.metrics, "precision_errors": precision_errors(model, config)}
        card = card.model_copy(update={"metrics": metrics})
        embed_card(model, card)
    if half_weights:
        model = export_network(checkpoint.network, card, half_weights=True)
        if verify_it:
            _require(model, checkpoint, path, FP32_TOLERANCE)
    if precision != "fp32":
        model, card, error = reduce_precision(model, card, config, precision, error_bound)
        embed_card(model, card)
        print(
            f"{precision}: {error.relative_rms:.2g} relative rms from fp32 on {error.stacks} "
            f"stacks (bound {error.bound:g}), largest {error.largest:.2g}"
        )
        if verify_it:
            _require(model, checkpoint, path, reduced_tolerance(error.bound))
    write_atomically(model.SerializeToString(), path)
    print(f"wrote {one_line(path)}")
    for note in checkpoint.notes:
        print(f"note: {note}")
    return 0


def _rounded(checkpoint: Checkpoint, card: ModelCard) -> tuple[Checkpoint, ModelCard]:
    """Return a checkpoint with weights in half precision, and a card that records what that cost.

    Raises
    ------
    ModelError
        More than the bound of float16 (relative rms), or a weight is too large.
    """
    network = copy.deepcopy(checkpoint.network)
    round_to_half(network)
    rounded, exact = (export_network(each, card) for each in (network, checkpoint.network))
    error = measure(rounded, exact, network.config, ERROR_BOUNDS["fp16"])
    cost = (
        f"{error.relative_rms:.2g} relative rms from the unrounded weights on {error.stacks} "
        f"stacks (bound {error.bound:g})"
    )
    if not error.accepted:
        raise ModelError(f"--half-weights: {cost}", checkpoint.path, "leave it out")
    print(f"weights rounded to half precision: {cost}")
    metrics = {**card.metrics, "half_weights_relative_rms": error.relative_rms}
    return replace(checkpoint, network=network), card.model_copy(update={"metrics": metrics})


def _require(model: onnx.ModelProto, checkpoint: Checkpoint, path: Path, tolerance: float) -> None:
    rows = compare_with_network(model, checkpoint.network, tolerance)
    where = "torch, each node in its type" if has_bfloat16(model) else "ONNX Runtime, CPU"
    print_comparisons(
        rows, f"{path.name} ({where}) against {checkpoint.path.name} (torch, float64)"
    )
    if not all(row.passed for row in rows):
        raise InferenceError(
            "does not compute what the checkpoint computes; nothing was written", path
        )
