"""Reading settings: config.toml, flags and the environment become one typed tree.

Order of authority: environment over flags over file over defaults. An error names the file or the
variable it stands in, and the nearest valid name.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import tomllib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_settings import EnvSettingsSource
from pydantic_settings import SettingsError as UnparsableError

from live_restore.errors import SettingsError
from live_restore.settings.model import VARIABLE_PREFIX, ModelRule, Settings
from live_restore.settings.old_keys import (
    BOTH_GIVEN,
    OLD_KEYS,
    old_keys_in,
    renamed_where_one,
)

_MAX_FILE_BYTES = 2**18
_NO_SETTINGS = ("LIVE_RESTORE_SHARED",)
"""Variables of ours that are none: where the tests find real stacks."""


def _warn(notice: str) -> None:
    warnings.warn(notice, FutureWarning, stacklevel=3)


def load_settings(
    path: Path | None = None,
    flags: dict[str, Any] | None = None,
    notice: Callable[[str], None] = _warn,
) -> Settings:
    """Read settings from a TOML file (optional), flags and the environment.

    Parameters
    ----------
    path
        The config.toml; models named by a relative path are looked for beside it.
    flags
        Nested values that override the file, such as ``{"inference": {"device": "cpu"}}``.
    notice
        Called with one line for every setting that is given under an old name; by default, that
        line is a Python warning.

    Raises
    ------
    SettingsError
        The file cannot be read, a key is unknown (the error names the nearest valid one), a value
        has the wrong type, or one source gives a setting under its old and its new name.
    """
    values = {} if path is None else _from_file(path)
    notices = [_old_name(str(path), old) for old in old_keys_in(values)]
    notices += [_old_name("a flag", old) for old in old_keys_in(flags or {})]
    values = _merge(renamed_where_one(values), renamed_where_one(flags or {}))
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
        raise _explain(error, path, variables, values) from None
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
    return settings


def _old_name(where: str, old: tuple[str, ...]) -> str:
    new = ".".join(OLD_KEYS[old])
    return (
        f"{where}: {'.'.join(old)} is now called {new}; the old name still works, write the new one"
    )


def _from_file(path: Path) -> dict[str, Any]:
    """Return what a config.toml holds; its relative paths are relative to it.

    Raises
    ------
    SettingsError
        It cannot be read, or is not TOML.
    """
    try:
        values = _toml(path)
    except OSError as error:
        raise SettingsError(
            f"cannot be read ({error.strerror})", path, "check the path given to --config"
        ) from None
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"is not valid TOML: {error}", path, "mend that line") from None
    for rule in values.get("models", []) if isinstance(values.get("models"), list) else []:
        model = rule.get("model") if isinstance(rule, dict) else None
        if isinstance(model, str) and _looks_like_path(model):
            rule["model"] = str(path.resolve().parent / model)
    for section, key in (("journal", "folder"), ("camera", "bad_pixels")):
        table = values.get(section)
        named = table.get(key) if isinstance(table, dict) else None
        # Not where the program happens to be started, or a folder would get two journals.
        if isinstance(table, dict) and isinstance(named, str) and not named.startswith("~"):
            table[key] = str(path.resolve().parent / named)
    return values


def _toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds; a pipe will do, too: ``--config <(...)``.

    Raises
    ------
    OSError
        It cannot be read, or is far larger than any settings.
    ValueError, RecursionError
        It is not TOML.
    """
    with path.open("rb") as file:
        text = file.read(_MAX_FILE_BYTES + 1)
    if len(text) > _MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, f"larger than {_MAX_FILE_BYTES:,} bytes", str(path))
    return tomllib.loads(text.decode().replace("\r\n", "\n"))


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
    file: Path | None,
    variables: dict[str, tuple[str, ...]],
    given: dict[str, Any],
) -> SettingsError:
    # A key that is misspelt is also missing.
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    place = [str(part) for part in first["loc"]]
    path = _blamed(place, variables, given) or file
    key = ".".join(place) or "settings"
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(place[-1], _valid_names(place[:-1]), n=1, cutoff=0.0)
        remedy = f"did you mean {'.'.join([*place[:-1], near[0]])}?" if near else "remove it"
        return SettingsError(f"{key} is not a setting", path, remedy)
    if first["type"] == BOTH_GIVEN:
        old = first["ctx"]["old"]
        names = [name for name, keys in variables.items() if _begins(keys, old.split("."))]
        return SettingsError(first["msg"], ", ".join(names) or file, f"remove {old}")
    if first["type"] == "missing":
        return SettingsError(f"{key} is missing", path, "add it")
    message = first["msg"].removeprefix("Value error, ")
    value = f" (given: {first['input']!r})" if not isinstance(first["input"], dict) else ""
    return SettingsError(f"{key}: {message}{value}", path, "mend this value")


def _valid_names(place: list[str]) -> list[str]:
    """Return the keys that are valid at ``place``."""
    model: type[BaseModel] = Settings
    for part in place:
        if part == "models":
            model = ModelRule
        elif part in model.model_fields:
            annotation = model.model_fields[part].annotation
            for kind in (annotation, *get_args(annotation)):  # "CameraSettings | None", too
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    model = kind
    return list(model.model_fields)
