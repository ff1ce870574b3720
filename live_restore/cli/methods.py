"""``live-restore methods``: the paragraph for a paper, from the reports of a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from live_restore.cli.parsing import Commands, add_command, folder
from live_restore.errors import UsageError, one_line

_MOST_REPORTS = 100_000


def add(commands: Commands) -> None:
    """Register the command."""
    parser = add_command(
        commands, "methods", run, "print the paragraph for a paper on how results were made",
        "live-restore methods D:\\data\\run_1_restored", "live-restore methods cell.json",
        config=False, engine=False,
    )  # fmt: skip
    parser.add_argument(
        "results", type=folder, metavar="RUN", help="a folder of results, or a report (.json)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run ``live-restore methods``."""
    from live_restore.outputs.methods import paragraph

    reports = _reports(arguments.results)
    if not reports:
        raise UsageError(
            "holds no report of live-restore", arguments.results,
            "name the folder of the results, such as restored/ or run_1_restored",
        )  # fmt: skip
    print(one_line(paragraph(reports)))
    return 0


def _reports(path: Path) -> list[dict[str, Any]]:
    from live_restore.files.values import NotJsonError
    from live_restore.outputs.report_file import REPORT_FORMAT, read_report

    found = []
    paths = sorted(path.rglob("*.json"))[:_MOST_REPORTS] if path.is_dir() else [path]
    for each in paths:
        try:
            report = read_report(each)
        except (OSError, NotJsonError) as error:
            if each == path:
                raise UsageError(
                    _why_not(error), path,
                    "name a report (.json beside a result), or the folder of results",
                ) from error  # fmt: skip
            continue  # of others, such as settings beside images
        if report.get("format") == REPORT_FORMAT:
            found.append(report)
    return found


def _why_not(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror or error})"
    return "is no report of live-restore"
