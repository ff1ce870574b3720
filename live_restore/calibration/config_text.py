"""The table ``[camera]``, or one of ``[[cameras]]``, in the text of a config.toml. Pure.

All else in it stays as it is.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from live_restore.errors import SettingsError

_HEADER = re.compile(r"\s*\[")
_CAMERA = re.compile(r"\s*\[\s*camera\s*\]\s*(#.*)?")
_CAMERAS = re.compile(r"\s*\[\[\s*cameras\s*\]\]\s*(#.*)?")
_KEY = re.compile(r"\s*([A-Za-z_]+)\s*=")


def with_camera(
    text: str,
    values: Mapping[str, str],
    remarks: Sequence[str],
    belongs_to: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """Return the text of a config.toml with these values in its table ``[camera]``.

    Keys of that table that are not given stay; comments between them do not.

    Parameters
    ----------
    text
        Of the file, "" of a new one.
    values
        By key, as TOML.
    remarks
        Lines for a comment above them.
    belongs_to
        ``serial``, ``channels``, or both, of one camera among several: then the values go into the
        table ``[[cameras]]`` that has the same, or into a new one behind the others.

    Raises
    ------
    SettingsError
        The text is no TOML, or says what the camera is in another way than by such a table.

    Examples
    --------
    >>> print(with_camera("[log]\\nlevel = 'info'\\n", {"offset_adu": "100"}, ["measured"]))
    [log]
    level = 'info'
    <BLANKLINE>
    [camera]
    # measured
    offset_adu = 100
    <BLANKLINE>
    >>> print(with_camera("", {"offset_adu": "100"}, [], {"serial": "A1"}))
    [[cameras]]
    serial = "A1"
    offset_adu = 100
    <BLANKLINE>
    """
    before = _parsed(text)
    lines = text.splitlines()
    header, pattern = ("[[cameras]]", _CAMERAS) if belongs_to else ("[camera]", _CAMERA)
    named = {key: json.dumps(value, ensure_ascii=False) for key, value in belongs_to.items()}
    values = {**named, **values}
    tables = [i for i, line in enumerate(lines) if pattern.fullmatch(line)]
    others = before.get("cameras", [])
    which = 0
    if belongs_to:
        if not isinstance(others, list) or len(tables) != len(others):
            raise _by_hand()
        same = [i for i, each in enumerate(others) if _belonging(each) == _belonging(belongs_to)]
        which = same[0] if same else len(tables)
    table = [header, *(f"# {remark}" for remark in remarks)]
    table += [f"{key} = {value}" for key, value in values.items()]
    if which >= len(tables):
        # Behind the others of its kind, whose order a person chose.
        at = _end_of(lines, tables[-1]) if tables else len(lines)
        behind = [""] if at < len(lines) and lines[at].strip() else []
        lines[at:at] = [*([""] if at else []), *table, *behind]
    else:
        first = tables[which]
        last = _end_of(lines, first)
        table += [
            line
            for line in lines[first + 1 : last]
            if (key := _KEY.match(line)) and key[1] not in values
        ]
        lines[first:last] = table
    changed = "\n".join(lines) + "\n"
    after = _parsed(changed)
    if belongs_to:
        new = tomllib.loads("\n".join(table))["cameras"][0]
        old = others[which] if which < len(others) else {}
        expected = [*others[:which], {**old, **new}, *others[which + 1 :]]
        if after != {**before, "cameras": expected}:
            raise _by_hand()
        return changed
    wanted = {**before.get("camera", {}), **tomllib.loads("\n".join(table))["camera"]}
    if after != {**before, "camera": wanted}:
        raise _by_hand()
    return changed


def _belonging(camera: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return what says which stacks a camera recorded."""
    return str(camera.get("serial", "")), [str(each) for each in camera.get("channels", ["*"])]


def _end_of(lines: Sequence[str], first: int) -> int:
    """Return the line behind a table; what stands above the next table belongs to that."""
    last = next((i for i in range(first + 1, len(lines)) if _HEADER.match(lines[i])), len(lines))
    while last > first + 1 and (not lines[last - 1].strip() or lines[last - 1].lstrip()[0] == "#"):
        last -= 1
    return last


def _by_hand() -> SettingsError:
    return SettingsError(
        "says what the camera is in a way that cannot be changed line by line", None,
        "write the numbers into it yourself",
    )  # fmt: skip


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise SettingsError(f"is not valid TOML: {error}", None, "mend that line") from None
