"""``live-restore open``: raw and restored stacks as layers in napari; it follows a growing run."""

from __future__ import annotations

import argparse
import importlib.util

from live_restore.cli.parsing import (
    Commands,
    add_command,
    folder,
    load_settings_of,
    watched_run,
)
from live_restore.errors import UsageError
from live_restore.installation import pip_install


def add(commands: Commands) -> None:
    """Register the command."""
    parser = add_command(
        commands, "open", run, "show raw and restored stacks as layers in napari",
        "live-restore open D:\\data", "live-restore open D:\\data --series run_1",
        engine=False,
    )  # fmt: skip
    parser.add_argument(
        "folder", type=folder, metavar="DIR", help="folder that is, or was, watched"
    )
    parser.add_argument(
        "--series", metavar="NAME",
        help="which acquisition, or folder of files, below it (the one with the newest result)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Run ``live-restore open``."""
    from live_restore.overview.run import Run
    from live_restore.page.pixels import Pixels

    settings = load_settings_of(arguments)
    root, journal = watched_run(arguments.folder.resolve(), settings)
    overview = Run.read(root, journal)
    if importlib.util.find_spec("napari") is None:
        raise UsageError(
            "napari is not installed", None,
            f'{pip_install("napari[all]")}; in Fiji: File > Import > Bio-Formats on the results',
        )  # fmt: skip
    from live_restore.page.napari_view import show

    show(overview, Pixels(root, settings.files), arguments.series)
    return 0
