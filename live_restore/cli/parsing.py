"""What the parsers of all commands share: shared flags, types of values, flags as settings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from live_restore.errors import UsageError, one_line

if TYPE_CHECKING:
    from live_restore.settings.model import Settings

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
"""Where commands are registered; as text, because argparse's class takes no type at run time."""
Handler = Callable[[argparse.Namespace], int]
"""Runs a parsed command and returns the exit code; raises ``LiveRestoreError``."""


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {one_line(message)}; see {self.prog} --help\n")


def add_command(
    commands: Commands,
    name: str,
    handler: Handler,
    summary: str,
    *examples: str,
    config: bool = True,
    engine: bool = True,
) -> Parser:
    """Add a command and return its parser.

    Parameters
    ----------
    commands
        Where it is registered.
    name
        Of the command.
    handler
        What runs it.
    summary
        What it does: an imperative, lower case, no full stop.
    examples
        Whole command lines for its ``--help``.
    config, engine
        Whether it takes ``--config``, and ``--device`` and ``--model``.
    """
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog="\n  ".join(("examples:", *examples)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(handler=handler)
    if config:
        parser.add_argument("--config", type=Path, metavar="FILE", help="a config.toml")
    if engine:
        parser.add_argument("--device", help='"auto", "cpu", "openvino", "cuda", "cuda:1" ...')
        parser.add_argument(
            "--model", help="bundled name, .onnx file or zoo package (.zip), for every channel"
        )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def load_settings_of(arguments: argparse.Namespace, **more: dict[str, Any]) -> Settings:
    """Return the settings of ``--config`` for the folder named, overridden by flags and ``more``.

    Names that have changed are reported on stderr.

    Raises
    ------
    SettingsError
        See :func:`live_restore.settings.load.load_settings`.
    """
    from live_restore.settings.layers import A_FLAG, Layer, merged
    from live_restore.settings.load import load_settings

    # Setting by setting: a flag stays beside others of its section.
    flags = merged([Layer(A_FLAG, overrides(arguments)), Layer(A_FLAG, more)])
    return load_settings(
        getattr(arguments, "config", None), flags, report_notice,
        folder=getattr(arguments, "folder", None),
    )  # fmt: skip


def report_notice(notice: str) -> None:
    """Print a line about a setting that has another name now."""
    print(f"live-restore: {one_line(notice)}", file=sys.stderr)


def overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what flags override, as nested settings."""
    settings: dict[str, Any] = {}
    if getattr(arguments, "device", None):
        settings["inference"] = {"device": arguments.device}
    if getattr(arguments, "model", None):
        settings["models"] = [{"channels": ["*"], "model": arguments.model}]
    if getattr(arguments, "no_events", False):
        settings["watch"] = {"use_events": False}
    return settings


def passed_on(arguments: argparse.Namespace, *names: str) -> list[str]:
    """Return flags of the command line, for processes that do the work of this one."""
    flags: list[str] = []
    for name in names:
        value = getattr(arguments, name)
        if value:
            flags += [f"--{name}", str(value.absolute() if isinstance(value, Path) else value)]
    return flags


def watched_run(root: Path, settings: Settings) -> tuple[Path, Path]:
    """Return a folder that was watched, and its journal's file.

    Of a folder that was not, but holds one that was, such as the demo's, it is that one, and
    standard error says so.

    Raises
    ------
    UsageError
        It was never watched, and holds none or several that were.
    """
    from live_restore.journal.location import journal_path, watched_near

    path = journal_path(root, settings.journal.folder)
    if path.exists():
        return root, path
    if not root.is_dir():
        raise UsageError("does not exist", root, "check the path")
    near = watched_near(root, settings.journal.folder)
    inside = [each for each in near if root in each.parents]
    if len(inside) == 1:
        print(f"live-restore: this is {inside[0]}, which was watched", file=sys.stderr)
        return inside[0], journal_path(inside[0], settings.journal.folder)
    remedy = (
        f'"{near[0]}" has: name that folder' if near else f'start with: live-restore watch "{root}"'
    )
    raise UsageError("has never been watched on this computer", root, remedy)


def refuse_beside_micromanager(arguments: argparse.Namespace, *names: str) -> None:
    """Refuse flags that would have no effect; raises ``UsageError``."""
    for name in names:
        if getattr(arguments, name):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} and --micromanager exclude each other", None, "omit one")


def folder(text: str) -> Path:
    """Return a path; the empty text would be the folder that the program was started in."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return Path(text)


def file(text: str) -> Path:
    """Return a path; the empty text would be the folder that the program was started in."""
    if not text:
        raise argparse.ArgumentTypeError("must be the name of a file")
    return Path(text)


def shape_zyx(text: str) -> tuple[int, int, int]:
    """Return the shape (Z, Y, X) that a text such as ``16,256,256`` means."""
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError("must be three numbers above 0, such as 16,256,256")
    z, y, x = map(int, parts)
    return z, y, x


def port(text: str, *, lowest: int = 1) -> int:
    """Return the number of a TCP port, ``lowest`` or above; 0 means any that is free."""
    if not text.isdecimal() or not lowest <= int(text) < 65536:
        raise argparse.ArgumentTypeError("must be the number of a port")
    return int(text)


def positive(text: str) -> int:
    """Return a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number, at least 1")
    return int(text)


def seconds(text: str) -> float:
    """Return a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be a number above 0")
    return number


def duration(seconds: float) -> str:
    """Return a time for people.

    >>> duration(1.26), duration(100), duration(3725)
    ('1.3 s', '1 min 40 s', '1 h 02 min')
    """
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
