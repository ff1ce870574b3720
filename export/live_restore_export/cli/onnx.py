"""``live-restore-export onnx``: a checkpoint becomes a verified ONNX model."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from live_restore.errors import SettingsError, UsageError, one_line
from live_restore_export.cli.parsing import (
    Commands,
    add_architecture_flags,
    add_card_flags,
    add_command,
    check_output,
    positive,
    read_checkpoint,
)

if TYPE_CHECKING:
    from live_restore.inference.model.card import ModelCard
    from live_restore_export.checkpoints import Checkpoint


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "onnx",
        "convert a checkpoint into an ONNX model and verify it",
        "  live-restore-export onnx old_run/ -o actin.onnx --voxel-xy 0.065 --voxel-z 0.2\n"
        "  live-restore-export onnx net.pth -o net.onnx --precision mixed",
        run,
    )
    parser.add_argument("checkpoint", type=Path, help="file or folder of weights_*.hdf5")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL.onnx")
    parser.add_argument("--precision", choices=["fp32", "fp16", "bf16", "mixed"], default="fp32")
    parser.add_argument(
        "--error-bound",
        type=positive,
        metavar="E",
        help="largest accepted error of a reduced precision against fp32 (relative rms)",
    )
    parser.add_argument(
        "--half-weights",
        action="store_true",
        help="store weights in half precision: half the file, computed in float32 all the same",
    )
    parser.add_argument("--no-verify", action="store_true", help="do not compare it with torch")
    add_architecture_flags(parser)
    add_card_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Convert, verify, write."""
    from live_restore_export.cli.conversion import publish

    check_output(arguments.output, ".onnx", arguments.checkpoint)
    if arguments.half_weights and arguments.precision != "fp32":
        raise UsageError(
            f"--half-weights is for float32 models; those of {arguments.precision} have short "
            "weights already",
            remedy="leave one of the two out",
        )
    checkpoint = read_checkpoint(arguments.checkpoint, arguments)
    card = _card(checkpoint, arguments)
    return publish(
        checkpoint,
        card,
        arguments.output,
        verify_it=not arguments.no_verify,
        precision=arguments.precision,
        error_bound=arguments.error_bound,
        half_weights=arguments.half_weights,
    )


def _card(checkpoint: Checkpoint, arguments: argparse.Namespace) -> ModelCard:
    """Return the card from the card file, the flags and the checkpoint; flags go first."""
    from live_restore_export.onnx.export import card_name, make_card, overlap_zyx

    known: dict[str, Any] = {
        "overlap_zyx": overlap_zyx(checkpoint.network.config),
        "training": {
            "container": checkpoint.container,
            "port": checkpoint.port,
            "file": one_line(checkpoint.path.name),
            **({"epoch": checkpoint.epoch} if checkpoint.epoch is not None else {}),
            **({"loss": checkpoint.loss} if checkpoint.loss is not None else {}),
            **dict(checkpoint.training or {}),
        },
    }
    if checkpoint.notes:
        known["training"]["assumed"] = list(checkpoint.notes)
    if checkpoint.tile_zyx is not None:
        known["trained_patch_zyx"] = checkpoint.tile_zyx
    if arguments.card is not None:
        known |= _read_card_file(arguments.card)
    given = {
        "name": arguments.name,
        "description": arguments.description,
        "licence": arguments.licence,
        "percentiles": arguments.percentiles,
        "trained_patch_zyx": arguments.patch,
        "channel_meaning": arguments.channel,
    }
    known |= {key: value for key, value in given.items() if value is not None}
    voxels = {"z": arguments.voxel_z, "xy": arguments.voxel_xy}
    for axis, values in voxels.items():
        if values is not None and len(values) > 2:
            raise UsageError(f"--voxel-{axis} takes one size or a range of two")
    ranges = {axis: (min(v), max(v)) for axis, v in voxels.items() if v is not None}
    if ranges:
        known["trained_voxel_um"] = {**known.get("trained_voxel_um", {}), **ranges}
    name = known.pop("name", card_name(arguments.output.stem))
    return make_card(checkpoint.network.config, name, **known)


def _read_card_file(path: Path) -> dict[str, Any]:
    """Return the card values of a TOML file; raises ``SettingsError``."""
    from live_restore_export.onnx.export import check_card_values

    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"is not a TOML file: {error}", path) from error
    check_card_values(values, path)
    return values
