"""``live-restore watch`` without a folder: all that the settings name, each in its own process."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from live_restore.cli.folders import configured
from live_restore.errors import UsageError, one_line

if TYPE_CHECKING:
    from live_restore.service.definition import Service

_FLAGS = ("no_events", "retry_failed", "redo_missing")


def watch_all(arguments: argparse.Namespace, options: list[str]) -> int:
    """Watch all folders of ``[[watch]]`` until Ctrl-C, or once; return the exit code.

    Parameters
    ----------
    arguments
        Of ``live-restore watch``.
    options
        Those that every folder gets.

    Raises
    ------
    UsageError
        A flag is for one folder only, or there is no folder.
    """
    from live_restore.service.definition import Service
    from live_restore.service.supervisor import run_in_turn, supervise

    if arguments.page:
        raise UsageError(
            "--page shows one folder", None, "name it, or run live-restore page DIR beside this"
        )
    options = [*options, *(f"--{n.replace('_', '-')}" for n in _FLAGS if getattr(arguments, n))]
    if arguments.once:
        folders = [str(each.folder) for each in configured(arguments.config)]
        # In turn: side by side, each would load its models and take the processor from the others.
        return run_in_turn(
            [["watch", name, "--once", *options] for name in folders],
            lambda command: _print(f"live-restore: {one_line(command[1])}"),
        )
    if arguments.retry_failed or arguments.redo_missing:
        # What is started again after a crash would try again what made it crash.
        raise UsageError(
            "--retry-failed and --redo-missing are for one folder, or for --once", None,
            "name the folder, or add --once",
        )  # fmt: skip
    return supervise(Service(None), services(arguments.config, options), echo=_print)


def services(config: Path | None, options: list[str]) -> list[Service]:
    """Return a service for each folder that the settings name; raises ``UsageError``."""
    from live_restore.service.definition import Service

    return [Service(each.folder, tuple(options)) for each in configured(config)]


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
