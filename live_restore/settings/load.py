"""Reading settings: config.toml, flags and the environment become one typed tree.

Order of authority: environment over flags over files (``layers.py``) over defaults. An error names
the file or the variable it stands in, and the nearest valid name.
"""

from __future__ import annotations

import difflib
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_settings import EnvSettingsSource
from pydantic_settings import SettingsError as UnparsableError

from live_restore.errors import SettingsError
from live_restore.settings.folders import WatchedFolder, folder_with, folders_in, layers_for
from live_restore.settings.layers import (
    A_FLAG,
    FILE_VARIABLES,
    Layer,
    Origins,
    file_layers,
    giver,
    merged,
)
from live_restore.settings.model import LISTS, VARIABLE_PREFIX, Settings
from live_restore.settings.old_keys import (
    BOTH_GIVEN,
    OLD_KEYS,
    old_keys_in,
    renamed_where_one,
)

_NO_SETTINGS = (
    "LIVE_RESTORE_SHARED",
    "LIVE_RESTORE_WINDOWS_BED",
    "LIVE_RESTORE_STATE",
    *FILE_VARIABLES,
)
"""Variables of ours that are none: two of the tests, and what names other places of our files."""


def _warn(notice: str) -> None:
    warnings.warn(notice, FutureWarning, stacklevel=3)


def load_settings(
    path: Path | None = None,
    flags: dict[str, Any] | None = None,
    notice: Callable[[str], None] = _warn,
    *,
    folder: Path | None = None,
) -> Settings:
    """Read settings from the files of computer and user, one more file, flags and environment.

    Parameters
    ----------
    path
        A config.toml above those of the computer and of the user. Models named by a relative path
        are looked for beside the file that names them.
    flags
        Nested values that override the file, such as ``{"inference": {"device": "cpu"}}``.
    notice
        Called with one line for every setting that is given under an old name; by default, that
        line is a Python warning.
    folder
        The watched folder that they are for: where ``[[watch]]`` names it, what is set for it alone
        counts, too.

    Raises
    ------
    SettingsError
        The file cannot be read, a key is unknown (the error names the nearest valid one), a value
        has the wrong type, or one source gives a setting under its old and its new name.
    """
    return load_with_origins(path, flags, notice, folder=folder)[0]


def watched_folders(path: Path | None = None) -> list[WatchedFolder]:
    """Return the folders that the settings files name in ``[[watch]]``.

    Parameters
    ----------
    path
        A config.toml above those of the computer and of the user.

    Raises
    ------
    SettingsError
        A file cannot be read, or an entry is none.
    """
    return folders_in(file_layers(path))


def watched_folder_of(run: Path, path: Path | None = None) -> Path | None:
    """Return the folder of ``[[watch]]`` that a run is, or lies in; ``None`` where there is none.

    Parameters
    ----------
    run
        An acquisition's folder, a folder of files, or a file.
    path
        A config.toml above those of the computer and of the user.

    Raises
    ------
    SettingsError
        As :func:`watched_folders`.
    """
    found = folder_with(watched_folders(path), run)
    return None if found is None else found.folder


def load_with_origins(
    path: Path | None = None,
    flags: dict[str, Any] | None = None,
    notice: Callable[[str], None] = _warn,
    *,
    folder: Path | None = None,
) -> tuple[Settings, Origins]:
    """Read settings as :func:`load_settings` does; return also who gave each of them."""
    layers = [*layers_for(file_layers(path), folder), Layer(A_FLAG, flags or {})]
    notices = [_old_name(each.origin, old) for each in layers for old in old_keys_in(each.values)]
    layers = [Layer(each.origin, renamed_where_one(each.values)) for each in layers]
    values = merged(layers)
    variables = _variables()
    try:
        for old in old_keys_in(EnvSettingsSource(Settings)()):
            names = [name for name, keys in variables.items() if _begins(keys, list(old))]
            notices.append(_old_name(", ".join(names), old))
        settings = Settings(**values)
    except ValidationError as error:
        if all(each["type"] != BOTH_GIVEN for each in error.errors()):
            for line in notices:  # or the error would name a key that nobody wrote
                notice(line)
        raise _explain(error, layers, variables, values) from None
    except UnparsableError as error:
        field = re.search(r'field "(\w+)"', str(error))
        raise SettingsError(
            f"the environment variable {VARIABLE_PREFIX}{field[1].upper() if field else '...'} "
            "is not valid JSON",
            None,
            "write its value as JSON, or unset it",
        ) from None
    for line in notices:
        notice(line)
    return settings, Origins(tuple(layers), variables)


def _old_name(where: str, old: tuple[str, ...]) -> str:
    new = ".".join(OLD_KEYS[old])
    return (
        f"{where}: {'.'.join(old)} is now called {new}; the old name still works, write the new one"
    )


def _variables() -> dict[str, tuple[str, ...]]:
    """Return the environment variables that are settings, and the place of each in the tree.

    Raises
    ------
    SettingsError
        One of our variables is of no section.
    """
    found = {}
    for name in os.environ:
        if not name.upper().startswith(VARIABLE_PREFIX) or name in _NO_SETTINGS:
            continue
        section, *keys = name[len(VARIABLE_PREFIX) :].lower().split("__")
        if section not in Settings.model_fields:
            raise SettingsError(
                "is not a setting", name, f"did you mean {_nearest_variable(section, keys)}?"
            )
        found[name] = (section, *keys)
    return found


def _nearest_variable(section: str, keys: list[str]) -> str:
    meant = next((s for s in Settings.model_fields if section.startswith(f"{s}_")), None)
    if meant is not None:  # one underscore where two belong
        keys = [section.removeprefix(f"{meant}_").lstrip("_"), *keys]
    else:
        meant = difflib.get_close_matches(section, list(Settings.model_fields), n=1, cutoff=0.0)[0]
    return VARIABLE_PREFIX + "__".join([meant, *keys]).upper()


def _blamed(place: list[str], variables: dict[str, tuple[str, ...]], given: dict[str, Any]) -> str:
    """Return the environment variables that alone make the error at ``place``; mostly none."""
    try:
        Settings()
    except ValidationError as error:
        if place in [[str(part) for part in each["loc"]] for each in error.errors()]:
            exact = [name for name, keys in variables.items() if _begins(keys, place)]
            # Of a key that is missing, those beside which it belongs; a file ends what it begins.
            beside = [
                name
                for name, keys in variables.items()
                if keys[:-1] == (*place[:-1],) and keys[0] not in given
            ]
            return ", ".join(exact or beside)
    return ""


def _begins(keys: tuple[str, ...], place: list[str]) -> bool:
    return all(a == b for a, b in zip(keys, place, strict=False))


def _explain(
    error: ValidationError,
    layers: list[Layer],
    variables: dict[str, tuple[str, ...]],
    given: dict[str, Any],
) -> SettingsError:
    # A key that is misspelt is also missing.
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    place = [str(part) for part in first["loc"]]
    file = _file_at(layers, place)
    path = _blamed(place, variables, given) or file
    key = ".".join(place) or "settings"
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(place[-1], _valid_names(place[:-1]), n=1, cutoff=0.0)
        remedy = f"did you mean {'.'.join([*place[:-1], near[0]])}?" if near else "remove it"
        return SettingsError(f"{key} is not a setting", path, remedy)
    if first["type"] == BOTH_GIVEN:
        old = first["ctx"]["old"]
        names = [name for name, keys in variables.items() if _begins(keys, old.split("."))]
        file = _file_at(layers, old.split("."))
        return SettingsError(first["msg"], ", ".join(names) or file, f"remove {old}")
    if first["type"] == "missing":
        return SettingsError(f"{key} is missing", path, "add it")
    message = first["msg"].removeprefix("Value error, ")
    value = f" (given: {first['input']!r})" if not isinstance(first["input"], dict) else ""
    return SettingsError(f"{key}: {message}{value}", path, "mend this value")


def _file_at(layers: list[Layer], place: list[str]) -> str | None:
    """Return the file to mend; whoever gave a flag knows that."""
    origin = giver(layers, place)
    return None if origin == A_FLAG else origin


def _valid_names(place: list[str]) -> list[str]:
    """Return the keys that are valid at ``place``."""
    model: type[BaseModel] = Settings
    for part in place:
        if part in LISTS:
            model = LISTS[part]
        elif part in model.model_fields:
            annotation = model.model_fields[part].annotation
            for kind in (annotation, *get_args(annotation)):  # "CameraSettings | None", too
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    model = kind
    return list(model.model_fields)
