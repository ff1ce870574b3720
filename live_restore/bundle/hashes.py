"""The list of SHA-256 hashes of a bundle, and whether its files still are those.

It has the form that ``sha256sum --check`` reads, so that nobody has to believe the program that is
being checked. It lies in the program folder and names, beside what is in there, the scripts of the
folder above (``../NAME``). Nothing is added to a program folder while it is used: its Python keeps
what it compiles elsewhere, see ``python.py``.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from live_restore.errors import LiveRestoreError
from live_restore.files.reading import open_regular, read_regular

LIST_NAME = "SHA256SUMS"
# Two hundred times what the largest bundle has.
_MOST_LIST_BYTES = 2**28
_BLOCK_BYTES = 2**20
_LINE = re.compile(r"(?P<hex>[0-9a-f]{64})  (?P<name>(?:\.\./)?[^/\0]+(?:/[^/\0]+)*)\Z")


@dataclass(frozen=True)
class Difference:
    """One file that is not as the list has it.

    Parameters
    ----------
    name
        Relative to the program folder.
    what
        "changed", "missing", "not in the list", or why it cannot be read.
    """

    name: str
    what: str


def sha256_of(path: Path) -> str:
    """Return the SHA-256 (hex) of a regular file; raises ``OSError``."""
    digest = hashlib.sha256()
    with open_regular(path, follow_link=False) as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def write_list(hashes: Mapping[str, str]) -> str:
    """Return the text of a list: names, relative to the program folder, and their hashes."""
    return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))


def read_list(text: str) -> dict[str, str]:
    """Return the names of a list and their hashes.

    Raises
    ------
    ValueError
        A line that is none, or a name that leads out of the bundle.
    """
    hashes = {}
    for line in text.splitlines():
        entry = _LINE.match(line)
        if entry is None or not _stays_inside(entry["name"]):
            raise ValueError(f"has a line that is none of a list of hashes: {line[:80]!r}")
        hashes[entry["name"]] = entry["hex"]
    if not hashes:
        raise ValueError("names no file")
    return hashes


def listed(program: Path) -> dict[str, str]:
    """Return the list of a program folder.

    Raises
    ------
    LiveRestoreError
        It cannot be read, or is no such list.
    """
    path = program / LIST_NAME
    try:
        return read_list(read_regular(path, _MOST_LIST_BYTES).decode("utf-8"))
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error})"
    except ValueError as error:
        reason = str(error)
    raise LiveRestoreError(reason, path, "unpack the bundle again")


def differences(program: Path) -> Iterator[Difference]:
    """Compare a program folder with its list.

    Raises
    ------
    LiveRestoreError
        As of :func:`listed`.
    """
    hashes = listed(program)
    for name, expected in hashes.items():
        try:
            if sha256_of(program / name) != expected:
                yield Difference(name, "changed")
        except FileNotFoundError:
            yield Difference(name, "missing")
        except OSError as error:
            yield Difference(name, error.strerror or str(error))
    for name in sorted(set(_files(program)) - set(hashes) - {LIST_NAME}):
        yield Difference(name, "not in the list")


def _files(program: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(program):
        # os.walk does not enter links to folders: they are as foreign as files are.
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in (*names, *links):
            yield (Path(folder) / name).relative_to(program).as_posix()


def _stays_inside(name: str) -> bool:
    inside = name.removeprefix("../")
    if name != inside and "/" in inside:
        return False
    if "\\" in inside or ":" in inside:
        return False
    return not {"", ".", ".."} & set(inside.split("/"))
