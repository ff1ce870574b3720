"""Disks that are slow, full or rotting, and looking at a folder meanwhile."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from live_restore.files import disk
from live_restore.stack import Volume


class CrashError(Exception):
    pass


class SlowDisk(disk.Disk):
    """Leaves a reader time to look before a name is given, and after."""

    def sync(self, path: Path) -> None:
        time.sleep(0.005)
        super().sync(path)

    def replace(self, temporary: Path, final: Path) -> None:
        super().replace(temporary, final)
        time.sleep(0.02)


class FullDisk(disk.Disk):
    """Has no space from a call on."""

    def __init__(self, calls: int) -> None:
        self._left = calls
        self.refused = False

    def _count(self) -> None:
        if self._left <= 0:
            self.refused = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._left -= 1

    def open(self, path: Path, mode: str) -> BinaryIO:
        self._count()
        return super().open(path, mode)

    def sync(self, path: Path) -> None:
        self._count()
        super().sync(path)

    def replace(self, temporary: Path, final: Path) -> None:
        self._count()
        super().replace(temporary, final)


class RottingDisk(disk.Disk):
    """Changes a byte in the middle of every file, once that is written."""

    def sync(self, path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        super().sync(path)


@contextmanager
def polling(look: Callable[[], Volume | None]) -> Iterator[list[Volume | None]]:
    """Look again and again, in a thread; raises what looking raised."""
    seen: list[Volume | None] = []
    errors: list[BaseException] = []
    stop = threading.Event()

    def poll() -> None:
        while not stop.is_set():
            try:
                found = look()
            except BaseException as error:  # noqa: BLE001 - handed to the test
                errors.append(error)
                return
            if found is not None or not seen:
                seen.append(found)

    thread = threading.Thread(target=poll, name="reader")
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()
    if errors:
        raise AssertionError("what a reader found under the final name cannot be read") from errors[
            0
        ]


def names_in(folder: Path) -> set[str]:
    """Return every file below ``folder``, by its path in it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def contents_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
