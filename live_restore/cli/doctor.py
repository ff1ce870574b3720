"""``live-restore doctor``: whether this computer is ready, and how to fix what is not."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from live_restore.cli.folders import NAMED_BELOW
from live_restore.cli.parsing import (
    Commands,
    add_command,
    folder,
    load_settings_of,
    overrides,
    report_notice,
)
from live_restore.errors import one_line


def add(commands: Commands) -> None:
    """Register the command."""
    parser = add_command(
        commands, "doctor", run, "check whether this computer is ready, and how to fix what is not",
        "live-restore doctor", "live-restore doctor D:\\data --json",
    )  # fmt: skip
    parser.add_argument(
        "folder", type=folder, nargs="?", metavar="DIR",
        help=f"folder that is going to be watched ({NAMED_BELOW})",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run ``live-restore doctor``."""
    from rich.console import Console
    from rich.text import Text

    from live_restore.doctor.checks import examine
    from live_restore.doctor.finding import Finding
    from live_restore.settings.load import load_settings, watched_folders

    settings = load_settings_of(arguments)
    folders = {arguments.folder: settings} if arguments.folder is not None else {
        each.folder: load_settings(
            arguments.config, overrides(arguments), report_notice, folder=each.folder
        )
        for each in watched_folders(arguments.config)
    }  # fmt: skip
    console = Console()
    colours = {"good": "green", "note": "yellow", "bad": "red"}
    findings: list[Finding] = []
    for finding in examine(settings, folders):
        findings.append(finding)
        if not arguments.json:
            line = Text(f"{finding.verdict:5s}", style=colours[finding.verdict])
            line.append(f"{finding.what}: {one_line(finding.found)}", style="default")
            console.print(line, soft_wrap=True)
            if finding.remedy:
                console.print(Text(f"     -> {one_line(finding.remedy)}"), soft_wrap=True)
    bad = sum(finding.verdict == "bad" for finding in findings)
    if arguments.json:
        print(json.dumps({"ready": not bad, "findings": [asdict(f) for f in findings]}, indent=1))
    else:
        print("not ready: fix what is marked bad above" if bad else "ready")
    return 1 if bad else 0
