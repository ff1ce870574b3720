"""``live-restore-export kernels``: a model's network in kernels of our own, for NVIDIA GPUs."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from live_restore.errors import ModelError, UsageError, one_line
from live_restore_export.cli.parsing import Commands, add_command


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "kernels",
        "compile a model's kernels for NVIDIA GPUs, where there is none (Linux)",
        "  live-restore-export kernels fast\n"
        "  live-restore-export kernels actin.onnx -o models/actin.kernels.zip",
        run,
    )
    parser.add_argument("model", help="an ONNX file written by this tool, or a bundled model")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="MODEL.kernels.zip",
        help="default: beside the model, where live-restore looks for it",
    )


def run(arguments: argparse.Namespace) -> int:
    """Compile the kernels of a model."""
    from live_restore.inference.backends.kernels.kernel_file import SUFFIX, kernels_beside
    from live_restore.inference.load import find_model
    from live_restore_export.kernels.package import network_of, package
    from live_restore_export.onnx.export import load_model, read_card, write_atomically

    path = find_model(arguments.model)
    output = arguments.output or kernels_beside(path)
    if not output.name.endswith(SUFFIX):
        raise UsageError(f"should end in {SUFFIX}", output)
    if not output.parent.is_dir():
        raise UsageError("is in a folder that does not exist", output, "create the folder first")
    if importlib.util.find_spec("triton") is None:
        raise UsageError(
            "Triton is not installed; it compiles kernels, on Linux", None,
            'install it with: pip install "live-restore[kernels]"',
        )  # fmt: skip
    from live_restore_export.kernels.ahead import COMPILER, build

    card = read_card(load_model(path))
    content = path.read_bytes()
    try:
        network = network_of(content, card.architecture)
    except ModelError as error:
        raise ModelError(error.what, path, "give it a model of live-restore-export") from error
    data = package(card.name, content, network, COMPILER, build)
    write_atomically(data, output)
    print(f"wrote {one_line(output)} ({len(data) / 1e6:.1f} MB)")
    return 0
