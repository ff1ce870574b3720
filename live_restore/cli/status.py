"""``live-restore status``: what is done, waiting or failed in a watched folder, and why."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Mapping
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
    from live_restore.stack import StackKey

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
    path = watched_journal(root, load_settings_of(arguments))
    with JournalView(path, root) as journal:
        entries, states = journal.entries(), journal.counts()
        notes = {a.acquisition.as_posix(): a.note for a in journal.acquisitions() if a.note}
        hanging = journal.hanging()
    watched, now = lock_is_held(path), time.time()
    lost = {e.key for e in entries if e.lost_its_result(root)}
    reasons = {
        e.key: _LOST_RESULT if e.key in lost else e.reason_now(now, watched=watched)
        for e in entries
    }
    counts = {state.value: n for state, n in states.items()}
    doubtful = sum(entry.doubtful for entry in entries)
    log = path.with_suffix(".log")
    if arguments.json:
        everything = {
            "folder": str(root),
            "journal": str(path),
            "log": str(log),
            "watched": watched,
            "hanging": hanging if watched else "",
            "counts": counts,
            "doubtful": doubtful,
            "passed_by": notes,
            "files": [_as_json(entry, reasons[entry.key]) for entry in entries],
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
    if watched and hanging:
        print(one_line(hanging))
    if shown:
        _print_table(shown, reasons)
    for acquisition, note in notes.items():
        print(one_line(f"{acquisition}: {note}"))
    print(f"log: {log}")
    return 0


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
