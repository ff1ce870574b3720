"""Files that other programs hold, with sharing as Windows has it."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from live_restore.errors import StackBusyError
from live_restore.files.raw_data import opened, read_at
from tests.support.systems import WINE

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="only Windows has sharing modes")

if sys.platform == "win32":
    import ctypes
    import msvcrt
    from ctypes import wintypes

    @contextmanager
    def held_alone(path: Path) -> Iterator[None]:
        """Hold a file as a program does that shares it with nobody."""
        create = ctypes.WinDLL("kernel32").CreateFileW
        create.restype = wintypes.HANDLE
        handle = create(str(path), 0xC0000000, 0, None, 3, 0x80, None)
        descriptor = msvcrt.open_osfhandle(handle, os.O_RDWR)
        try:
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def locked(path: Path, count: int) -> Iterator[None]:
        """Lock the first bytes of a file."""
        with path.open("rb+") as file:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, count)
            yield


def test_a_file_that_nobody_else_may_open_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "cell.tif"
    path.write_bytes(bytes(100))
    with (
        held_alone(path),
        pytest.raises(StackBusyError, match="another program holds it locked; close it there"),
        opened(path),
    ):
        pass


@pytest.mark.skipif(WINE, reason="Wine lets everybody read what is locked")
def test_a_file_with_a_locked_part_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "cell.tif"
    path.write_bytes(bytes(100))
    with (
        locked(path, 50),
        pytest.raises(StackBusyError, match="another program holds it locked; close it there"),
        opened(path) as (stream, _),
    ):
        read_at(stream, 0, 10)


def test_what_the_system_says_is_kept(tmp_path: Path) -> None:
    from live_restore.files.windows import open_shared

    with pytest.raises(FileNotFoundError) as refused:
        open_shared(tmp_path / "gone")
    assert refused.value.errno == errno.ENOENT
    assert refused.value.winerror == 2
    assert refused.value.filename == str(tmp_path / "gone")
