"""``live-restore status``: what is done, waiting or failed in a watched folder, and why."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from live_restore.cli.parsing import (
    Commands,
    add_command,
    folder,
    load_settings_of,
    watched_journal,
)
from live_restore.errors import one_line

if TYPE_CHECKING:
    from live_restore.journal.entry import Entry
    from live_restore.settings.model import Settings
    from live_restore.sources.passed_by import NotLookedAt
    from live_restore.stack import StackKey

_MOST_ROWS_ALIKE = 3
"""More entries with the same reason are one line; ``--all`` lists them."""
_LOST_RESULT = "its result is missing; restore again with live-restore watch --redo-missing"


def add(commands: Commands) -> None:
    """Register the command."""
    parser = add_command(
        commands, "status", run, "show what is done, waiting or failed, and why",
        "live-restore status D:\\data", "live-restore status D:\\data --json",
        engine=False,
    )  # fmt: skip
    parser.add_argument("folder", type=folder, metavar="DIR", help="the watched folder")
    parser.add_argument("--all", action="store_true", help="list what is restored, too")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run ``live-restore status``."""
    from live_restore.engine.daemon import watched_folder
    from live_restore.journal.database import lock_is_held
    from live_restore.journal.states import State
    from live_restore.journal.view import JournalView

    root = watched_folder(arguments.folder)
    settings = load_settings_of(arguments)
    path = watched_journal(root, settings)
    with JournalView(path, root) as journal:
        entries, states = journal.entries(), journal.counts()
    watched, now = lock_is_held(path), time.time()
    lost = {e.key for e in entries if e.lost_its_result(root)}
    reasons = {
        e.key: _LOST_RESULT if e.key in lost else e.reason_now(now, watched=watched)
        for e in entries
    }
    counts = {state.value: n for state, n in states.items()}
    doubtful = sum(entry.doubtful for entry in entries)
    log = path.with_suffix(".log")
    passed_by = _passed_by(root, settings)
    if arguments.json:
        everything = {
            "folder": str(root),
            "journal": str(path),
            "log": str(log),
            "watched": watched,
            "counts": counts,
            "doubtful": doubtful,
            "files": [_as_json(entry, reasons[entry.key]) for entry in entries],
            "not_looked_at": [
                {
                    "kind": each.kind,
                    "count": each.count,
                    "example": each.example.as_posix(),
                    "remedy": each.remedy,
                }
                for each in passed_by[0]
            ],
            "all_looked_through": passed_by[1],
        }
        print(json.dumps(everything, indent=1))
        return 0
    shown = [
        entry for entry in entries
        if arguments.all or entry.state is not State.DONE or entry.doubtful or entry.key in lost
    ]  # fmt: skip
    numbers = [f"{n} {state}" for state, n in counts.items() if n]
    if doubtful:
        numbers.append(f"{doubtful} of the done doubtful")
    print(", ".join(numbers) or "nothing yet")
    print("being watched now" if watched else "not being watched now")
    if shown:
        shown, alike = _without_repetition(shown, reasons, settings, everything=arguments.all)
        _print_table(shown, reasons)
        for line in alike:
            print(line)
    for each in passed_by[0]:
        print(each)
    if not passed_by[1]:
        print("there may be more files that are not looked at: only a part was looked through")
    print(f"log: {log}")
    return 0


def _passed_by(root: Path, settings: Settings) -> tuple[tuple[NotLookedAt, ...], bool]:
    """Return what a watch passes by in the folder, and whether all of it was looked through."""
    from live_restore.formats.table import make_acquisition_formats, make_formats
    from live_restore.sources.passed_by import survey

    def quietly(problem: str) -> None:
        del problem  # plug-ins that are left out: doctor and watch report them

    formats = make_formats(warn=quietly)
    acquisition_formats = make_acquisition_formats(
        plane_pattern=settings.files.plane_pattern, warn=quietly
    )
    return survey(root, formats, acquisition_formats, settings)


def _without_repetition(
    entries: Sequence[Entry],
    reasons: Mapping[StackKey, str],
    settings: Settings,
    *,
    everything: bool,
) -> tuple[list[Entry], list[str]]:
    """Return the rows to show one by one, and a line for each reason that many share."""
    from live_restore.engine.account import grouped

    if everything:
        return list(entries), []
    groups = grouped(entries, reasons, pattern=settings.files.plane_pattern)
    many = [group for group in groups if group.count > _MOST_ROWS_ALIKE]
    alike = {key for group in many for key in group.keys}
    return [entry for entry in entries if entry.key not in alike], [str(group) for group in many]


def _as_json(entry: Entry, reason: str) -> dict[str, Any]:
    return {
        "source": entry.key.path.as_posix(),
        "state": entry.state.value,
        "doubtful": entry.doubtful,
        "reason": reason,
        "stacks": entry.stacks,
        "attempts": entry.attempts,
        "result": entry.result,
        "finished_at": entry.finished_at,
    }


def _print_table(entries: Iterable[Entry], reasons: Mapping[StackKey, str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("state")
    table.add_column("file or stack", overflow="fold")
    table.add_column("why", overflow="fold")
    for entry in entries:
        # As Text: square brackets in a file name are no markup.
        why = Text(one_line(reasons[entry.key]))
        state = "done, doubtful" if entry.doubtful else entry.state.value
        table.add_row(state, Text(one_line(entry.key)), why)
    Console().print(table)
