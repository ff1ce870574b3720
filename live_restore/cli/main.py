"""The command line: parse, hand over, print. No work is done here.

Imports of what takes time stay inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from live_restore._version import __version__
from live_restore.errors import LiveRestoreError, one_line

_EPILOG = """\
examples:
  live-restore demo                       see it work, in two minutes, without a microscope
  live-restore watch D:\\data              restore every stack that arrives there, until Ctrl-C
  live-restore watch D:\\data --once       restore all that is complete, then exit
  live-restore restore cell.tif -o out    restore one file now
  live-restore status D:\\data             what is done, waiting, failed, and why
  live-restore page D:\\data --open        see it: pictures, doubts, plots
  live-restore doctor                     is this PC ready?

exit codes: 0 good, 1 some work failed (watch --once: a stack failed in this run), 2 wrong use or
configuration
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {one_line(message)}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    parser = _Parser(
        prog="live-restore",
        description="Restore low-light microscope stacks while the acquisition runs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"live-restore {__version__}")
    commands: argparse._SubParsersAction[_Parser] = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND"
    )

    common = _Parser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show a traceback with an error")
    settings = _Parser(add_help=False)
    settings.add_argument("--config", type=Path, metavar="FILE", help="a config.toml")
    engine = _Parser(add_help=False)
    engine.add_argument("--device", help='"auto", "cpu", "openvino", "cuda", "cuda:1" ...')
    engine.add_argument(
        "--model", help="bundled name, .onnx file or zoo package (.zip), for every channel"
    )

    def command(name: str, summary: str, example: str, parents: list[_Parser]) -> _Parser:
        return commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"examples:\n{example}",
            parents=[*parents, common],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    demo = command(
        "demo", "a simulated low-light time-lapse arrives and is restored live",
        "  live-restore demo\n  live-restore demo --times 20 --out /tmp\n"
        "  live-restore demo --micromanager",
        [engine],
    )  # fmt: skip
    demo.add_argument("--out", type=Path, default=Path(), help="where its folder is made")
    demo.add_argument(
        "--times",
        type=_positive,
        help="stacks to record (8); with --micromanager: time points (3)",
    )
    demo.add_argument(
        "--micromanager", action="store_true",
        help="record with Micro-Manager's demo camera (pip install 'live-restore[micromanager]')",
    )  # fmt: skip
    demo.add_argument("--json", action="store_true", help="print the numbers as JSON")

    watch = command(
        "watch", "restore every stack that arrives in a folder, or in a Micro-Manager dataset",
        "  live-restore watch D:\\data\n  live-restore watch D:\\data --config config.toml\n"
        "  live-restore watch D:\\data\\run_1 --once\n"
        "  live-restore watch --micromanager",
        [settings, engine],
    )  # fmt: skip
    watched = watch.add_mutually_exclusive_group(required=True)
    watched.add_argument("folder", type=_folder, metavar="DIR", nargs="?")
    watched.add_argument(
        "--micromanager", type=_port, metavar="PORT", nargs="?", const=4827,
        help="restore the runs that are started in Micro-Manager's window (4827)",
    )  # fmt: skip
    watch.add_argument(
        "--once", action="store_true",
        help="restore all that is complete, then exit: with 1 if a stack failed in this run; "
        "runs in which nothing arrives any more are taken for over",
    )  # fmt: skip
    watch.add_argument("--no-events", action="store_true", help="scan only (network shares)")
    watch.add_argument("--retry-failed", action="store_true", help="try failed stacks once more")
    watch.add_argument(
        "--redo-missing", action="store_true", help="restore again what lost its result"
    )
    watch.add_argument("--plain", action="store_true", help="log lines instead of the live display")

    restore = command(
        "restore", "restore files, or a Micro-Manager dataset folder, now",
        "  live-restore restore cell.tif\n  live-restore restore D:\\data\\run_1\n"
        "  live-restore restore *.tif -o restored --json",
        [settings, engine],
    )  # fmt: skip
    restore.add_argument("files", type=_named, nargs="+", metavar="FILE")
    restore.add_argument("-o", "--output", type=Path, metavar="DIR", help="where results go")
    restore.add_argument("--json", action="store_true", help="print results as JSON")

    status = command(
        "status", "what is done, waiting, failed, and why",
        "  live-restore status D:\\data\n  live-restore status D:\\data --json",
        [settings],
    )  # fmt: skip
    status.add_argument("folder", type=_folder, metavar="DIR")
    status.add_argument("--all", action="store_true", help="list restored files too")
    status.add_argument("--json", action="store_true", help="print everything as JSON")

    from live_restore.cli import page as page_command

    page = command("page", page_command.HELP, page_command.EXAMPLES, [settings])
    page_command.add_arguments(page)
    for each in (watch, demo):
        each.add_argument(
            "--page", type=page_command.host_and_port, metavar="HOST:PORT", nargs="?",
            const=("127.0.0.1", page_command.DEFAULT_PORT),
            help="show it in a browser, too (127.0.0.1:8765)",
        )  # fmt: skip

    models = command(
        "models", "bundled and configured models with their cards",
        "  live-restore models\n  live-restore models --json", [settings],
    )  # fmt: skip
    models.add_argument("--json", action="store_true", help="print whole cards as JSON")

    bench = command(
        "bench", "how fast this computer is, per device and precision",
        "  live-restore bench\n  live-restore bench --device openvino --shape 32,512,512 --json",
        [settings, engine],
    )  # fmt: skip
    bench.add_argument(
        "--shape", type=_shape, default=(16, 256, 256), metavar="Z,Y,X",
        help="voxels of the stacks (16,256,256)",
    )  # fmt: skip
    bench.add_argument("--json", action="store_true", help="print the numbers as JSON")

    doctor = command(
        "doctor", "is this PC ready, what is missing, how to mend it",
        "  live-restore doctor\n  live-restore doctor D:\\data --json",
        [settings, engine],
    )  # fmt: skip
    doctor.add_argument("folder", type=_folder, nargs="?", metavar="DIR", help="to be watched")
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")

    prepare = command(
        "prepare", "build what a device needs before stacks arrive (TensorRT: minutes)",
        "  live-restore prepare --device tensorrt --shape 16,512,512",
        [settings, engine],
    )  # fmt: skip
    prepare.add_argument(
        "--shape", type=_shape, required=True, metavar="Z,Y,X",
        help="voxels of a tile, as in the reports",
    )  # fmt: skip
    return parser


def _folder(text: str) -> Path:
    if not text:  # as a path it would be the folder that the program was started in
        raise argparse.ArgumentTypeError("must not be empty")
    return Path(text)


def _shape(text: str) -> tuple[int, int, int]:
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError("must be three numbers above 0, such as 16,256,256")
    z, y, x = map(int, parts)
    return z, y, x


def _port(text: str) -> int:
    value = int(text)
    if not 0 < value < 65536:
        raise argparse.ArgumentTypeError("must be the number of a port")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _named(text: str) -> Path:
    """Return a path; the empty text would be the folder that the program is started in."""
    if not text:
        raise argparse.ArgumentTypeError("must be the name of a file")
    return Path(text)


def _flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what flags override, as nested settings."""
    flags: dict[str, Any] = {}
    if getattr(arguments, "device", None):
        flags["inference"] = {"device": arguments.device}
    if getattr(arguments, "model", None):
        flags["models"] = [{"channels": ["*"], "model": arguments.model}]
    if getattr(arguments, "no_events", False):
        flags["watch"] = {"use_events": False}
    return flags


def run(arguments: argparse.Namespace) -> int:
    """Run a parsed command and return its exit code; raises ``LiveRestoreError``."""
    from live_restore.cli import commands, machine_commands, page

    handler = {
        "demo": commands.demo,
        "watch": commands.watch,
        "restore": commands.restore,
        "status": commands.status,
        "page": page.run,
        "models": commands.models,
        "bench": machine_commands.bench,
        "doctor": machine_commands.doctor,
        "prepare": machine_commands.prepare,
    }[arguments.command]
    return handler(arguments, _flags(arguments))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``live-restore``."""
    for stream in (sys.stdout, sys.stderr):
        # A file name that the terminal cannot show must not stop the program.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    arguments = build_parser().parse_args(argv)
    try:
        return run(arguments)
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


if __name__ == "__main__":
    sys.exit(main())
