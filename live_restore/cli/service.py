"""``live-restore service``: watch folders without anybody there, after every log-on or boot."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from live_restore.cli import watch
from live_restore.cli.parsing import Commands, Parser, add_command, folder, load_settings_of
from live_restore.errors import LiveRestoreError, UsageError

if TYPE_CHECKING:
    from live_restore.service.definition import Service
    from live_restore.service.installed import Installed

_ACTIONS = ("install", "start", "stop", "status", "remove", "run")


def add(commands: Commands) -> None:
    """Register the command."""
    parser = add_command(
        commands, "service", run,
        "watch folders without anybody there, after every log-on or boot",
        "live-restore service install D:\\data", "live-restore service install",
        "live-restore service install D:\\data -- --config D:\\config.toml",
        "live-restore service status",
        engine=False,
    )  # fmt: skip
    parser.add_argument(
        "action", choices=_ACTIONS,
        help="install (and start) or remove; start, or stop for the time being; status of one or "
        "of all; run: what the operating system starts",
    )  # fmt: skip
    parser.add_argument(
        "folder", type=folder, nargs="?", metavar="DIR",
        help="the watched folder (unset: one service for all that the settings name in [[watch]])",
    )  # fmt: skip
    parser.add_argument(
        "options", nargs="*", metavar="-- OPTION", help="options of live-restore watch, behind --"
    )
    parser.add_argument(
        "--system", action="store_true",
        help="from the start of the computer on, not from the log-on (needs administrator)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the status as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run ``live-restore service``."""
    from live_restore.service import installed

    action = arguments.action
    if arguments.folder is not None and str(arguments.folder).startswith("-"):
        raise UsageError(
            f"{arguments.folder} is no folder", None,
            "name the folder before --; options of all folders belong in the settings",
        )  # fmt: skip
    if action == "status":
        return _status(arguments.folder, as_json=arguments.json)
    if action == "run":
        return _run(arguments)
    if action == "install":
        _install(arguments)
        return 0
    at = None if arguments.folder is None else arguments.folder.absolute()
    known = installed.installed_for(at)
    {"start": installed.start, "stop": installed.stop, "remove": installed.remove}[action](known)
    what = known.service.what
    done = {
        "start": f"{what}: watched from now on",
        "stop": f"{what}: not watched any more until{_next(known)} "
        f"{_command('start', known.service)}",
        "remove": f"{what}: not watched any more; its journal, logs and results stay",
    }[action]
    print(done)
    return 0


def _run(arguments: argparse.Namespace) -> int:
    """Do what the operating system starts: as it was installed, a drive may not be there yet."""
    from live_restore.cli.watch_all import services
    from live_restore.service.definition import Service
    from live_restore.service.supervisor import supervise
    from live_restore.service.system_log import Happening, report

    echo = _print if sys.stderr is not None and sys.stderr.isatty() else None
    options = _with_config(arguments)
    if arguments.folder is not None:
        service = Service(arguments.folder.absolute(), options)
        return supervise(service, [service], echo)
    try:
        folders = services(arguments.config, [*options])
    except LiveRestoreError as error:
        # Nobody sees what it prints; the system starts it again later.
        report(Happening.CRASH, f"nothing is watched: {error}")
        raise
    return supervise(Service(None, options), folders, echo)


def _install(arguments: argparse.Namespace) -> None:
    from live_restore.cli.folders import configured
    from live_restore.engine.daemon import watched_folder
    from live_restore.journal.location import journal_path
    from live_restore.service import installed
    from live_restore.service.definition import Service
    from live_restore.service.log import service_log

    options = _with_config(arguments)
    if arguments.folder is None:
        folders = [each.folder for each in configured(arguments.config)]
        for each in folders:
            _checked(each, options)  # a mistake is reported now, to a person
        service = Service(None, options)
        done = installed.install(service, None, system=arguments.system)
    else:
        root = watched_folder(arguments.folder)
        folders = [root]
        options, journal_folder = _checked(root, options)
        service = Service(root, options)
        journal = journal_path(root, journal_folder)
        done = installed.install(service, journal, system=arguments.system)
    for each in folders:
        print(f"{each}: watched from now on, and after every {_beginning(done.system)}")
        print(f"     log: {service_log(Service(each))}")
    print(f"to see it: live-restore service status; to end it: {_command('remove', service)}")
    if sys.platform != "win32" and not done.system:
        print("it ends when you log off, unless you allow it to stay: loginctl enable-linger")


def _beginning(system: bool) -> str:
    return "start of this computer" if system else "log-on"


def _next(known: Installed) -> str:
    """Return when a service that was stopped begins by itself; on Windows it does not."""
    return "" if sys.platform == "win32" else f" the next {_beginning(known.system)}, or"


def _command(action: str, service: Service) -> str:
    """Return a command line for a person to copy."""
    named = "" if service.folder is None else f' "{service.folder}"'
    return f"live-restore service {action}{named}"


def _with_config(arguments: argparse.Namespace) -> tuple[str, ...]:
    if arguments.config is None:
        return tuple(arguments.options)
    return ("--config", str(arguments.config.absolute()), *arguments.options)


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _checked(root: Path, options: Sequence[str]) -> tuple[tuple[str, ...], Path | None]:
    """Return options of ``watch`` with absolute paths, and the folder of journals they lead to.

    A mistake is reported now, to a person.

    Raises
    ------
    UsageError
        ``watch`` does not take them, or its settings are wrong.
    """
    parser = Parser(prog="live-restore")
    watch.add(parser.add_subparsers())
    parsed = parser.parse_args(["watch", str(root), *options])
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

    found = (
        installed.all_installed()
        if folder is None
        else [installed.installed_for(folder.absolute())]
    )
    rows = [_row(each) for each in found]
    if as_json:
        print(json.dumps(rows, indent=1))
        return 0
    for each, row in zip(found, rows, strict=True):
        print(f"{each.service.what}: {'running' if row['running'] else 'not running'}")
        print(f"     service: {row['name']}, begins with the {_beginning(each.system)}")
        if row["log"] is not None:
            print(f"     log: {row['log']}")
        for folder_row in row["folders"]:
            print(f"     {folder_row['folder']}: log: {folder_row['log']}")
        if row["problem"]:
            print(f"     {row['problem']}")
    if not rows:
        print("no service; install one: live-restore service install DIR")
    return 0


def _row(each: Installed) -> dict[str, Any]:
    """Return what is known of a service; its settings may have become wrong since."""
    from live_restore.cli.watch_all import services
    from live_restore.service.log import service_log

    service = each.service
    row: dict[str, Any] = {
        "name": service.name, "folder": None if service.folder is None else str(service.folder),
        "options": list(service.options), "running": each.running, "system": each.system,
        "log": None, "folders": [], "problem": "",
    }  # fmt: skip
    if service.folder is not None:
        row["log"] = str(service_log(service))
        return row
    config = dict(zip(service.options[::2], service.options[1::2], strict=True)).get("--config")
    try:
        folders = services(None if config is None else Path(config), [])
    except LiveRestoreError as error:
        row["problem"] = str(error)
        return row
    row["folders"] = [{"folder": str(f.folder), "log": str(service_log(f))} for f in folders]
    return row
