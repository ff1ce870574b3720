"""The place of results, where it takes nothing: found out before the work, and left to rest."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import BinaryIO

import pytest

from live_restore.engine.daemon import Daemon
from live_restore.engine.disk_space import DiskSpace
from live_restore.engine.progress import Progress
from live_restore.errors import OutputError, UnwritableError
from live_restore.files import disk
from live_restore.files.publish import publish_text
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.settings.load import load_settings
from tests.support.fakes import fake_shelf, halve
from tests.support.mm_files import NdTiff
from tests.support.watched import stack


class ReadOnly(disk.Disk):
    """A disk on which no file can be made, while ``number`` says so."""

    def __init__(self, number: int) -> None:
        self.number, self.tried = number, 0

    def open(self, path: Path, mode: str) -> BinaryIO:
        """Refuse."""
        self.tried += 1
        if self.number:
            raise OSError(self.number, os.strerror(self.number))
        return super().open(path, mode)


@pytest.fixture(params=[errno.EROFS, errno.EACCES])
def read_only(request: pytest.FixtureRequest) -> Iterator[ReadOnly]:
    real, disk.current = disk.current, ReadOnly(request.param)
    yield disk.current
    disk.current = real


def test_it_rests_for_longer_and_longer_and_is_reported_once(
    tmp_path: Path, read_only: ReadOnly
) -> None:
    now = [0.0]
    progress = Progress()
    space = DiskSpace(progress, 0.0, clock=lambda: now[0])
    folder, other = tmp_path / "restored", tmp_path / "other" / "restored"
    other.parent.mkdir()
    for rest_s in (0.5, 1.0, 2.0):
        with pytest.raises(UnwritableError, match="cannot be written to"):
            space.require(folder)
        assert space.is_resting(folder)
        assert space.any_rests()
        assert not space.is_resting(other)
        now[0] += rest_s - 0.01
        assert space.is_resting(folder)
        now[0] += 0.02
        assert not space.is_resting(folder)
    assert len(progress.snapshot().warnings) == 1
    read_only.number = 0
    space.require(folder)
    tried = read_only.tried
    space.require(folder)
    assert read_only.tried == tried, "asked once while all goes well"
    assert list(tmp_path.glob(".*")) == []
    read_only.number = errno.EROFS
    space.doubt(folder)
    with pytest.raises(UnwritableError):
        space.require(folder)


def test_the_network_does_not_run_for_what_cannot_be_written(
    tmp_path: Path, read_only: ReadOnly
) -> None:
    root = tmp_path / "watched"
    for number in range(3):
        stack(root / f"{number}.tif")
    ran: list[int] = []
    model_set = fake_shelf(lambda tile: (ran.append(1), halve(tile))[1])
    ran.clear()
    with Journal(tmp_path / "j.sqlite", root, recipe="one") as journal:
        daemon = Daemon(
            root, load_settings(None, {"watch": {"settle_s": 0.05}}), model_set, journal
        )
        assert daemon.run(once=True) == 3
        assert ran == []
        assert journal.counts()[State.WAITING] == 3
        read_only.number = 0
        assert Daemon(root, load_settings(), model_set, journal).run(once=True) == 0
    assert len(ran) == 3


@pytest.mark.parametrize("kind", ["files", "acquisition"])
def test_a_file_in_the_place_of_a_results_folder_is_named_and_stops_no_others(
    tmp_path: Path, kind: str
) -> None:
    root = tmp_path / "watched"
    stack(root / "good" / "a.tif")
    if kind == "files":
        for number in range(8):
            stack(root / "bad" / f"{number}.tif", planes=3 + number)
        blocked, stacks = root / "bad" / "restored", 8
    else:
        run = NdTiff(root / "run_1", axes_in_metadata=True)
        for time, z in itertools.product(range(4), range(3)):
            run.plane(5 + z + time, time=time, z=z)
        run.finish()
        blocked, stacks = root / "run_1_restored", 4
    blocked.touch()
    settings = load_settings(None, {"watch": {"settle_s": 0.05, "quiet_s": 0.3}})
    with Journal(tmp_path / "j.sqlite", root, recipe="one") as journal:
        daemon = Daemon(root, settings, fake_shelf(), journal)
        began = monotonic()
        assert daemon.run(once=True) == stacks
        assert monotonic() - began < 5, "waited for the file to go away"
        assert (journal.counts()[State.DONE], journal.counts()[State.WAITING]) == (1, stacks)
        (line,) = [each for each in daemon.account(now=True) if f"{blocked} is a file" in each]
        assert line.startswith(f"{stacks} waiting")
        assert "move or rename that file" in line
        blocked.unlink()
        assert Daemon(root, settings, fake_shelf(), journal).run(once=True) == 0


def test_restoring_one_file_names_what_is_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "restored").touch()
    with pytest.raises(OutputError, match=r"restored is a file.*move or rename that file"):
        publish_text(tmp_path / "restored" / "a.json", "{}")
