"""``live-restore config``: every setting and who gave it, or whether the settings are right."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from live_restore.cli.parsing import Commands, add_command, folder, overrides, report_notice
from live_restore.errors import one_line

if TYPE_CHECKING:
    from live_restore.settings.layers import Origins
    from live_restore.settings.model import Settings


def add(commands: Commands) -> None:
    """Register the command."""
    parser = add_command(
        commands, "config", run,
        "show every setting and where it comes from, or check the settings",
        "live-restore config show", "live-restore config show D:\\data",
        "live-restore config check --config D:\\data\\config.toml",
    )  # fmt: skip
    parser.add_argument(
        "action", choices=("show", "check"),
        help="show: every setting, as TOML; check: exit with 2 where a file or a model is wrong",
    )  # fmt: skip
    parser.add_argument(
        "folder", type=folder, nargs="?", metavar="DIR",
        help="a watched folder: with what [[watch]] sets for it alone",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run ``live-restore config``."""
    from live_restore.settings.layers import computer_file, user_file
    from live_restore.settings.load import load_with_origins, watched_folders

    settings, origins = load_with_origins(
        arguments.config, overrides(arguments), notice=report_notice, folder=arguments.folder
    )
    folders = watched_folders(arguments.config)
    files = {"computer": computer_file(), "user": user_file(), "--config": arguments.config}
    if arguments.action == "check":
        _check(settings)
        for each in folders:
            _check(_settings_for(each.folder, arguments))
    values = _values(settings, origins)
    if arguments.json:
        found = {name: _state(path) for name, path in files.items()}
        watched = [{"folder": str(each.folder), "own": each.own_keys} for each in folders]
        print(json.dumps({"files": found, "folders": watched, "settings": values}, indent=1))
        return 0
    for name, path in files.items():
        if path is not None:
            absent = "" if path.exists() else " (not there)"
            print(f"# {name}: {path}{absent}")
    for each in folders:
        absent = "" if each.is_there else " (not there)"
        own = f"; for it alone: {', '.join(each.own_keys)}" if each.own_keys else ""
        print(one_line(f"# [[watch]] {each.folder}{absent}{own}"))
    if arguments.action == "check":
        print("the settings are right")
        return 0
    lines = [(_line(each["key"], each["value"]), each["origin"]) for each in values]
    width = min(48, max(len(line) for line, _ in lines))
    for line, origin in lines:
        print(f"{line:{width}s}  # {origin}")
    return 0


def _settings_for(folder: Path, arguments: argparse.Namespace) -> Settings:
    from live_restore.settings.load import load_settings

    return load_settings(arguments.config, overrides(arguments), report_notice, folder=folder)


def _check(settings: Settings) -> None:
    """Look at what the settings name; raises ``UsageError``."""
    from live_restore.inference.load import find_model
    from live_restore.journal.location import journal_path

    for name in settings.model_names:
        find_model(name)
    journal_path(Path(), settings.journal.folder)


def _state(path: Path | None) -> dict[str, Any] | None:
    return None if path is None else {"path": str(path), "exists": path.exists()}


def _values(settings: Settings, origins: Origins) -> list[dict[str, Any]]:
    """Return every setting as key, value and origin; of a section that is off, the section."""
    values = []
    for section, content in settings.model_dump(mode="json").items():
        if isinstance(content, dict):
            for key, value in content.items():
                origin = origins.of(section, key)
                values.append({"key": f"{section}.{key}", "value": value, "origin": origin})
        else:
            values.append({"key": section, "value": content, "origin": origins.of(section)})
    return values


def _line(key: str, value: Any) -> str:
    return f"# {key} is unset" if value is None else f"{key} = {_toml(value)}"


def _toml(value: Any) -> str:
    """Return a value as TOML has it, on one line."""
    if isinstance(value, dict):
        pairs = (f"{key} = {_toml(each)}" for key, each in value.items() if each is not None)
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)  # strings, numbers and truth values are written alike
