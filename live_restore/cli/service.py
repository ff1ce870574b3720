"""``live-restore service``: watch folders without anybody there, after every log-on or boot."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from live_restore.cli.parsing import Commands, add_command, folder
from live_restore.errors import UsageError

_ACTIONS = ("install", "start", "stop", "status", "remove", "run")


def add(commands: Commands) -> None:
    """Register the command."""
    parser = add_command(
        commands, "service", run,
        "watch folders without anybody there, after every log-on or boot",
        "live-restore service install D:\\data",
        "live-restore service install D:\\data -- --config D:\\config.toml",
        "live-restore service status",
        config=False, engine=False,
    )  # fmt: skip
    parser.add_argument(
        "action", choices=_ACTIONS,
        help="install (and start) or remove; start or stop until the next log-on; status of one or "
        "of all; run: what the operating system starts",
    )  # fmt: skip
    parser.add_argument(
        "folder", type=folder, nargs="?", metavar="DIR", help="the watched folder; one service each"
    )
    parser.add_argument(
        "options", nargs="*", metavar="-- OPTION", help="options of live-restore watch, behind --"
    )
    parser.add_argument(
        "--system", action="store_true",
        help="Linux: a unit of the system, which runs from the boot on (needs administrator)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the status as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run ``live-restore service``."""
    from live_restore.engine.daemon import watched_folder
    from live_restore.journal.location import journal_path
    from live_restore.service import installed
    from live_restore.service.definition import Service
    from live_restore.service.supervisor import log_path, supervise

    action = arguments.action
    if action == "status":
        return _status(arguments.folder, as_json=arguments.json)
    if arguments.folder is None:
        raise UsageError(f"service {action} needs a folder", None, "name the watched folder")
    if action == "run":
        # As it was installed: the drive may not be there yet.
        return supervise(Service(arguments.folder.absolute(), tuple(arguments.options)))
    if action == "install":
        root = watched_folder(arguments.folder)
        options, journal_folder = _checked(arguments.options)
        service = Service(root, options)
        installed.install(service, journal_path(root, journal_folder), system=arguments.system)
        print(f"{service.name}: installed and started; it writes {log_path(service)}")
        if sys.platform != "win32" and not arguments.system:
            print("it runs while you are logged on; from the boot on: loginctl enable-linger")
        return 0
    known = installed.installed_for(arguments.folder.absolute())
    {"start": installed.start, "stop": installed.stop, "remove": installed.remove}[action](known)
    done = {"start": "started", "stop": "stopped", "remove": "removed"}[action]
    print(f"{known.service.name}: {done}")
    return 0


def _checked(options: list[str]) -> tuple[tuple[str, ...], Path | None]:
    """Return options of ``watch`` with absolute paths, and the folder of journals they lead to.

    A mistake is reported now, to a person.

    Raises
    ------
    UsageError
        ``watch`` does not take them, or its settings are wrong.
    """
    from live_restore.cli.main import build_parser
    from live_restore.cli.parsing import load_settings_of

    parsed = build_parser().parse_args(["watch", ".", *options])
    if parsed.once or parsed.micromanager is not None:
        raise UsageError("a service watches until it is stopped", None, "omit --once")
    journal_folder = load_settings_of(parsed).journal.folder
    # The operating system starts it somewhere else.
    paths = argparse.ArgumentParser(add_help=False)
    paths.add_argument("--config", type=Path)
    paths.add_argument("--model", type=Path)
    named, rest = paths.parse_known_args(options)
    if named.config is not None:
        rest += ["--config", str(named.config.absolute())]
    if named.model is not None:
        is_file = named.model.exists()
        rest += ["--model", str(named.model.absolute() if is_file else named.model)]
    return tuple(rest), journal_folder


def _status(folder: Path | None, *, as_json: bool) -> int:
    from live_restore.service import installed
    from live_restore.service.supervisor import log_path

    found = (
        installed.all_installed()
        if folder is None
        else [installed.installed_for(folder.absolute())]
    )
    lines = [
        {
            "name": each.service.name,
            "folder": str(each.service.folder),
            "options": list(each.service.options),
            "running": each.running,
            "log": str(log_path(each.service)),
        }
        for each in found
    ]
    if as_json:
        print(json.dumps(lines, indent=1))
        return 0
    for line in lines:
        print(
            f"{line['name']}: {'running' if line['running'] else 'not running'}: {line['folder']}"
        )
        print(f"     log: {line['log']}")
    if not lines:
        print("no service; install one: live-restore service install DIR")
    return 0
