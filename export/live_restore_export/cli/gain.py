"""``live-restore-export gain``: what a model gains over the best Gaussian filter."""

from __future__ import annotations

import argparse
from pathlib import Path

from live_restore.errors import UsageError
from live_restore_export.cli.parsing import Commands, add_command, whole


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "gain",
        "measure how much a model helps on simulated stacks that it never saw",
        "  live-restore-export gain actin.onnx\n"
        "  live-restore-export gain actin.onnx --write --stacks 12",
        run,
    )
    parser.add_argument("model", type=Path, help="an ONNX file written by this tool")
    parser.add_argument(
        "--stacks", type=whole, default=12, help="stacks per light level (12; a minute on 2 cores)"
    )
    parser.add_argument("--write", action="store_true", help="write the result into the card")
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(arguments: argparse.Namespace) -> int:
    """Measure what a model gains over the best Gaussian filter."""
    from live_restore_export.cli.tables import print_gain
    from live_restore_export.onnx.export import load_model
    from live_restore_export.quality.gain import TEST_SEEDS, as_metrics, measure_gain, record_gain

    if not 1 <= arguments.stacks <= len(TEST_SEEDS):
        raise UsageError(f"--stacks must be between 1 and {len(TEST_SEEDS)}")
    seeds = TEST_SEEDS[: arguments.stacks]
    load_model(arguments.model)  # refuses what is none before a minute of work
    levels = measure_gain(arguments.model, seeds)
    if arguments.write:
        record_gain(arguments.model, levels, seeds)
    print_gain(levels, as_metrics(levels, seeds), as_json=arguments.json)
    return 0
