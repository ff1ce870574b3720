"""Publication: whatever fails at whatever moment, a final name is whole, old or absent."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from live_restore.errors import OutputError
from live_restore.files import disk, publish
from live_restore.files.naming import TEMPORARY_SUFFIX
from live_restore.files.publish import publish_text, publishing, remove_leftovers
from tests.support.systems import posix


def refuse(number: int) -> Callable[..., object]:
    def refusing(*_: object, **__: object) -> object:
        raise OSError(number, os.strerror(number))

    return refusing


def is_folder(handle: int) -> bool:
    return stat.S_ISDIR(os.fstat(handle).st_mode)


def leftovers(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.name.endswith(TEMPORARY_SUFFIX)]


@pytest.fixture
def final(tmp_path: Path) -> Path:
    return tmp_path / "restored" / "ä b.ome.tif"


def write(final: Path, content: bytes = b"new") -> None:
    with publishing(final) as temporary:
        assert temporary.parent == final.parent
        assert temporary.name.startswith(".")
        temporary.write_bytes(content)


def test_it_appears_whole(final: Path) -> None:
    write(final)
    assert final.read_bytes() == b"new"
    assert leftovers(final.parent) == []


@pytest.mark.parametrize("there_before", [True, False])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("moment", ["write", "fsync", "check", "replace"])
def test_a_failure_at_any_moment(
    final: Path, monkeypatch: pytest.MonkeyPatch, moment: str, number: int, there_before: bool
) -> None:
    if there_before:
        write(final, b"old")

    def attempt() -> None:
        with publishing(final, refuse(number) if moment == "check" else None) as temporary:  # type: ignore[arg-type]
            temporary.write_bytes(b"half")
            if moment == "write":
                refuse(number)()
            if moment == "fsync":
                monkeypatch.setattr(os, "fsync", refuse(number))
            if moment == "replace":
                monkeypatch.setattr(Path, "replace", refuse(number))

    with pytest.raises(OutputError) as caught:
        attempt()
    monkeypatch.undo()
    assert os.strerror(number) in str(caught.value)
    assert caught.value.path == final
    assert ("free some space" in caught.value.remedy) == (number == errno.ENOSPC)
    assert ("writable" in caught.value.remedy) == (number in (errno.EACCES, errno.EROFS))
    assert final.exists() == there_before
    assert not there_before or final.read_bytes() == b"old"
    assert leftovers(final.parent) == []


def test_nothing_is_published_that_was_not_written(final: Path) -> None:
    with pytest.raises(OutputError, match="No such file"), publishing(final):
        pass
    assert not final.exists()


def test_other_errors_pass_and_leave_nothing(final: Path) -> None:
    def attempt() -> None:
        with publishing(final) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        attempt()
    assert list(final.parent.iterdir()) == []


def test_order_sync_then_check_then_replace_then_sync_the_folder(
    final: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    sync, replace = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        order.append("sync folder" if is_folder(handle) else "sync file")
        sync(handle)

    def rename(self: Path, target: Path) -> Path:
        order.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    final.parent.mkdir()
    with publishing(final, lambda _: order.append("check")) as temporary:
        temporary.write_bytes(b"x")
    assert order[:3] == ["sync file", "check", "replace"]
    assert order[3:] == (["sync folder"] if os.name == "posix" else [])


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_folder_that_cannot_be_synced_is_no_failure(
    final: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    sync = os.fsync

    def fsync(handle: int) -> None:
        if is_folder(handle):
            refuse(number)()
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write(final)
    assert final.read_bytes() == b"new"


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "restored").write_bytes(b"mine")
    with pytest.raises(OutputError):
        write(tmp_path / "restored" / "a.ome.tif")
    assert (tmp_path / "restored").read_bytes() == b"mine"


@posix
def test_names_as_long_as_names_can_be(tmp_path: Path) -> None:
    longest = tmp_path / ("x" * 247 + ".ome.tif")
    write(longest)
    assert longest.exists()
    write(tmp_path / ("ä" * 123 + ".ome.tif"))
    with pytest.raises(OutputError, match="shorten the raw file's name"):
        write(tmp_path / ("x" * 248 + ".ome.tif"))


@pytest.mark.skipif(os.name != "posix", reason="names are always text there")
def test_text_that_is_no_text(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff") + " µ"
    publish_text(tmp_path / "a.json", json.dumps({"name": odd}, ensure_ascii=False))
    content = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(content) == {"name": odd}
    assert "µ" in content


# What killed processes leave ------------------------------------------------------------------

_WRITER = """
import sys, time
from pathlib import Path
from live_restore.files.publish import publishing
with publishing(Path(sys.argv[1])) as temporary:
    with temporary.open("wb") as file:
        file.write(b"half"); file.flush()
        print("half", flush=True)
        sys.stdin.read()
"""


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(final: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(final)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
            (left,) = leftovers(final.parent)
            assert not final.exists()
            assert remove_leftovers(final.parent) == []
        finally:
            process.kill()
    assert left.exists()
    assert remove_leftovers(final.parent) == [left]
    assert list(final.parent.iterdir()) == []


def test_only_ones_own_kind_is_removed(tmp_path: Path) -> None:
    host = publish._host()
    own = tmp_path / f".a.{host}-{os.getpid()}-00{TEMPORARY_SUFFIX}"
    strangers = [
        tmp_path / name
        for name in (
            f".a.{host}-x-00{TEMPORARY_SUFFIX}",
            f".a.{host}-{10**30}-00{TEMPORARY_SUFFIX}",
            f".a.{host}-²-00{TEMPORARY_SUFFIX}",
            f"a.{host}-999999-00{TEMPORARY_SUFFIX}",
            ".a.tif",
            "a.tif",
        )
    ]
    for path in [own, *strangers]:
        path.touch()
    own_folder = tmp_path / f".b.{host}-{os.getpid()}-00{TEMPORARY_SUFFIX}"
    (own_folder / "within").mkdir(parents=True)
    assert sorted(remove_leftovers(tmp_path)) == [own, own_folder]
    assert all(path.exists() for path in strangers)
    assert remove_leftovers(tmp_path / "absent") == []


def test_what_another_computer_writes_stays_for_a_day(
    final: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a shared folder, or from another container, a process number says nothing."""
    with publishing(final) as temporary:
        temporary.write_bytes(b"half")
        of_no_host = temporary.with_name(f".a.{os.getpid()}-00{TEMPORARY_SUFFIX}")
        of_no_host.touch()
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(publish, "_host", lambda: "00000000")
            assert remove_leftovers(final.parent) == []
            yesterday = time.time() - 25 * 3600
            for path in (temporary, of_no_host):
                os.utime(path, (yesterday, yesterday))
            assert set(remove_leftovers(final.parent)) == {temporary, of_no_host}
        temporary.touch()


def test_on_windows_a_viewer_is_waited_for(final: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated: the first two renames fail, as they do while a viewer holds the old file."""
    replace, left = Path.replace, [2]

    def rename(self: Path, target: Path) -> Path:
        if left[0]:
            left[0] -= 1
            raise PermissionError(errno.EACCES, "in use")
        return replace(self, target)

    final.parent.mkdir()
    temporary = final.with_name("temporary")
    temporary.write_bytes(b"new")
    monkeypatch.setattr(Path, "replace", rename)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(disk, "_WINDOWS", True)
    disk.current.replace(temporary, final)
    assert final.read_bytes() == b"new"


def test_what_belongs_beside_a_file_makes_no_folder_where_a_share_was(tmp_path: Path) -> None:
    gone = tmp_path / "share" / "restored" / "a.json"
    with pytest.raises(OutputError):
        publish_text(gone, "{}", beside=True)
    assert list(tmp_path.iterdir()) == []
    publish_text(gone, "{}")
    publish_text(gone, "[]", beside=True)
    assert gone.read_text() == "[]"
