"""``live-restore scheduler``: where computers that watch and workers that restore meet."""

from __future__ import annotations

import argparse

from live_restore.cli.for_others import (
    add_certificates_flag,
    certificates_of,
    report,
    until_stopped,
)
from live_restore.cli.parsing import Commands, add_command, load_settings_of

_DEFAULT = "dask://127.0.0.1:8786"


def add(commands: Commands) -> None:
    """Register the command."""
    parser = add_command(
        commands, "scheduler", run,
        "bring computers that watch and workers that restore together, until Ctrl-C",
        "live-restore scheduler",
        "live-restore scheduler --listen dask://192.168.1.20:8786 --certificates cluster/gpu-pc",
        engine=False,
    )  # fmt: skip
    parser.add_argument(
        "--listen", metavar="ADDRESS", default=_DEFAULT, help=f"where to listen ({_DEFAULT})"
    )
    add_certificates_flag(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run ``live-restore scheduler``."""
    from live_restore.cluster.needed import require_packages

    require_packages()
    from live_restore.cluster.scheduler import schedule

    cluster = load_settings_of(arguments, **certificates_of(arguments)).cluster
    with until_stopped() as stopping:
        schedule(arguments.listen, cluster.certificates, cluster.timeout_s, report, stopping)
    return 0
