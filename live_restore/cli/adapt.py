"""``live-restore adapt``: fine-tune a model on a run, in a process of the workshop.

This program never loads PyTorch: ``live-restore-export adapt`` does the work, if it is installed.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

from live_restore.cli.parsing import Commands, add_command, folder
from live_restore.workshop import adapt_command, require_workshop


def add(commands: Commands) -> None:
    """Register the command."""
    parser = add_command(
        commands, "adapt", run, "fine-tune a model on the noisy stacks of a run (needs PyTorch)",
        "live-restore adapt D:\\data\\run_1 --config config.toml",
        "live-restore adapt D:\\data\\run_1 --model standard --minutes 10 -o actin.onnx",
        engine=False,
    )  # fmt: skip
    parser.add_argument(
        "run", type=folder, metavar="RUN",
        help="an acquisition's folder, a folder of TIFF files, or a file of several stacks",
    )  # fmt: skip
    parser.add_argument(
        "--model",
        help="to begin with: bundled, or an .onnx file (default: what restores that channel)",
    )
    parser.add_argument("--minutes", metavar="N", help="that it may learn (30)")
    parser.add_argument("--channel", metavar="N", help="which, from 0 (0)")
    parser.add_argument("--device", metavar="DEVICE", help='"auto", "cpu" or "cuda"')
    parser.add_argument(
        "-o", "--output", type=Path, metavar="MODEL.onnx",
        help="the adapted model (default: RUN_adapted.onnx beside the run)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Run ``live-restore adapt``."""
    require_workshop()
    flags = ("config", "model", "minutes", "channel", "device", "output")
    command = adapt_command(arguments.run, **{flag: getattr(arguments, flag) for flag in flags})
    if arguments.debug:
        command.insert(-2, "--debug")
    return subprocess.run(command, check=False).returncode
