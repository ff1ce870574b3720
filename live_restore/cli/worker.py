"""``live-restore worker``: restores for other computers."""

from __future__ import annotations

import argparse
import math

from live_restore.cli.for_others import (
    add_certificates_flag,
    certificates_of,
    report,
    until_stopped,
)
from live_restore.cli.parsing import Commands, add_command, load_settings_of, seconds


def add(commands: Commands) -> None:
    """Register the command."""
    parser = add_command(
        commands, "worker", run, "restore for other computers, until Ctrl-C",
        "live-restore worker --scheduler dask://127.0.0.1:8786",
        "live-restore worker --scheduler dask://gpu-pc:8786 --certificates cluster/gpu-pc "
        "--device cuda:1",
    )  # fmt: skip
    parser.add_argument(
        "--scheduler", required=True, metavar="ADDRESS", help="dask://HOST:PORT of the scheduler"
    )
    parser.add_argument(
        "--listen", metavar="HOST",
        help="address of this computer that watchers send stacks to (the one that leads to the "
        "scheduler)",
    )  # fmt: skip
    parser.add_argument(
        "--wait-s", type=seconds, default=math.inf, metavar="S",
        help="end when there has been no scheduler for so long (never)",
    )  # fmt: skip
    add_certificates_flag(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run ``live-restore worker``."""
    from live_restore.cluster.needed import require_packages

    require_packages()
    from live_restore.archive.desk import Desk
    from live_restore.cluster.models import refuse_remote
    from live_restore.cluster.worker import work_for
    from live_restore.engine.priority import give_way

    settings = load_settings_of(arguments, **certificates_of(arguments))
    refuse_remote(settings, "a worker")
    give_way(settings.process)
    with until_stopped() as stopping:
        work_for(
            arguments.scheduler,
            settings,
            report,
            stopping,
            host=arguments.listen,
            wait_s=arguments.wait_s,
            plugins=lambda station: (Desk(station, settings),),
        )
    return 0
