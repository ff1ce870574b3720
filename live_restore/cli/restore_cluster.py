"""``live-restore restore DIR --cluster``: workers read and publish an archive by themselves."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from live_restore.cli.for_others import report
from live_restore.cli.parsing import Parser, duration, load_settings_of, passed_on, positive
from live_restore.errors import UsageError, one_line
from live_restore.journal.states import State

if TYPE_CHECKING:
    from live_restore.archive.helpers import Helpers
    from live_restore.engine.daemon import Daemon
    from live_restore.settings.model import Settings

_LINE_EVERY_S = 30.0
_LOOK_S = 0.5
_ENDED = (State.DONE, State.FAILED, State.REFUSED, State.INCOMPLETE)


def add_flags(parser: Parser) -> None:
    """Add what has an archive restored by workers."""
    parser.add_argument(
        "--cluster", metavar="WHERE",
        help="restore a whole folder of shared storage: by the workers of the scheduler at "
        "dask://HOST:PORT, by some that are started on this computer (local), or as jobs of Slurm "
        "(slurm)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=positive, metavar="N",
        help="with --cluster local or slurm: how many (local: one per device; slurm: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--listen", default="", metavar="ADDRESS",
        help="with --cluster slurm: dask://HOST:PORT of this computer that jobs reach",
    )  # fmt: skip


def restore_archive(arguments: argparse.Namespace) -> int:
    """Restore the folder that the command line names; return the exit code."""
    from live_restore.cluster.needed import require_packages

    require_packages()
    from live_restore.archive.run import dispatching
    from live_restore.cli.logs import configure_logging
    from live_restore.cli.watch import print_summary
    from live_restore.cluster.models import load_models
    from live_restore.engine.daemon import Daemon, open_daemon_journal, watched_folder
    from live_restore.engine.priority import give_way
    from live_restore.engine.signals import stopping_on_signals
    from live_restore.files.user_folders import state_folder
    from live_restore.journal.location import journal_path, log_path

    if len(arguments.files) != 1 or arguments.output is not None or arguments.like is not None:
        raise UsageError(
            "--cluster restores one folder, with the settings of --config", None,
            "name one folder, and no -o or --like",
        )  # fmt: skip
    root = watched_folder(arguments.files[0])
    arguments.folder = root  # for what the settings say of this folder alone
    own = load_settings_of(arguments)
    give_way(own.process)
    journal_file = journal_path(root, own.journal.folder)
    logs = (own.journal.folder or state_folder()) / "archive" / journal_file.stem
    shows = sys.stderr.isatty() and not arguments.json
    notices: list[str] = []
    with ExitStack() as stack:
        helpers = _helpers(arguments, own, logs, notices.append)
        address, certificates = arguments.cluster, own.cluster.certificates
        if helpers is not None:
            stack.enter_context(closing(helpers))
            address, certificates = helpers.address, helpers.certificates
        arguments.device = address
        cluster = {} if certificates is None else {"cluster": {"certificates": str(certificates)}}
        settings = load_settings_of(arguments, **cluster)
        model_set = load_models(settings, archive=True)
        journal = stack.enter_context(open_daemon_journal(root, settings, model_set.recipe))
        configure_logging(settings.log, log_path(root, journal_file), terminal=False)
        daemon = Daemon(root, settings, model_set, journal)
        stopped = stack.enter_context(stopping_on_signals(daemon.stop))
        show = stack.enter_context(_progress(daemon) if shows else _lines(daemon))

        def tick() -> None:
            if helpers is not None:
                helpers.tick()
            while notices:
                daemon.progress.warn(notices.pop(0))
            show()

        make_stages = dispatching(root, settings, model_set)
        failed = daemon.run(once=True, tick=tick, make_stages=make_stages)
        if arguments.json:
            counts = {state.value: count for state, count in daemon.status().counts.items()}
            print(json.dumps({"folder": str(root), "failed_now": failed, **counts}, indent=1))
        else:
            with suppress(OSError):
                print_summary(daemon)
    return stopped() or (1 if failed else 0)


def _helpers(
    arguments: argparse.Namespace, settings: Settings, logs: Path, report: Callable[[str], None]
) -> Helpers | None:
    """Start what has to be started; ``None`` where there is a scheduler already."""
    from live_restore.archive.helpers import LocalHelpers
    from live_restore.archive.slurm import SlurmHelpers
    from live_restore.cluster.models import refuse_remote

    if arguments.cluster not in ("local", "slurm"):
        if arguments.workers or arguments.listen or arguments.device:
            raise UsageError(
                "the workers of a scheduler are there already, with devices of their own", None,
                "omit --workers, --listen and --device",
            )  # fmt: skip
        return None
    refuse_remote(settings, "a worker")
    count = arguments.workers or 0
    if arguments.cluster == "local":
        if arguments.listen:
            raise UsageError("--listen is for --cluster slurm", None, "omit it")
        return LocalHelpers(settings, passed_on(arguments, "config", "model"), count, logs, report)
    flags = passed_on(arguments, "config", "model", "device")
    return SlurmHelpers(settings, flags, count, arguments.listen, logs, report)


def _counted(daemon: Daemon) -> tuple[int, int, int]:
    """Return how many have come to an end, how many there are, and how many are not restored."""
    counts = daemon.status().counts
    done = sum(counts[state] for state in _ENDED)
    return done, sum(counts.values()), done - counts[State.DONE]


@contextmanager
def _progress(daemon: Daemon) -> Iterator[Callable[[], None]]:
    """Show a bar while the block runs; call the value to bring it up to date."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("looking", total=None)
        warned = _Warned(daemon)

        def show() -> None:
            done, of, bad = _counted(daemon)
            bar.update(task, completed=done, total=of or None,
                       description=f"restored, {bad} not" if bad else "restored")  # fmt: skip
            for warning in warned.new():
                bar.console.print(f"! {one_line(warning)}", markup=False, highlight=False)

        yield _now_and_then(show)
        show()


@contextmanager
def _lines(daemon: Daemon) -> Iterator[Callable[[], None]]:
    """Print a line now and then, and what must be known at once, while the block runs."""
    began = said_at = time.monotonic()
    warned = _Warned(daemon)

    def show() -> None:
        nonlocal said_at
        for warning in warned.new():
            report(warning)
        now = time.monotonic()
        if now - said_at >= _LINE_EVERY_S:
            said_at = now
            done, of, bad = _counted(daemon)
            restored = daemon.progress.snapshot().files_restored
            left = (of - done) * (now - began) / restored if restored else None
            ahead = f"; {duration(left)} to go" if left is not None else ""
            report(f"{done} of {of} done, {bad} of them not restored{ahead}")

    yield _now_and_then(show)
    show()


class _Warned:
    """Knows which of a daemon's warnings have been shown."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._shown: dict[str, None] = {}

    def new(self) -> list[str]:
        """Return those that have not."""
        found = [w for w in self._daemon.progress.snapshot().warnings if w not in self._shown]
        self._shown |= dict.fromkeys(found)
        return found


def _now_and_then(show: Callable[[], None]) -> Callable[[], None]:
    """Return what may be called much more often than it shows anything."""
    shown_at = -math.inf

    def tick() -> None:
        nonlocal shown_at
        now = time.monotonic()
        if now - shown_at >= _LOOK_S:
            shown_at = now
            show()

    return tick
