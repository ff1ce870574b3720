"""``live-restore alerts``: tell people when a run needs them."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from live_restore.cli.beside import variables_for
from live_restore.cli.parsing import (
    Commands,
    add_command,
    folder,
    load_settings_of,
    watched_run,
)
from live_restore.errors import LiveRestoreError, UsageError
from live_restore.hooks.leash import end, when_dropped

if TYPE_CHECKING:
    from live_restore.settings.model import Settings

_TEST = "You asked live-restore whether its messages reach you. Nothing is wrong."
_CLOSE_S = 20.0
"""For a last message through a slow mail server."""


def add(commands: Commands) -> None:
    """Register the command."""
    parser = add_command(
        commands, "alerts", run, "tell people, as [alerts] says, when a watched folder needs them",
        "live-restore alerts D:\\data --config config.toml --test",
        "live-restore alerts D:\\data --config config.toml",
        engine=False,
    )  # fmt: skip
    parser.add_argument("folder", type=folder, metavar="DIR", help="the watched folder")
    parser.add_argument("--test", action="store_true", help="send one test message, and end")
    parser.add_argument("--beside", type=float, help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Run ``live-restore alerts``."""
    from live_restore.alerts.problem import AlertProblem
    from live_restore.alerts.senders import send_to, senders_of
    from live_restore.alerts.watch import AlertWatch
    from live_restore.cli.logs import configure_logging
    from live_restore.engine.priority import give_way
    from live_restore.journal.location import journal_path, log_path
    from live_restore.overview.run import Run

    settings = load_settings_of(arguments)
    if not settings.alerts.wanted:
        raise UsageError(
            "nobody is to be told", arguments.config, "set alerts.to or alerts.command"
        )
    senders = senders_of(settings.alerts)
    root = arguments.folder.resolve()
    if arguments.test:
        for sender in senders:
            send_to(sender, root, "test message", _TEST)
        many = "1 test message" if len(senders) == 1 else f"{len(senders)} test messages"
        print(f"{many} sent; look whether {'it has' if len(senders) == 1 else 'they have'} arrived")
        return 0
    # Beside a daemon that has only begun, there may be none yet.
    folder = settings.journal.folder
    beside = arguments.beside is not None
    if beside:
        journal = journal_path(root, folder)
    else:
        root, journal = watched_run(root, settings)
    give_way(settings.process)
    log = log_path(root, journal, ".alerts.log")
    configure_logging(settings.log, log, terminal=not beside)
    watch = AlertWatch(Run(root, journal), settings.alerts, senders, AlertProblem(journal))
    if beside:
        watch.run_beside(_when_stdin_ends(), arguments.beside)
    else:
        watch.run()
    return 0


@contextmanager
def alerts_beside(root: Path, settings: Settings, config: Path | None) -> Iterator[None]:
    """Tell people from a process of its own while the block runs, and for one look after it.

    It outlives this process, however that dies, for as long as it takes to tell of it.

    Raises
    ------
    UsageError
        An address is none, which is better known now than at night.
    """
    if not settings.alerts.wanted:
        yield
        return
    from live_restore.alerts.problem import AlertProblem
    from live_restore.alerts.senders import senders_of
    from live_restore.journal.location import journal_path

    senders_of(settings.alerts)
    with suppress(OSError):  # of an earlier run
        AlertProblem(journal_path(root, settings.journal.folder)).write("")
    command = [sys.executable, "-P", "-m", "live_restore", "alerts", str(root)]
    command += ["--beside", repr(time.time())]
    if config is not None:
        command += ["--config", str(config.absolute())]
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=variables_for(settings),
            # Ctrl-C and a closed terminal are for this process; the other one has to see its end.
            start_new_session=os.name == "posix",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    except OSError as error:
        raise LiveRestoreError(f"alerts cannot be started ({error})", root) from error
    try:
        yield
    finally:
        end(child, _CLOSE_S)


def _when_stdin_ends() -> threading.Event:
    gone = threading.Event()
    when_dropped(gone.set)
    return gone
