"""The files that settings come from, the lowest first: the computer's, the user's, ``--config``.

What a higher one gives hides what a lower one gives under the same name; ``models`` is one name,
and so are ``cameras`` and ``[[watch]]``, the folders (``folders.py``).
"""

from __future__ import annotations

import errno
import os
import re
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from live_restore.errors import SettingsError

A_FLAG = "a flag"
A_DEFAULT = "default"
FILE_VARIABLES = ("LIVE_RESTORE_COMPUTER_CONFIG", "LIVE_RESTORE_USER_CONFIG")
"""Name other files than the computer's and the user's; the tests read neither."""
FOLDERS = "watch"
"""As a list, the folders that a file names; else a section like others."""
FOLDER = "folder"
_NAME = "config.toml"
_MAX_FILE_BYTES = 2**18
_SECTION = re.compile(rf"^[ \t]*\[[ \t]*{FOLDERS}[ \t]*\]", re.MULTILINE)
_ENTRY = re.compile(rf"^[ \t]*\[\[[ \t]*{FOLDERS}[ \t]*\]\]", re.MULTILINE)


@dataclass(frozen=True)
class Layer:
    """Nested settings, and who gave them: a file, or :data:`A_FLAG`."""

    origin: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Origins:
    """Who gave which setting.

    Parameters
    ----------
    layers
        The lowest first.
    variables
        Environment variables, and the place of each in the tree.
    """

    layers: tuple[Layer, ...]
    variables: dict[str, tuple[str, ...]]

    def of(self, section: str, *keys: str) -> str:
        """Return the variable, file or flag that gave a setting, or :data:`A_DEFAULT`."""
        place = (section, *keys)
        # A variable may give a whole section, as JSON.
        given = [name for name, at in self.variables.items() if at == place[: len(at)]]
        return given[-1] if given else giver(self.layers, place, whole=True) or A_DEFAULT


def computer_file() -> Path:
    """Return the settings of all users of this computer; its administrator writes them."""
    if own := os.environ.get(FILE_VARIABLES[0]):
        return Path(own)
    if sys.platform == "win32":
        return Path(os.environ.get("PROGRAMDATA", r"C:\ProgramData")) / "live-restore" / _NAME
    return Path("/etc/live-restore") / _NAME


def user_file() -> Path:
    """Return the settings of the user for all folders."""
    if own := os.environ.get(FILE_VARIABLES[1]):
        return Path(own)
    import platformdirs

    return platformdirs.user_config_path("live-restore", appauthor=False) / _NAME


def file_layers(path: Path | None) -> list[Layer]:
    """Return what the files give: the computer's and the user's, where they are, and ``path``.

    Raises
    ------
    SettingsError
        One cannot be read, or is not TOML, or that of the computer holds a secret.
    """
    layers = []
    for standing in (computer_file(), user_file()):
        if os.path.lexists(standing):
            values = _from_file(standing, "make it readable for this user, or remove it")
            layers.append(Layer(str(standing), values))
            if standing == computer_file():
                _refuse_secrets(layers[-1])
    if path is not None:
        layers.append(Layer(str(path), _from_file(path, "check the path given to --config")))
    return layers


def merged(layers: Sequence[Layer]) -> dict[str, Any]:
    """Return what all layers give together."""
    values: dict[str, Any] = {}
    for layer in layers:
        values = _merge(values, layer.values)
    return values


def giver(layers: Sequence[Layer], place: Sequence[str], *, whole: bool = False) -> str | None:
    """Return the highest layer that gives something at ``place``, or else the nearest above it.

    ``whole``: only at ``place`` itself. Of numbers in a list, the list is the place.
    """
    shortest = len(place) if whole else 1
    for length in range(len(place), shortest - 1, -1):
        for layer in reversed(layers):
            if _gives(layer.values, place[:length]) and layer.values:
                return layer.origin
    files = [layer for layer in layers if layer.origin != A_FLAG]
    return files[-1].origin if files and not whole else None


def _gives(values: Any, place: Sequence[str]) -> bool:
    for part in place:
        if isinstance(values, list) and part.isdecimal() and int(part) < len(values):
            values = values[int(part)]
        elif isinstance(values, dict) and part in values:
            values = values[part]
        else:
            return False
    return True


def _from_file(path: Path, remedy: str) -> dict[str, Any]:
    """Return what a config.toml holds; its relative paths are relative to it.

    Raises
    ------
    SettingsError
        It cannot be read, or is not TOML.
    """
    try:
        values = _toml(path)
    except OSError as error:
        raise SettingsError(f"cannot be read ({error.strerror})", path, remedy) from None
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"is not valid TOML: {error}", path, "mend that line") from None
    for each in (values, *entries_of(values)):
        _make_paths_absolute(each, path.resolve().parent)
    return values


def entries_of(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of ``[[watch]]`` that are tables."""
    entries = values.get(FOLDERS)
    return [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []


def _make_paths_absolute(values: dict[str, Any], base: Path) -> None:
    """Make the paths in settings those of files beside the one that names them."""
    for rule in values.get("models", []) if isinstance(values.get("models"), list) else []:
        model = rule.get("model") if isinstance(rule, dict) else None
        if isinstance(model, str) and _looks_like_path(model):
            rule["model"] = str(base / model)
        steps = rule.get("steps") if isinstance(rule, dict) else None
        if isinstance(steps, list):
            rule["steps"] = [
                str(base / each) if isinstance(each, str) and _looks_like_path(each) else each
                for each in steps
            ]
    tables = [(values.get("journal"), FOLDER), (values.get("camera"), "bad_pixels")]
    several = values.get("cameras")
    tables += [(each, "bad_pixels") for each in (several if isinstance(several, list) else [])]
    for table, key in (*tables, (values, FOLDER)):
        named = table.get(key) if isinstance(table, dict) else None
        # Not where the program happens to be started, or a folder would get two journals.
        if (
            isinstance(table, dict)
            and isinstance(named, str)
            and named
            and not named.startswith("~")
        ):
            table[key] = str(base / named)


def _refuse_secrets(layer: Layer) -> None:
    """Keep addresses with passwords out of a file that every user of the computer may read."""
    for values in (layer.values, *entries_of(layer.values)):
        alerts = values.get("alerts")
        if isinstance(alerts, dict) and alerts.get("to"):
            raise SettingsError(
                "alerts.to may hold passwords, and every user of this computer can read this file",
                layer.origin,
                "write it into the user's settings file, or set LIVE_RESTORE_ALERTS__TO",
            )


def _toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds; a pipe will do, too: ``--config <(...)``.

    Raises
    ------
    OSError
        It cannot be read, or is far larger than any settings.
    SettingsError
        It has folders of both kinds.
    ValueError, RecursionError
        It is not TOML.
    """
    with path.open("rb") as file:
        text = file.read(_MAX_FILE_BYTES + 1)
    if len(text) > _MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, f"larger than {_MAX_FILE_BYTES:,} bytes", str(path))
    told = text.decode().replace("\r\n", "\n")
    try:
        return tomllib.loads(told)
    except tomllib.TOMLDecodeError:
        if _SECTION.search(told) and _ENTRY.search(told):
            raise SettingsError(
                "holds both [watch] and [[watch]], which take each other's place", path,
                "put a # before [watch] and its keys; an entry of [[watch]] may have the same keys",
            ) from None  # fmt: skip
        raise


def _looks_like_path(model: str) -> bool:
    return model.endswith((".onnx", ".zip")) or "/" in model or "\\" in model


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        current = merged.get(key)
        if isinstance(value, dict) and isinstance(current, dict):
            merged[key] = _merge(current, value)
        else:
            merged[key] = value
    return merged
