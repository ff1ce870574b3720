"""The folders that the settings name in ``[[watch]]``, where a command is given none."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from live_restore.cli.parsing import overrides
from live_restore.errors import LiveRestoreError, UsageError, one_line

if TYPE_CHECKING:
    from live_restore.settings.folders import WatchedFolder

NAMED_BELOW = "unset: those that the settings name in [[watch]]"
"""In the help of commands that take no folder, too."""


def configured(config: Path | None) -> list[WatchedFolder]:
    """Return the folders that the settings name.

    Raises
    ------
    UsageError
        There are none, one is there under two names, or the settings are wrong.
    """
    from live_restore.settings.load import watched_folders

    found = watched_folders(config)
    if not found:
        raise UsageError(
            "no folder is named, and no settings file names one in [[watch]]", None,
            "name the folder",
        )  # fmt: skip
    real: dict[str, Path] = {}
    for each in found:
        # Here and not where settings are read: to look where links lead takes the disks.
        other = real.setdefault(os.path.normcase(os.path.realpath(each.folder)), each.folder)
        if other != each.folder:
            raise UsageError(
                f"is the same folder as {other}, and both are in [[watch]]", each.folder,
                "remove one of them",
            )  # fmt: skip
    return found


def the_folder(arguments: argparse.Namespace) -> Path:
    """Return the folder that is named, or the only one that the settings name.

    Raises
    ------
    UsageError
        There is none, or more than one.
    """
    if arguments.folder is not None:
        return Path(arguments.folder)
    found = configured(arguments.config)
    if len(found) > 1:
        names = ", ".join(str(each.folder) for each in found)
        raise UsageError(f"several folders are watched: {names}", None, "name one of them")
    return found[0].folder


def list_folders(arguments: argparse.Namespace) -> int:
    """Print what the folders that the settings name have come to; return the exit code."""
    states = [_state(each, arguments) for each in configured(arguments.config)]
    if arguments.json:
        print(json.dumps({"folders": states}, indent=1))
        return 0
    for state in states:
        for line in _lines(state):
            print(one_line(line))
    print('more of one of them: live-restore status "DIR"')
    return 0


def _state(each: WatchedFolder, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what is known of a folder; that of one is no reason to hide the others."""
    from live_restore.journal.database import lock_is_held
    from live_restore.journal.location import journal_path, log_path
    from live_restore.journal.view import JournalView
    from live_restore.settings.load import load_settings

    state: dict[str, Any] = {
        "folder": str(each.folder), "there": each.is_there, "watched": False,
        "counts": {}, "log": None, "problem": "",
    }  # fmt: skip
    try:
        settings = load_settings(
            arguments.config, overrides(arguments), lambda _: None, folder=each.folder
        )
        root = each.folder.resolve()
        journal = journal_path(root, settings.journal.folder)
        state["log"] = str(log_path(root, journal))
        state["watched"] = lock_is_held(journal)
        if journal.exists():
            with JournalView(journal, root) as view:
                state["counts"] = {str(key.value): n for key, n in view.counts().items()}
    except (OSError, LiveRestoreError) as error:
        state["problem"] = str(error)
    return state


def _lines(state: dict[str, Any]) -> Iterator[str]:
    away = "" if state["there"] else ", and it is not there"
    yield f"{state['folder']}: {'being watched' if state['watched'] else 'not being watched'}{away}"
    numbers = ", ".join(f"{n} {name}" for name, n in state["counts"].items() if n)
    yield f"     {numbers or 'nothing yet'}"
    if state["problem"]:
        yield f"     {state['problem']}"
