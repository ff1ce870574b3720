"""Opening and scanning raw data: what the system refuses, links, and zeros of every kind."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from live_restore.errors import StackBusyError, StackChangedError, StackError, StackUnreadableError
from live_restore.files import reading
from live_restore.files.raw_data import is_blank, names_in, opened, read_at
from tests.support.systems import WINDOWS, needs_links, posix

MIB = 2**20


@pytest.mark.parametrize("at", [0, 1, 4095, 4096, 5000, 3 * MIB - 1])
def test_one_byte_anywhere_is_not_blank(tmp_path: Path, at: int) -> None:
    path = tmp_path / "a"
    data = bytearray(3 * MIB)
    path.write_bytes(data)
    with opened(path) as (stream, size):
        assert size == 3 * MIB
        assert is_blank(stream, 0, size)
    data[at] = 1
    path.write_bytes(data)
    with opened(path, buffered=True) as (stream, size):
        assert not is_blank(stream, 0, size)
        assert is_blank(stream, 0, at)
        assert is_blank(stream, at + 1, size - at - 1)


def test_fewer_bytes_are_read_where_the_file_ends(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(10))
    with opened(path) as (stream, _):
        assert read_at(stream, 8, 5) == bytes(2)


@posix
def test_terabytes_of_nothing_take_no_time(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb") as stream:
        stream.truncate(2**40)
        if stream.fileno() and os.fstat(stream.fileno()).st_blocks > 100:
            pytest.skip("this file system stores holes")
    with opened(path) as (stream, size):
        assert is_blank(stream, 0, size)


@needs_links
def test_links_are_followed_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "loop").symlink_to("loop")
    with opened(tmp_path / "link", follow_link=True) as (stream, _):
        assert stream.read() == b"1"
    with pytest.raises(StackUnreadableError, match="not a regular file"), opened(tmp_path / "link"):
        pass
    loop = opened(tmp_path / "loop", follow_link=True)
    with pytest.raises(StackUnreadableError, match=r"cannot be opened .*; check its name"), loop:
        pass


@pytest.mark.parametrize("name", ["gone", "file/below"])
def test_what_is_not_there_vanished(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackChangedError, match="vanished"), opened(tmp_path / name):
        pass


def test_whoever_writes_a_file_may_do_as_before_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cell.tif"
    path.write_bytes(b"first")
    with opened(path, buffered=True) as (stream, _):
        with path.open("ab") as writer:
            writer.write(b", more")
        path.rename(tmp_path / "renamed.tif")
        path.write_bytes(b"second")
        (tmp_path / "renamed.tif").unlink()
        assert stream.read() == b"first, more"
    assert path.read_bytes() == b"second"


@posix
def test_a_name_that_is_too_long_never_opens(tmp_path: Path) -> None:
    with (
        pytest.raises(StackUnreadableError, match="check its name"),
        opened(tmp_path / ("a" * 300)),
    ):
        pass


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "no"), "no permission to read it"),
        (OSError(errno.EIO, "Input/output error"), r"reading failed \(Input/output error\)"),
        (OSError(errno.ESTALE, "Stale file handle"), "reading failed"),
    ],
)
def test_what_may_pass_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, said: str
) -> None:
    path = tmp_path / "a"
    path.touch()

    def refuse(*_: object, **__: object) -> NoReturn:
        raise error

    # Windows checks rights when it opens a file: afterwards, refusing means a lock.
    late = "holds it locked" if WINDOWS and isinstance(error, PermissionError) else said
    with pytest.raises(StackBusyError, match=late), opened(path):
        raise error  # while it is being read
    monkeypatch.setattr(reading, "open_shared", refuse)
    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StackBusyError, match=said), opened(path):
        pass
    with pytest.raises(StackBusyError, match=said):
        names_in(tmp_path)


@pytest.mark.parametrize("number", [32, 33])
def test_a_file_that_another_program_holds_on_windows(tmp_path: Path, number: int) -> None:
    path = tmp_path / "a"
    path.touch()
    error = PermissionError(errno.EACCES, "in use")
    error.winerror = number  # type: ignore[attr-defined,unused-ignore]
    with pytest.raises(StackBusyError, match="another program holds it locked"), opened(path):
        raise error


def test_errors_of_the_block_that_are_ours_pass(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    with pytest.raises(StackError, match="mine"), opened(path):
        raise StackError("mine", path)
