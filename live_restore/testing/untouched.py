"""What reading must leave as it was: raw files, and this process's open files."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_opened: list[tuple[str, int]] | None = None
"""Names and flags of what was opened while :func:`openings` watches."""


@functools.cache
def _listen() -> None:
    """Hear of every file that Python opens; such a hook cannot be removed."""

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and _opened is not None and isinstance(arguments[0], str | bytes):
            _opened.append((os.fsdecode(arguments[0]), arguments[2]))

    sys.addaudithook(hear)


@contextmanager
def openings() -> Iterator[list[tuple[str, int]]]:
    """Give a list that fills with the name and the flags of every file that Python opens."""
    global _opened
    _listen()
    heard: list[tuple[str, int]] = []
    _opened = heard
    try:
        yield heard
    finally:
        _opened = None


@contextmanager
def untouched(folder: Path) -> Iterator[None]:
    """Fail where the block changes anything in a folder, opens it for writing or keeps it open.

    ``folder`` is hashed, so its files should be small.
    """
    before = _contents(folder)
    with openings() as opened:
        yield
    inside = [(name, flags) for name, flags in opened if Path(name).is_relative_to(folder)]
    for_writing = [name for name, flags in inside if flags & _WRITING]
    assert not for_writing, f"opened for writing: {for_writing}"
    assert not held(folder), f"kept open: {held(folder)}"
    assert _contents(folder) == before, "something in the folder was changed"


def held(folder: Path) -> list[str]:
    """Return the files below a folder that this process has open or mapped into memory."""
    names = [file.path for file in psutil.Process().open_files()]
    maps = Path("/proc/self/maps")
    if maps.is_file():
        names += [line.rpartition(" ")[2] for line in maps.read_text().splitlines()]
    return sorted({name for name in names if Path(name).is_relative_to(folder.resolve())})


def _contents(folder: Path) -> dict[str, tuple[int, str]]:
    """Return the time stamp and the hash of everything below a folder."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in sorted(folder.rglob("*"))
    }
