"""What ``live-restore worker`` and ``live-restore scheduler`` share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from live_restore.cli.parsing import Parser
from live_restore.errors import one_line


def add_certificates_flag(parser: Parser) -> None:
    """Add ``--certificates``."""
    parser.add_argument(
        "--certificates", type=Path, metavar="DIR",
        help="this computer's folder from live-restore cluster init",
    )  # fmt: skip


def certificates_of(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return what that flag overrides, as nested settings."""
    given = arguments.certificates
    return {} if given is None else {"cluster": {"certificates": str(given.absolute())}}


def report(line: str) -> None:
    """Print a line for whoever started the process."""
    print(f"live-restore: {one_line(line)}", file=sys.stderr, flush=True)


@contextmanager
def until_stopped() -> Iterator[Callable[[], bool]]:
    """Give something to ask whether a signal wants the process to stop."""
    from live_restore.engine.signals import stopping_on_signals

    reasons: list[str] = []
    with stopping_on_signals(reasons.append):
        yield lambda: bool(reasons)
