"""``live-restore watch``: a folder, all of them, or Micro-Manager's window, until Ctrl-C.

What it wires together, of one folder::

    settings ──> ModelSet (warm models, one per channel rule)
        │            │
        │            └──> Journal (of this folder and recipe) ──> Daemon ──> display or log, page
        └──> log, priority                                          │
                              FolderSource ──> Journal ──> Pipeline(reader, workers, writer)

The last line is the daemon's own (``engine/daemon.py``). Of Micro-Manager's window:
``hooks/micromanager_window.py`` watches, and a child per acquisition restores. Of several folders,
each has such a process of its own (``watch_all.py``).
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from live_restore.cli.folders import NAMED_BELOW
from live_restore.cli.page import add_page_flag
from live_restore.cli.parsing import (
    Commands,
    add_command,
    folder,
    load_settings_of,
    passed_on,
    port,
    refuse_beside_micromanager,
)
from live_restore.cli.watch_all import watch_all
from live_restore.errors import UsageError

if TYPE_CHECKING:
    from live_restore.engine.daemon import Daemon

_MICROMANAGER_PORT = 4827  # the default of Tools > Options > Run server on port


def add(commands: Commands) -> None:
    """Register the command."""
    parser = add_command(
        commands, "watch", run,
        "restore every stack that arrives in a folder, or in Micro-Manager",
        "live-restore watch D:\\data", "live-restore watch D:\\data --config config.toml",
        "live-restore watch", "live-restore watch D:\\data\\run_1 --once",
        "live-restore watch --micromanager",
    )  # fmt: skip
    watched = parser.add_mutually_exclusive_group()
    watched.add_argument(
        "folder", type=folder, metavar="DIR", nargs="?",
        help=f"folder that stacks arrive in, at any depth ({NAMED_BELOW})",
    )  # fmt: skip
    watched.add_argument(
        "--micromanager", type=port, metavar="PORT", nargs="?", const=_MICROMANAGER_PORT,
        help="restore acquisitions that are started in Micro-Manager's window "
        f"({_MICROMANAGER_PORT})",
    )  # fmt: skip
    parser.add_argument(
        "--previous", action="store_true",
        help="with --micromanager: restore also what was over before, if its window is open",
    )  # fmt: skip
    parser.add_argument(
        "--once", action="store_true",
        help="restore all that is complete, then exit, with code 1 if a stack failed; an "
        "acquisition in which nothing arrives any more counts as finished",
    )  # fmt: skip
    parser.add_argument(
        "--no-events", action="store_true", help="find files by scanning only (network shares)"
    )
    parser.add_argument("--retry-failed", action="store_true", help="try failed stacks once more")
    parser.add_argument(
        "--redo-missing", action="store_true", help="restore again what has lost its result"
    )
    parser.add_argument(
        "--plain", action="store_true", help="print log lines instead of the live display"
    )
    add_page_flag(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run ``live-restore watch``."""
    if arguments.micromanager is not None:
        return _run_micromanager(arguments)
    import structlog

    from live_restore.alerts.problem import AlertProblem
    from live_restore.cli.adapt_beside import adapt_beside
    from live_restore.cli.alerts import alerts_beside
    from live_restore.cli.display import live_display, wants_display
    from live_restore.cli.logs import configure_logging
    from live_restore.cli.page import page_beside
    from live_restore.cluster.models import News, load_models
    from live_restore.engine.daemon import Daemon, open_daemon_journal, watched_folder
    from live_restore.engine.priority import give_way
    from live_restore.engine.signals import stopping_on_signals
    from live_restore.journal.location import journal_path, log_path

    if arguments.previous:
        raise UsageError("--previous is for --micromanager", None, "omit it: a folder is all there")
    if arguments.folder is None:
        return watch_all(arguments, passed_on(arguments, "config", "device", "model"))
    root = watched_folder(arguments.folder)
    settings = load_settings_of(arguments)
    give_way(settings.process)
    journal_file = journal_path(root, settings.journal.folder)
    if root in journal_file.resolve().parents:
        raise UsageError(
            "is inside the watched folder", journal_file.parent,
            "set journal.folder to a place on a local disk outside it",
        )  # fmt: skip
    news = News()
    model_set = load_models(settings, news, archive=arguments.once)
    display = wants_display() and not arguments.plain and not arguments.once
    with (
        alerts_beside(root, settings, arguments.config),
        open_daemon_journal(root, settings, model_set.recipe) as journal,
    ):
        configure_logging(settings.log, log_path(root, journal_file), terminal=not display)
        if arguments.retry_failed:
            journal.retry_failed()
        if arguments.redo_missing:
            journal.redo_missing(root, error_bars=settings.output.error_bars)
        daemon = Daemon(root, settings, model_set, journal)
        news.goes_to(daemon.progress.warn)
        with ExitStack() as stack:
            stack.enter_context(stopping_on_signals(daemon.stop))
            notices: deque[str] = deque(maxlen=3)
            report = notices.append if display else None
            config = ("--config", str(arguments.config.absolute())) if arguments.config else ()
            stack.enter_context(page_beside(root, arguments.page, settings, *config, report=report))
            if not arguments.once:
                stack.enter_context(
                    adapt_beside(root, settings, arguments.config, arguments.model, report)
                )
            show: Callable[[], None] = lambda: None  # noqa: E731
            if display:
                show = stack.enter_context(live_display(daemon, notices))
            problem = AlertProblem(journal_file)

            def tick() -> None:
                if new := problem.new():
                    daemon.progress.warn(new)
                    structlog.get_logger().warning("alerts", reason=new)
                show()

            failed = daemon.run(once=arguments.once, tick=tick)
        with suppress(OSError):  # its terminal may be what was closed
            print_summary(daemon)
    return 1 if arguments.once and failed else 0


def print_summary(daemon: Daemon) -> None:
    """Print what a run did, and what it left as it is."""
    less_light = daemon.progress.snapshot().less_light
    advice = (f"less light: {less_light}",) if less_light else ()
    for line in (daemon.summary(), *advice, *daemon.account(now=True)):
        print(f"live-restore: {line}", file=sys.stderr)


def _run_micromanager(arguments: argparse.Namespace) -> int:
    from live_restore.hooks.micromanager_window import watch_micromanager

    refuse_beside_micromanager(
        arguments, "once", "no_events", "retry_failed", "redo_missing", "page"
    )
    settings = load_settings_of(arguments)  # a mistake is known now, not when something has begun
    watch_micromanager(
        arguments.micromanager,
        passed_on(arguments, "config", "device", "model"),
        settings,
        lambda what: print(f"live-restore: {what}", file=sys.stderr, flush=True),
        previous=arguments.previous,
    )
    return 0
