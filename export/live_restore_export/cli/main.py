"""The command ``live-restore-export``: parsing, help and exit codes; the work is elsewhere."""

from __future__ import annotations

import argparse
import importlib
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from live_restore.errors import LiveRestoreError, one_line

Command = Callable[[argparse.Namespace], int]


class _Parser(argparse.ArgumentParser):
    """Says what was wrong in one line; ``--help`` has the rest."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {one_line(message)}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


def _command(name: str, module: str) -> Command:
    """Return a command that is imported when it is run: torch takes seconds to load."""

    def run(arguments: argparse.Namespace) -> int:
        return int(getattr(importlib.import_module(module), name)(arguments))

    return run


def _whole(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return value


def _seed(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be below 0, not {text}")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text}")
    return value


def _range(text: str) -> tuple[float, float]:
    low, _, high = text.partition(":")
    limits = _positive(low), _positive(high or low)
    if limits[0] > limits[1]:
        raise argparse.ArgumentTypeError(f"must run upwards, not {text}")
    return limits


# What argparse calls them.
_whole.__name__ = _seed.__name__ = "whole number"
_positive.__name__, _range.__name__ = "number", "range"


def _architecture_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "architecture",
        "Read from the file; what is said here must agree with it. A weights-only file does not "
        "tell its residual scaling.",
    )
    for name, what in (
        ("groups", "residual groups"),
        ("blocks", "attention blocks per group"),
        ("channels", "feature channels"),
        ("reduction", "squeeze factor of channel attention"),
        ("in-channels", "image channels in"),
        ("out-channels", "image channels out"),
        ("lateral-shuffle", "lateral folding, for bare weights of our own networks"),
    ):
        group.add_argument(f"--{name}", type=_whole, metavar="N", help=what)
    group.add_argument(
        "--residual-scaling", type=_positive, metavar="F", help="factor on each residual"
    )
    group.add_argument(
        "--no-standardise",
        dest="standardise",
        action="store_const",
        const=False,
        help="the graph does not map 0...1 to -1...1 and back (an option of fluoresfm)",
    )
    parser.add_argument(
        "--newest",
        action="store_true",
        help="of a folder of weights_*.hdf5 the highest epoch, not the lowest loss",
    )


def _card_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("card", "what the daemon tells its user about the model")
    group.add_argument("--card", type=Path, metavar="TOML", help="card values from a TOML file")
    group.add_argument("--name", help="model name (default: the file's)")
    group.add_argument("--description", help="one sentence for people")
    group.add_argument("--licence", help="licence of the weights")
    group.add_argument(
        "--percentiles",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="percentiles of a stack that are 0 and 1 to the network (default 2 99.9)",
    )
    group.add_argument(
        "--patch",
        type=_whole,
        nargs=3,
        metavar=("Z", "Y", "X"),
        help="patch shape in training, voxels",
    )
    group.add_argument(
        "--voxel-z",
        type=_positive,
        nargs="+",
        metavar="UM",
        help="trained voxel depth, or its range",
    )
    group.add_argument(
        "--voxel-xy",
        type=_positive,
        nargs="+",
        metavar="UM",
        help="trained pixel size, or its range",
    )
    group.add_argument("--channel", action="append", metavar="TEXT", help="meaning of each channel")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    debug = _Parser(add_help=False)
    debug.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser = _Parser(
        prog="live-restore-export",
        description="Turn trained 3D RCANs into verified ONNX models for live-restore.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="exit codes: 0 good, 1 the work failed (a check among it), 2 wrong use or file",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(
        name: str, what: str, examples: str, module: str = "live_restore_export.cli.commands"
    ) -> _Parser:
        added = commands.add_parser(
            name,
            help=what,
            description=what[0].upper() + what[1:] + ".",
            epilog="examples:\n" + examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[debug],
        )
        added.set_defaults(run=_command(name, module))
        return added

    inspect = add(
        "inspect",
        "tell what a checkpoint or a model is",
        "  live-restore-export inspect weights_250_0.0331.hdf5\n"
        "  live-restore-export inspect old_run/ --newest --json",
    )
    inspect.add_argument("checkpoint", type=Path, help="file or folder of weights_*.hdf5")
    inspect.add_argument("--json", action="store_true", help="for scripts")
    _architecture_flags(inspect)

    onnx = add(
        "onnx",
        "convert a checkpoint into an ONNX model and verify it",
        "  live-restore-export onnx old_run/ -o actin.onnx --voxel-xy 0.065 --voxel-z 0.2\n"
        "  live-restore-export onnx net.pth -o net.onnx --precision mixed",
    )
    onnx.add_argument("checkpoint", type=Path, help="file or folder of weights_*.hdf5")
    onnx.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL.onnx")
    onnx.add_argument("--precision", choices=["fp32", "fp16", "bf16", "mixed"], default="fp32")
    onnx.add_argument(
        "--error-bound",
        type=_positive,
        metavar="E",
        help="largest accepted error of a reduced precision against fp32 (relative rms)",
    )
    onnx.add_argument(
        "--half-weights",
        action="store_true",
        help="store weights in half precision: half the file, computed in float32 all the same",
    )
    onnx.add_argument("--no-verify", action="store_true", help="do not compare it with torch")
    _architecture_flags(onnx)
    _card_flags(onnx)

    verify = add(
        "verify",
        "compare an ONNX model with torch or with recorded results",
        "  live-restore-export verify actin.onnx --against weights_250_0.0331.hdf5\n"
        "  live-restore-export verify actin.onnx --io io.npz --tolerance 1e-5",
    )
    verify.add_argument("model", type=Path, help="an ONNX file written by this tool")
    verify.add_argument("--against", type=Path, metavar="CHECKPOINT")
    verify.add_argument(
        "--io",
        type=Path,
        metavar="NPZ",
        help="direct_in and direct_out, as a network computed them",
    )
    verify.add_argument("--tolerance", type=_positive, metavar="T", help="network units")
    verify.add_argument("--json", action="store_true", help="for scripts")
    _architecture_flags(verify)

    train = add(
        "train",
        "train a network on simulated or measured stacks and convert it",
        "  live-restore-export train export/live_restore_export/configs/fast.toml -o runs/fast\n"
        "  live-restore-export train actin.toml -o runs/actin --init bundled\n"
        "  live-restore-export train actin.toml -o runs/actin --resume",
        "live_restore_export.training.commands",
    )
    train.add_argument("config", type=Path, help="training configuration, TOML")
    train.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    train.add_argument("--resume", action="store_true", help="go on where a run was stopped")
    train.add_argument(
        "--init",
        metavar="WEIGHTS",
        help='fine-tune: "bundled", the name of a bundled model, an ONNX model or a checkpoint',
    )

    degrade = add(
        "degrade",
        "write low-light twins of clean stacks, as a camera would record them",
        "  live-restore-export degrade clean/ -o low/ --peak-e 10:100 --seed 1\n"
        "  live-restore-export degrade cell.tif -o low/ --peak-e 30 --gain 0.46 --read-noise 1.6",
        "live_restore_export.training.commands",
    )
    degrade.add_argument("clean", type=Path, help="TIFF file, or folder of them")
    degrade.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    degrade.add_argument("--seed", type=_seed, default=0, help="another seed, other noise (0)")
    for flag, what in (
        ("peak-e", "photo-electrons at the 99.9th percentile"),
        ("background", "flat background over the peak"),
        ("gain", "grey values per photo-electron"),
        ("read-noise", "read noise (e-)"),
        ("offset", "grey value of darkness"),
    ):
        degrade.add_argument(
            f"--{flag}", type=_range, metavar="LOW:HIGH", help=f"{what}; one number or a range"
        )

    gain = add(
        "gain",
        "measure how much a model helps on simulated stacks that it never saw",
        "  live-restore-export gain actin.onnx\n"
        "  live-restore-export gain actin.onnx --write --stacks 12",
    )
    gain.add_argument("model", type=Path, help="an ONNX file written by this tool")
    gain.add_argument(
        "--stacks", type=_whole, default=12, help="stacks per light level (12; a minute on 2 cores)"
    )
    gain.add_argument("--write", action="store_true", help="write the result into the card")
    gain.add_argument("--json", action="store_true", help="for scripts")

    limits = add(
        "limits",
        "find where a model stops helping, on simulated stacks that it never saw",
        "  live-restore-export limits actin.onnx -o actin_limits\n"
        "  live-restore-export limits actin.onnx --quick\n"
        "  live-restore-export limits actin.onnx --record",
    )
    limits.add_argument("model", type=Path, help="an ONNX file written by this tool")
    limits.add_argument(
        "-o", "--output", type=Path, metavar="DIR",
        help="where table, JSON and figure go (default: beside the model, MODEL_limits)",
    )  # fmt: skip
    limits.add_argument(
        "--quick", action="store_true", help="few points and small stacks: under a minute"
    )
    limits.add_argument("--stacks", type=_whole, metavar="N", help="per point (12, with --quick 2)")
    limits.add_argument("--json", action="store_true", help="print the envelope as JSON")
    limits.add_argument("--record", action="store_true", help="write the envelope into the card")

    package = add(
        "bioimageio",
        "pack an ONNX model for the BioImage Model Zoo",
        "  live-restore-export bioimageio actin.onnx -o actin.zip --author 'A. Person'",
    )
    package.add_argument("model", type=Path, help="an ONNX file written by this tool")
    package.add_argument("-o", "--output", type=Path, required=True, metavar="PACKAGE.zip")
    package.add_argument("--author", action="append", metavar="NAME", help="who trained it")
    package.add_argument("--licence", metavar="SPDX", help="such as CC-BY-4.0")
    package.add_argument("--documentation", type=Path, metavar="MD", help="README to enclose")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 good, 1 work failed, 2 wrong use."""
    arguments = build_parser().parse_args(argv)
    if not arguments.debug:
        sys.excepthook = _short_report
    run: Command = arguments.run
    try:
        return run(arguments)
    except LiveRestoreError as error:
        if arguments.debug:
            raise
        print(f"live-restore-export: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if arguments.debug:
            raise
        what = error.strerror or str(error)
        where = f"{error.filename}: " if error.filename else ""
        print(f"live-restore-export: {one_line(where + what)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("live-restore-export: stopped", file=sys.stderr)
        return 130


def _short_report(
    kind: type[BaseException], error: BaseException, _trace: TracebackType | None
) -> None:
    """Report a mistake of ours in one line: what nobody foresaw ends here."""
    print(
        f"live-restore-export: internal error: {kind.__name__}: {one_line(error)}; "
        "run it again with --debug and report it",
        file=sys.stderr,
    )
