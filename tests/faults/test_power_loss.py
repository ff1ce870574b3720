"""A power failure at any moment: a final name holds a whole file, and no report lacks its image.

What a disk may have kept is played, not hoped for: all calls that go through the seam are written
down, and from every moment on every state is made that they allow. The content of a file is
certain once it has been synced after its last write; a name that was given or taken away is certain
once its folder has been synced; all else may or may not have reached the disk, in any order.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pytest

from live_restore.files import disk, publish
from live_restore.inference.restored import Restored
from live_restore.outputs.ome_tiff import OmeTiffOutput
from live_restore.outputs.output import ResultRequest
from live_restore.testing.results import finished_stack, publish_all
from tests.support.fakes import a_dataset, fake_restorer

Step = tuple[str, Path, Path]
PARTIAL = b"partial"


class Recorder(disk.Disk):
    """Does as it is told, and writes down every step."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def open(self, path: Path, mode: str) -> BinaryIO:
        """Open a file, of which every write is a step."""
        assert mode in ("wb", "wb+"), mode
        self.steps.append(("create", path, path))
        steps = self.steps

        class Raw(io.FileIO):
            def write(self, data: Any, /) -> int:
                steps.append(("write", path, path))
                return super().write(data)

        return cast("BinaryIO", io.BufferedRandom(Raw(path, "w+")))

    def sync(self, path: Path) -> None:
        """Sync; from here on its content counts as whole."""
        super().sync(path)
        self.steps.append(("sync", path, path))

    def replace(self, temporary: Path, final: Path) -> None:
        """Rename."""
        super().replace(temporary, final)
        self.steps.append(("rename", temporary, final))

    def give(self, temporary: Path, final: Path) -> None:
        """Rename to a name that is free."""
        super().give(temporary, final)
        self.steps.append(("rename", temporary, final))

    def sync_folder(self, folder: Path) -> None:
        """Sync a folder."""
        super().sync_folder(folder)
        self.steps.append(("sync folder", folder, folder))

    def remove(self, path: Path) -> None:
        """Remove."""
        super().remove(path)
        self.steps.append(("remove", path, path))


def after_power_loss(steps: list[Step], before: dict[Path, bytes]) -> Iterator[dict[Path, bytes]]:
    """Yield every state that the disk may be in after these steps: names, and what they hold.

    ``before`` is what certainly was there. Content is ``PARTIAL`` where it was not synced.
    """
    whole: dict[Path, bytes] = {}
    certain = dict(before)
    pending: list[Step] = []
    for step in steps:
        kind, path, final = step
        if kind in ("create", "write"):
            whole[path] = PARTIAL
        if kind == "sync":
            whole[path] = b"whole"
        if kind in ("create", "rename", "remove"):
            pending.append((kind, path, final))
        if kind == "rename":
            whole[final] = whole.get(path, PARTIAL)
        if kind == "sync folder":
            due = [p for p in pending if p[2].parent == path]
            certain = _named(certain, due, whole)
            pending = [p for p in pending if p not in due]
    for number in range(len(pending) + 1):
        for happened in itertools.combinations(pending, number):
            yield _named(certain, list(happened), whole)


def _named(
    names: dict[Path, bytes], steps: list[Step], whole: dict[Path, bytes]
) -> dict[Path, bytes]:
    names = dict(names)
    for kind, path, final in steps:
        if kind == "create":
            names[path] = whole[path]
        elif kind == "rename":
            names.pop(path, None)
            names[final] = whole[final]
        else:
            names.pop(path, None)
    return names


def publish_one(folder: Path, recorder: Recorder, *, again: bool = False) -> tuple[Path, Path]:
    """Publish a small result; return the final names of image and report."""
    raw = np.random.default_rng(int(again)).integers(1, 99, (3, 5, 6)).astype(np.uint16)
    source = a_dataset(folder / "a.tif")
    restored: Restored = fake_restorer().restore(raw)
    stack = finished_stack(raw, restored, fake_restorer().model)
    template = "{folder}/restored/{name}.ome.tif"
    request = ResultRequest(source, template, "fake", "r" * 64, "s")
    result_path = OmeTiffOutput().choose(request)
    disk.current = recorder
    publish_all(OmeTiffOutput(), request, result_path, [stack])
    return result_path.image, result_path.report


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    made, real = Recorder(), disk.current
    yield made
    disk.current = real


@pytest.mark.parametrize("again", [False, True], ids=["first", "in the place of another"])
def test_whatever_reached_the_disk(tmp_path: Path, recorder: Recorder, again: bool) -> None:
    """Broken builds seen to fail: no ``sync`` before ``replace``; no ``sync_folder`` between image
    and report; an old report that is removed, and not for good."""
    before: dict[Path, bytes] = {}
    if again:
        image, report = publish_one(tmp_path, Recorder())
        before = {image: b"old", report: b"old"}
    image, report = publish_one(tmp_path, recorder, again=again)
    states = 0
    for number in range(len(recorder.steps) + 1):
        for names in after_power_loss(recorder.steps[:number], before):
            states += 1
            assert names.get(image) != PARTIAL, recorder.steps[:number]
            assert names.get(report) != PARTIAL, recorder.steps[:number]
            if report in names:  # the report is the last word, and about this very image
                assert names.get(image) == names[report], recorder.steps[:number]
    assert states > len(recorder.steps)
    (last,) = set(map(repr, after_power_loss(recorder.steps, before)))
    assert last == repr({image: b"whole", report: b"whole"}), "published is safe"


def test_folders_are_safe_before_what_is_in_them(tmp_path: Path, recorder: Recorder) -> None:
    """Broken build seen to fail: ``make_folder`` that only makes the folder."""
    disk.current = recorder
    folder = tmp_path / "a" / "b" / "c"
    publish.publish_text(folder / "x.json", "{}")
    synced = [path for kind, path, _ in recorder.steps if kind == "sync folder"]
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b", folder]
    kinds = [kind for kind, _, _ in recorder.steps]
    assert kinds[:3] == ["sync folder"] * 3
    assert kinds[3:] == ["create", "write", "sync", "rename", "sync folder"]
