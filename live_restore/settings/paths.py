"""What paths in the settings may be: the template of results, and homes."""

from __future__ import annotations

import os
import string
from pathlib import Path


def check_template(template: str) -> str:
    """Return the template of results, with a home in the place of ``~``.

    Raises
    ------
    ValueError
        Results would overwrite each other, land anywhere, or be of no name that is read again.
    """
    if template.startswith("~"):
        first, slash, rest = template.replace("\\", "/").partition("/")
        home = str(_expanded(Path(first))).replace("{", "{{").replace("}", "}}")
        template = home + slash + rest
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"has unbalanced braces ({error})") from None
    fields = [field for _, field, _, _ in parts if field is not None]
    odd = [f for _, f, spec, conversion in parts if f is not None and (spec or conversion)]
    if odd or not set(fields) <= {"folder", "name"}:
        raise ValueError("may use only {folder} and {name} in braces")
    if "name" not in fields:
        raise ValueError("must contain {name}, or every result would have the same name")
    if not template.endswith(".ome.tif"):
        raise ValueError("must end in .ome.tif")
    if not template.startswith("{folder}") and not Path(template).is_absolute():
        # Else results would go wherever the program happens to be started.
        raise ValueError("must begin with {folder} or be an absolute path")
    return template


def absolute(path: Path) -> Path:
    """Return a path that does not depend on where the program is started.

    Raises
    ------
    ValueError
        It begins with the home of somebody who has none.
    """
    return _expanded(path).absolute()


def _expanded(path: Path) -> Path:
    """Replace ``~`` or ``~name`` at the beginning by that person's home."""
    try:
        expanded = path.expanduser()
    except RuntimeError:
        raise ValueError(f"{path.parts[0]} is nobody's home on this computer") from None
    first = path.parts[0] if path.parts else ""
    # Windows does not look up who there is: it takes the folder beside the user's own.
    if os.name == "nt" and first[:1] == "~" != first and not Path(first).expanduser().is_dir():
        raise ValueError(f"{first} is nobody's home on this computer")
    return expanded
