"""Whoever writes the raw files renames, replaces and deletes them as if nobody read them."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from live_restore.files.raw_data import opened, read_at
from tests.page.runs import spots, write_file
from tests.support.processes import run_command, status, stop, wait_for, watching
from tests.support.systems import WINE

_SHARED = pytest.mark.skipif(sys.platform != "win32", reason="elsewhere nothing else is known")
_LONG_ELSEWHERE = [] if sys.platform == "win32" else [pytest.mark.slow]
_READ_S = 2.0
_NO_REPLACEMENT = "Wine 8 replaces no file that is open, as Windows before 10 (1809)"


@_SHARED
def test_while_a_file_is_read_it_can_be_renamed_and_deleted(tmp_path: Path) -> None:
    path = tmp_path / "cell.tif"
    path.write_bytes(b"first" * 100)
    with opened(path) as (stream, size):
        moved = path.rename(tmp_path / "moved.tif")
        assert read_at(stream, 0, size) == b"first" * 100
        moved.unlink()
    assert list(tmp_path.iterdir()) == []


@_SHARED
@pytest.mark.skipif(WINE, reason=_NO_REPLACEMENT)
def test_while_a_file_is_read_it_can_be_replaced(tmp_path: Path) -> None:
    path, newer = tmp_path / "cell.tif", tmp_path / "newer.tif"
    path.write_bytes(b"first" * 100)
    newer.write_bytes(b"second" * 100)
    with opened(path) as (stream, size):
        newer.replace(path)
        assert read_at(stream, 0, size) == b"first" * 100


def replace(part: Path, path: Path) -> None:
    """Give a file the name of another one, which is there.

    Of what is deleted while somebody reads it, Wine gives the name away once that has been read.
    """
    if not WINE:
        part.replace(path)
        return
    path.unlink()
    until = time.monotonic() + _READ_S
    while True:
        try:
            part.replace(path)
            return
        except PermissionError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


@pytest.mark.parametrize("rounds", [pytest.param(40, marks=_LONG_ELSEWHERE)])
def test_a_daemon_at_work_is_in_nobodys_way(tmp_path: Path, rounds: int) -> None:
    """Files come, are written again, get another name and go, while they are looked at and read.

    To read a file takes milliseconds. Of 40 rounds, 6 met the moment.
    """
    state, watched = tmp_path / "state", tmp_path / "data"
    watched.mkdir()
    source = tmp_path / "source.ome.tif"
    write_file(source, spots(1))
    content = source.read_bytes()
    refused: list[OSError] = []
    flags = ("--plain", "--device", "cpu")
    with watching(state, watched, *flags) as daemon:
        write_file(watched / "stays.ome.tif", spots(2))
        wait_for((watched / "restored" / "stays.json").exists, "the first result")
        for number in range(rounds):
            path = watched / f"{number}.ome.tif"
            part = watched / f"{number}.part"
            renamed = watched / f"renamed_{number}.ome.tif"
            for act in (
                lambda path=path: path.write_bytes(content),
                lambda part=part: part.write_bytes(content),
                lambda part=part, path=path: replace(part, path),
                lambda path=path, renamed=renamed: path.rename(renamed),
                lambda renamed=renamed: renamed.unlink(),
            ):
                try:
                    act()
                except OSError as error:
                    refused.append(error)
                time.sleep(0.05 * (number % 7))
        last = watched / "last.ome.tif"
        last.write_bytes(content)
        wait_for((watched / "restored" / "last.json").exists, "the last result")
        code, log = stop(daemon)
    assert [str(error) for error in refused] == []
    assert code == 0, log
    done = run_command(state, "watch", watched, "--once", *flags[1:])
    assert done.returncode == 0, done.stderr
    files = {each["source"]: each for each in status(state, watched)["files"]}
    assert files["stays.ome.tif"]["state"] == files["last.ome.tif"]["state"] == "done"
    # What was whole, and was replaced or taken away before its turn, cannot be restored, and is
    # told as lost. Nothing else is told as failed, in Wine neither.
    taken = {f"{name}{number}.ome.tif" for number in range(rounds) for name in ("", "renamed_")}
    failed = {name: each["reason"] for name, each in files.items() if each["state"] == "failed"}
    assert set(failed) <= taken
    assert all(why.startswith(("the file vanished;", "changed ")) for why in failed.values()), (
        failed
    )
