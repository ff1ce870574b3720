"""The table ``[camera]`` in the text of a config.toml; all else in it stays as it is. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from live_restore.errors import SettingsError

_HEADER = re.compile(r"\s*\[")
_CAMERA = re.compile(r"\s*\[\s*camera\s*\]\s*(#.*)?")
_KEY = re.compile(r"\s*([A-Za-z_]+)\s*=")


def with_camera(text: str, values: Mapping[str, str], remarks: Sequence[str]) -> str:
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
    """
    before = _parsed(text)
    lines = text.splitlines()
    first = next((i for i, line in enumerate(lines) if _CAMERA.fullmatch(line)), None)
    table = ["[camera]", *(f"# {remark}" for remark in remarks)]
    table += [f"{key} = {value}" for key, value in values.items()]
    if first is None:
        lines += [*([""] if lines else []), *table]
    else:
        last = next(
            (i for i in range(first + 1, len(lines)) if _HEADER.match(lines[i])), len(lines)
        )
        # What stands above the next table belongs to that.
        while last > first + 1 and (
            not lines[last - 1].strip() or lines[last - 1].lstrip()[0] == "#"
        ):
            last -= 1
        table += [
            line
            for line in lines[first + 1 : last]
            if (key := _KEY.match(line)) and key[1] not in values
        ]
        lines[first:last] = table
    changed = "\n".join(lines) + "\n"
    after = _parsed(changed)
    wanted = {**before.get("camera", {}), **tomllib.loads("\n".join(table))["camera"]}
    if after != {**before, "camera": wanted}:
        raise SettingsError(
            "says what the camera is in a way that cannot be changed line by line", None,
            "write the numbers into it yourself",
        )  # fmt: skip
    return changed


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise SettingsError(f"is not valid TOML: {error}", None, "mend that line") from None
