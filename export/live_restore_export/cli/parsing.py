"""What the commands' parsers share: kinds of numbers, groups of flags, files in and out."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from live_restore.errors import UsageError, one_line

if TYPE_CHECKING:
    from live_restore_export.checkpoints import Checkpoint


class Parser(argparse.ArgumentParser):
    """Reports what was wrong in one line; ``--help`` has the rest."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {one_line(message)}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


# In quotes: argparse's class takes a type for checkers only.
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


def add_command(
    commands: Commands,
    name: str,
    what: str,
    examples: str,
    run: Callable[[argparse.Namespace], int],
) -> Parser:
    """Add a command and return its parser.

    Parameters
    ----------
    commands
        Where it is added.
    name, what, examples
        For its help; ``what`` begins with a small letter.
    run
        Does it and returns the exit code. It imports what it needs: torch takes seconds to load.
    """
    added = commands.add_parser(
        name,
        help=what,
        description=what[0].upper() + what[1:] + ".",
        epilog="examples:\n" + examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added.add_argument("--debug", action="store_true", help="show the traceback of an error")
    added.set_defaults(run=run)
    return added


def whole(text: str) -> int:
    """Return a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return value


def seed(text: str) -> int:
    """Return a whole number of at least 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be below 0, not {text}")
    return value


def positive(text: str) -> float:
    """Return a finite number above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text}")
    return value


def number_range(text: str) -> tuple[float, float]:
    """Return both ends of ``LOW:HIGH``; of one number, that number twice."""
    low, _, high = text.partition(":")
    limits = positive(low), positive(high or low)
    if limits[0] > limits[1]:
        raise argparse.ArgumentTypeError(f"must run upwards, not {text}")
    return limits


# argparse puts these names into its messages.
whole.__name__ = seed.__name__ = "whole number"
positive.__name__, number_range.__name__ = "number", "range"


def add_architecture_flags(parser: argparse.ArgumentParser) -> None:
    """Add what a person may know of a checkpoint's architecture, and which file to choose."""
    group = parser.add_argument_group(
        "architecture",
        "Read from the file; what is given here must agree with it. A weights-only file does not "
        "hold its residual scaling.",
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
        group.add_argument(f"--{name}", type=whole, metavar="N", help=what)
    group.add_argument(
        "--residual-scaling", type=positive, metavar="F", help="factor on each residual"
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


def add_card_flags(parser: argparse.ArgumentParser) -> None:
    """Add the values of a card that a person decides."""
    group = parser.add_argument_group("card", "what the daemon shows its user about the model")
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
        type=whole,
        nargs=3,
        metavar=("Z", "Y", "X"),
        help="patch shape in training, voxels",
    )
    group.add_argument(
        "--voxel-z",
        type=positive,
        nargs="+",
        metavar="UM",
        help="trained voxel depth, or its range",
    )
    group.add_argument(
        "--voxel-xy",
        type=positive,
        nargs="+",
        metavar="UM",
        help="trained pixel size, or its range",
    )
    group.add_argument("--channel", action="append", metavar="TEXT", help="meaning of each channel")


def read_checkpoint(path: Path, arguments: argparse.Namespace) -> Checkpoint:
    """Return the checkpoint at ``path``, read with the architecture flags of a command."""
    from live_restore_export.checkpoints import ArchitectureFlags, load_checkpoint

    flags = {field.name: getattr(arguments, field.name) for field in fields(ArchitectureFlags)}
    return load_checkpoint(path, ArchitectureFlags(**flags), newest=arguments.newest)


def check_output(path: Path, ending: str, source: Path) -> None:
    """Refuse a place where no result can be written; raises ``UsageError``."""
    if path.suffix != ending:
        raise UsageError(f"should end in {ending}", path)
    if not path.parent.is_dir():
        raise UsageError("is in a folder that does not exist", path, "create the folder first")
    if path.is_dir():
        raise UsageError("is a folder, not a file", path)
    if path.exists() and source.exists() and path.samefile(source):
        raise UsageError("is also the file to read", path, "give the result another name")
