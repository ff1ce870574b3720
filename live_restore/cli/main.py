"""The command line: parse, run, exit code.

A new command is one file beside this one and one name in :data:`COMMANDS`. Imports of what takes
time stay inside the handlers, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence

from live_restore._version import __version__
from live_restore.cli import (
    adapt,
    alerts,
    bench,
    bundle,
    camera,
    cluster,
    config,
    demo,
    doctor,
    methods,
    models,
    page,
    prepare,
    restore,
    scheduler,
    service,
    status,
    watch,
    worker,
)
from live_restore.cli import open as open_run
from live_restore.cli.parsing import Handler, Parser
from live_restore.errors import LiveRestoreError, one_line

COMMANDS = (
    demo, watch, restore, status, page, open_run, alerts, methods, camera, models, adapt, bench,
    doctor, prepare, config, service, bundle, worker, scheduler, cluster,
)  # fmt: skip
"""Every command, in the order of ``--help``."""

_EPILOG = """\
examples:
  live-restore demo                       see it work, in two minutes, without a microscope
  live-restore watch D:\\data              restore every stack that arrives there, until Ctrl-C
  live-restore watch D:\\data --once       restore all that is complete, then exit
  live-restore restore cell.tif -o out    restore one file now
  live-restore status D:\\data             show what is done, waiting or failed, and why
  live-restore page D:\\data --open        see it: pictures, doubts, plots
  live-restore camera run_1.tif --offset 100   measure the camera's gain and noise
  live-restore doctor                     check whether this computer is ready

exit codes: 0 success, 1 some work failed (watch --once: a stack failed in this run), 2 wrong usage
or configuration
"""


def build_parser() -> Parser:
    """Return the parser of every command."""
    parser = Parser(
        prog="live-restore",
        description="Restore low-light microscope stacks while the acquisition runs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"live-restore {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: of this process) and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A file name that the terminal cannot show must not stop the program.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    arguments = build_parser().parse_args(argv)
    handler: Handler = arguments.handler
    try:
        code = handler(arguments)
        _write_the_rest()
        return code
    except LiveRestoreError as error:
        if arguments.debug:
            raise
        print(f"live-restore: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except Exception as error:
        if arguments.debug:
            raise
        print(
            f"live-restore: internal error ({type(error).__name__}: {one_line(error)}); "
            "run it again with --debug and report what it prints",
            file=sys.stderr,
        )
        return 1


def _write_the_rest() -> None:
    """Write what the streams still hold; that their terminal was closed meanwhile is no failure.

    Left to Python's own end, it would turn a clean stop into the exit code 120.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
