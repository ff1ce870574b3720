"""``live-restore-export verify``: does a model compute what it should?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from live_restore.errors import ModelError, UsageError
from live_restore_export.cli.parsing import (
    Commands,
    add_architecture_flags,
    add_command,
    positive,
    read_checkpoint,
)

if TYPE_CHECKING:
    from live_restore.inference.model.card import ModelCard
    from live_restore_export.onnx.verify import Comparison


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "verify",
        "compare an ONNX model with torch or with recorded results",
        "  live-restore-export verify actin.onnx --against weights_250_0.0331.hdf5\n"
        "  live-restore-export verify actin.onnx --io io.npz --tolerance 1e-5",
        run,
    )
    parser.add_argument("model", type=Path, help="an ONNX file written by this tool")
    parser.add_argument("--against", type=Path, metavar="CHECKPOINT")
    parser.add_argument(
        "--io",
        type=Path,
        metavar="NPZ",
        help="direct_in and direct_out, as a network computed them",
    )
    parser.add_argument("--tolerance", type=positive, metavar="T", help="network units")
    parser.add_argument("--json", action="store_true", help="for scripts")
    add_architecture_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Compare a model with its own weights in torch, a checkpoint, or a record."""
    from live_restore_export.cli.tables import print_comparisons
    from live_restore_export.onnx.export import load_model, read_card, weights_digest
    from live_restore_export.onnx.graph import has_half_weights, network_of, round_to_half
    from live_restore_export.onnx.verify import compare_with_network, compare_with_record

    model = load_model(arguments.model)
    card = read_card(model)
    if card.weights_sha256 != weights_digest(model):
        raise ModelError("has other weights than its card describes", arguments.model)
    tolerance = _tolerance(card) if arguments.tolerance is None else arguments.tolerance
    rows: list[Comparison] = []
    if arguments.against is not None:
        checkpoint = read_checkpoint(arguments.against, arguments)
        if checkpoint.network.config != network_of(model, card.architecture).config:
            raise UsageError("has another architecture than the model", arguments.against)
        if card.precision == "fp32" and has_half_weights(model):
            round_to_half(checkpoint.network)
        rows += compare_with_network(model, checkpoint.network, tolerance)
        title = f"{arguments.model.name} against {checkpoint.path.name} (torch, float64)"
    elif arguments.io is None:
        rows += compare_with_network(model, network_of(model, card.architecture), tolerance)
        title = f"{arguments.model.name} against its own weights (torch, float64)"
    else:
        title = f"{arguments.model.name} against {arguments.io.name}"
    if arguments.io is not None:
        rows += compare_with_record(model, arguments.io, tolerance)
    print_comparisons(rows, title, as_json=arguments.json)
    return 0 if all(row.passed for row in rows) else 1


def _tolerance(card: ModelCard) -> float:
    """Return what a model may differ by: float32 rounding, or what its card records."""
    from live_restore_export.onnx.verify import FP32_TOLERANCE
    from live_restore_export.quality.precision_error import ERROR_BOUNDS, reduced_tolerance

    if card.precision == "fp32":
        return FP32_TOLERANCE
    bound = card.metrics.get("precision_error", {}).get("bound_relative_rms")
    return reduced_tolerance(bound if isinstance(bound, float) else ERROR_BOUNDS[card.precision])
