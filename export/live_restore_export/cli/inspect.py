"""``live-restore-export inspect``: what a checkpoint or a model is."""

from __future__ import annotations

import argparse
from pathlib import Path

from live_restore_export.cli.parsing import (
    Commands,
    add_architecture_flags,
    add_command,
    read_checkpoint,
)


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "inspect",
        "show what a checkpoint or a model is",
        "  live-restore-export inspect weights_250_0.0331.hdf5\n"
        "  live-restore-export inspect old_run/ --newest --json",
        run,
    )
    parser.add_argument("checkpoint", type=Path, help="file or folder of weights_*.hdf5")
    parser.add_argument("--json", action="store_true", help="for scripts")
    add_architecture_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what a checkpoint or one of our models is."""
    from live_restore_export.cli.tables import print_card, print_checkpoint

    if arguments.checkpoint.suffix == ".onnx" and arguments.checkpoint.is_file():
        from live_restore_export.onnx.export import load_model, read_card

        print_card(read_card(load_model(arguments.checkpoint)), as_json=arguments.json)
        return 0
    print_checkpoint(read_checkpoint(arguments.checkpoint, arguments), as_json=arguments.json)
    return 0
