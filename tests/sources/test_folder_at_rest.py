"""When a file of a watched folder counts as finished: quiet, growth and early stops."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import tifffile

from live_restore.errors import StackBusyError
from live_restore.formats.file_format import Arriving, Complete
from live_restore.formats.tiff.tiff_format import TiffFormat
from live_restore.journal.states import State
from tests.support.keys import key_at
from tests.support.watched import Scene, Slow, stack

W, A = State.WAITING, State.ARRIVING
INCOMPLETE = State.INCOMPLETE


def test_nothing_is_decided_before_it_has_settled(scene: Scene) -> None:
    stack(scene.root / "a.tif")
    scene.poll()
    scene.poll(0.2)
    assert scene.states() == {}
    assert scene.source.undecided() == 1
    scene.poll(0.1)
    assert scene.states() == {"a.tif": W}


def test_a_growing_file_is_waited_for(scene: Scene) -> None:
    path = scene.root / "a.tif"
    whole = stack(path, 6).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    scene.poll()
    for part in range(3, 6):
        scene.poll(0.5, times=2)
        assert scene.states() == {"a.tif": A}
        path.write_bytes(whole[: len(whole) * part // 6])
    scene.poll(0.1)
    path.write_bytes(whole)
    scene.poll(0.1)
    scene.poll(0.3)
    assert scene.states() == {"a.tif": W}


def test_what_is_replaced_while_it_is_looked_into_is_looked_at_anew(scene: Scene) -> None:
    path = stack(scene.root / "a.tif")

    class Late(TiffFormat):
        def inspect(self, path: Path) -> Arriving | Complete | None:
            if not looks:
                stack(path, 5)
            looks.append(path.name)
            return super().inspect(path)

    looks: list[str] = []
    scene.format = Late()
    scene.restart()
    scene.poll()
    scene.poll(0.3)
    assert looks == ["a.tif"]
    assert W not in scene.states().values()
    scene.settle()
    assert scene.states() == {"a.tif": W}
    assert scene.entry("a.tif").fingerprint.size == path.stat().st_size


def test_an_undeclared_file_needs_a_longer_quiet(scene: Scene) -> None:
    stack(scene.root / "a.tif", declared=False)
    scene.poll()
    scene.poll(1.0)
    assert scene.states() == {"a.tif": A}
    assert scene.source.undecided() == 1
    scene.poll(1.1)
    assert scene.states() == {"a.tif": W}


def test_quiet_is_time_between_looks_at_that_file(scene: Scene) -> None:
    """While a large neighbour is looked into, a growing file must not pass as quiet."""
    growing = scene.root / "z.tif"

    def meanwhile() -> None:
        scene.now += 10
        stack(growing, 4, declared=False)

    scene.format = Slow(meanwhile)
    scene.restart()
    stack(scene.root / "large.tif")
    scene.poll()
    stack(growing, 3, declared=False)
    os.utime(growing, (1, 1))
    scene.poll(0.5)
    scene.poll(0.1)
    scene.poll(0.1)
    assert scene.states().get("z.tif") in (None, A)
    assert scene.states()["large.tif"] is W


def test_a_slow_scan_does_not_make_a_file_quiet(scene: Scene) -> None:
    """What was read from the folder before a large file was looked into is old by then."""
    growing = scene.root / "z.tif"

    def meanwhile() -> None:
        scene.now += 10
        stack(growing, 4, declared=False)

    scene.format = Slow(meanwhile)
    scene.restart()
    scene.poll()
    scene.now += 0.5
    scene.source.hint(stack(growing, declared=False))
    scene.poll()
    scene.poll(0.5)
    assert scene.states() == {"z.tif": A}
    large = stack(scene.root / "large.tif")
    os.utime(large, (1, 1))
    scene.source.hint(large)
    scene.poll(0.7)
    scene.poll(0.3)  # now the scan is due, and the large file has settled
    assert scene.states()["large.tif"] is W
    assert scene.states()["z.tif"] is A


def test_stopped_early_it_becomes_incomplete_and_is_taken_up_again(scene: Scene) -> None:
    path = scene.root / "a.tif"
    whole = stack(path).read_bytes()
    path.write_bytes(whole[:-100])
    scene.poll()
    scene.poll(1)
    assert scene.states() == {"a.tif": A}
    assert scene.source.undecided() == 0
    scene.poll(60)
    assert scene.states() == {"a.tif": INCOMPLETE}
    assert scene.unsettled() == 0
    assert "unchanged for 60 s" in scene.entry("a.tif").reason
    scene.restart()
    scene.poll()
    assert scene.states() == {"a.tif": INCOMPLETE}
    path.write_bytes(whole)
    scene.settle()
    assert scene.states() == {"a.tif": W}


def test_advice_about_blank_planes_can_be_followed(scene: Scene) -> None:
    image = np.ones((3, 8, 8), np.uint16)
    image[1] = 0
    path = scene.root / "a.tif"
    tifffile.imwrite(path, image, photometric="minisblack", metadata={"axes": "ZYX"})
    scene.poll()
    scene.poll(1)
    assert scene.source.undecided() == 0
    scene.poll(60)
    assert scene.states() == {"a.tif": INCOMPLETE}
    scene.restart(files={"blank_planes": "restore"})
    scene.poll()
    assert scene.states() == {"a.tif": W}


class Busy(TiffFormat):
    """Another program holds every file."""

    looks = 0
    held = True

    def inspect(self, path: Path) -> Arriving | Complete | None:
        self.looks += 1
        if self.held:
            raise StackBusyError("is in use by another program", path, "close it there")
        return super().inspect(path)


def test_a_busy_file_is_waited_for_without_bothering_it(scene: Scene) -> None:
    busy = Busy()
    scene.format = busy
    scene.restart()
    stack(scene.root / "a.tif")
    scene.poll(0.1, times=100)
    assert 3 <= busy.looks <= 8
    assert scene.states() == {"a.tif": A}
    assert "in use" in scene.entry("a.tif").reason
    assert scene.source.undecided() == 0  # else watch --once would wait for ever
    busy.held = False
    scene.settle()
    assert scene.states() == {"a.tif": W}


def append_plane(path: Path) -> None:
    tifffile.imwrite(path, np.ones((8, 8), np.uint16), append=True, metadata=None)


def test_a_file_that_grows_with_long_pauses_is_named_early_once_at_most(scene: Scene) -> None:
    path = scene.root / "a.tif"
    named = set()
    for _ in range(8):
        append_plane(path)
        for _ in range(32):
            scene.poll(0.1)
            if scene.states().get("a.tif") is W:
                named.add(scene.entry("a.tif").fingerprint)
    scene.poll(0.5, times=24)
    assert scene.states() == {"a.tif": W}
    named.add(scene.entry("a.tif").fingerprint)
    assert len(named) <= 2, "restored once per plane"


def test_what_it_was_restored_too_early_for_is_remembered_when_it_is_reconsidered(
    scene: Scene,
) -> None:
    path = scene.root / "a.tif"
    for _ in range(3):
        append_plane(path)
    scene.settle()
    append_plane(path)
    entry = scene.journal.lease(30)
    assert entry is not None
    scene.journal.lose(entry, "changed")
    scene.source.reconsider(key_at("a.tif"))
    scene.poll()
    scene.poll(3)
    assert scene.states() != {"a.tif": W}
    scene.poll(20)
    assert scene.states() == {"a.tif": W}


def test_a_file_written_anew_is_not_taken_for_one_that_grows(scene: Scene) -> None:
    path = stack(scene.root / "a.tif", 5, declared=False)
    scene.settle()
    scene.now += 30
    stack(path, 4, declared=False)
    scene.settle()
    scene.now += 300
    stack(path, 9, declared=False)
    scene.poll(0.1)
    scene.now += 61  # more than stall_s: nobody waits that long between two planes
    stack(path, 10, declared=False)
    scene.settle()
    assert scene.states() == {"a.tif": W}
