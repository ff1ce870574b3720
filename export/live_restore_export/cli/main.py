"""The command ``live-restore-export``: its parser, and exit codes; each command has a file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from types import TracebackType

from live_restore.errors import LiveRestoreError, one_line
from live_restore_export.cli import (
    adapt,
    bioimageio,
    degrade,
    gain,
    inspect,
    kernels,
    limits,
    onnx,
    train,
    verify,
)
from live_restore_export.cli.parsing import Parser

COMMANDS = (inspect, onnx, verify, train, adapt, degrade, gain, limits, bioimageio, kernels)
"""In the order of ``--help``."""

_WORKSHOP = {"onnx", "skimage", "torch"}
"""Of the extra ``export``, which those who only restore have not installed."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    parser = Parser(
        prog="live-restore-export",
        description="Turn trained 3D RCANs into verified ONNX models for live-restore.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="exit codes: 0 good, 1 the work failed (a check among it), 2 wrong use or file",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 good, 1 work failed, 2 wrong use."""
    arguments = build_parser().parse_args(argv)
    if not arguments.debug:
        sys.excepthook = _short_report
    try:
        return int(arguments.run(arguments))
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
    except ModuleNotFoundError as error:
        # What comes with the package itself is there, or the installation is broken.
        if arguments.debug or (error.name or "").partition(".")[0] not in _WORKSHOP:
            raise
        print(
            f"live-restore-export: needs {error.name}, which is not installed; "
            "install what trains and exports models: pip install 'live-restore[export]'",
            file=sys.stderr,
        )
        return 2
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
