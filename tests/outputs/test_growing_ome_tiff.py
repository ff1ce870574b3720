"""The growing OME-TIFF: whoever reads it, at any moment and after any end, finds whole stacks."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pytest
import tifffile
from ome_types import from_xml

from live_restore.errors import DiskFullError, OutputError, StackChangedError
from live_restore.files import disk
from live_restore.inference.restored import Restored
from live_restore.outputs.growing_tiff import Contents, contents_of
from live_restore.outputs.ome_tiff import OmeTiffOutput, read_token
from live_restore.outputs.output import Growth, Published, ResultRequest, Verify
from live_restore.stack import StackIndex, VoxelSize
from live_restore.testing.bad_disks import FullDisk, polling
from live_restore.testing.results import finished_stack
from tests.support.fakes import a_dataset, fake_restorer

TIMES, SHAPE = 5, (3, 6, 8)
TEMPLATE = "{folder}/restored/{name}.ome.tif"


def movie(channels: int = 1, positions: int = 1) -> np.ndarray:
    shape = (positions, TIMES, channels, *SHAPE)
    return np.random.default_rng(5).integers(50, 4000, shape).astype(np.uint16)


def request_in(
    folder: Path, *, goes_on: bool, finished: bool = False, **facts: Any
) -> ResultRequest:
    stacks = a_dataset(
        folder / "run.tif", times=TIMES, shape_zyx=SHAPE, voxel=VoxelSize(0.5, 0.1, 0.2),
        **{"axes": "TZYX", **facts},
    )  # fmt: skip
    return ResultRequest(stacks, TEMPLATE, "fast", "f" * 64, "s", growth=Growth(goes_on, finished))


def add(
    folder: Path,
    indices: list[StackIndex],
    *,
    goes_on: bool,
    finished: bool = False,
    verify: Verify = tuple,
    image: np.ndarray | None = None,
    **facts: Any,
) -> Published:
    request = request_in(folder, goes_on=goes_on, finished=finished, **facts)
    output = OmeTiffOutput()
    path = output.choose(request)
    raw = movie(request.file_stacks.channels, request.file_stacks.positions)
    image = raw if image is None else image
    restorer = fake_restorer(lambda tile: tile)
    with output.begin(request, path, verify) as publication:
        for index in indices:
            done: Restored = restorer.restore(image[index])
            done = replace(done, volume=image[index])
            publication.take(finished_stack(image[index], done, restorer.model, index=index))
        return publication.close()


def at(time: int) -> StackIndex:
    return StackIndex(0, time, 0)


def shown(path: Path) -> np.ndarray:
    """Return all that a reader of OME-TIFF is shown, (T, Z, Y, X)."""
    with tifffile.TiffFile(path) as tif:
        return tif.series[0].asarray().reshape(-1, *SHAPE)


def image_in(folder: Path) -> Path:
    return folder / "restored" / "run.ome.tif"


def test_stacks_are_added_one_by_one(tmp_path: Path) -> None:
    for time in range(TIMES):
        published = add(tmp_path, [at(time)], goes_on=time > 0, finished=time == TIMES - 1)
        assert np.array_equal(shown(published.image), movie()[0, : time + 1, 0])
        with tifffile.TiffFile(published.image) as tif:
            assert len(tif.pages) == (time + 1) * SHAPE[0]
            ome = from_xml(tif.ome_metadata or "")
        assert ome.images[0].pixels.size_t == time + 1
        assert ome.images[0].pixels.physical_size_z == 0.5
        report = json.loads(published.report.read_text("utf-8"))
        assert [line["time"] for line in report["stacks"]] == list(range(time + 1))
        assert report["finished"] is (time == TIMES - 1)
        assert report["seconds"]["network"] >= 0
    assert read_token(image_in(tmp_path)) is not None


def test_a_time_point_that_is_not_there_keeps_its_place(tmp_path: Path) -> None:
    published = add(tmp_path, [at(0), at(3)], goes_on=False)
    found = shown(published.image)
    assert len(found) == 4
    assert np.array_equal(found[[0, 3]], movie()[0, [0, 3], 0])
    assert not found[1:3].any()
    with tifffile.TiffFile(published.image) as tif:
        assert len(tif.pages) == 2 * SHAPE[0], "nothing is stored for it"


@pytest.mark.parametrize("axes", ["TCZYX", "TZCYX", "CTZYX"])
def test_channels_and_positions_have_their_places(tmp_path: Path, axes: str) -> None:
    facts = {"axes": axes, "channels": 2, "positions": 2, "channel_names": ("a", "b")}
    order = [StackIndex(p, t, c) for t in range(2) for p in range(2) for c in range(2)]
    for number, index in enumerate(order):
        add(tmp_path, [index], goes_on=number > 0, **facts)
    with tifffile.TiffFile(image_in(tmp_path)) as tif:
        assert len(tif.series) == 2
        for position, series in enumerate(tif.series):
            assert series.axes == axes
            moved = np.moveaxis(
                movie(2, 2)[position, :2], [0, 1, 2], [axes.index(a) for a in "TCZ"]
            )
            assert np.array_equal(series.asarray(), moved)
        assert from_xml(tif.ome_metadata or "").images[1].pixels.channels[1].name == "b"


def test_a_stack_that_has_changed_takes_the_place_of_the_earlier(tmp_path: Path) -> None:
    add(tmp_path, [at(0), at(1)], goes_on=False)
    other = movie() + 7
    add(tmp_path, [at(0)], goes_on=True, image=other)
    found = shown(image_in(tmp_path))
    assert np.array_equal(found[0], other[0, 0, 0])
    assert np.array_equal(found[1], movie()[0, 1, 0])
    report = json.loads((tmp_path / "restored" / "run.json").read_text("utf-8"))
    assert [line["time"] for line in report["stacks"]] == [0, 1]


def test_what_was_abandoned_or_refused_leaves_nothing(tmp_path: Path) -> None:
    add(tmp_path, [at(0)], goes_on=False)
    before = image_in(tmp_path).read_bytes()

    def changed() -> tuple[str, ...]:
        raise StackChangedError("changed", tmp_path / "run.tif")

    with pytest.raises(StackChangedError):
        add(tmp_path, [at(1)], goes_on=True, verify=changed)
    assert image_in(tmp_path).read_bytes() == before
    request = request_in(tmp_path, goes_on=True)
    output = OmeTiffOutput()
    with output.begin(request, output.choose(request)) as publication:
        publication.take(finished_stack(movie()[at(1)], index=at(1), reason="x"))
    assert image_in(tmp_path).read_bytes() == before


def test_it_says_what_it_holds_whatever_became_of_it(tmp_path: Path) -> None:
    add(tmp_path, [at(0), at(1)], goes_on=False)
    image = image_in(tmp_path)
    contents = contents_of(image)
    assert contents is not None
    assert set(contents.stacks) == {at(0), at(1)}
    whole = image.read_bytes()
    for old, new in (
        (b'"pages":6', b'"pages":1'),
        (b'"next_at":', b'"next_at":9'),
        (b"[0,1,", b"[0,{,"),
    ):
        assert old in whole
        image.write_bytes(whole.replace(old, new))
        assert contents_of(image) is None, old
    image.write_bytes(whole[:100])
    assert contents_of(image) is None
    assert contents_of(tmp_path / "absent") is None


class Recorder(disk.Disk):
    """Writes down what is done to a file that is added to."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int, bytes]] = []

    def open(self, path: Path, mode: str) -> BinaryIO:
        if mode != "rb+":
            return super().open(path, mode)
        steps = self.steps

        class Raw(io.FileIO):
            def write(self, data: Any, /) -> int:
                steps.append(("write", self.tell(), bytes(data)))
                return super().write(data)

        return cast("BinaryIO", io.BufferedRandom(Raw(path, "r+")))

    def sync(self, path: Path) -> None:
        super().sync(path)
        self.steps.append(("sync", 0, b""))


def played(before: bytes, steps: list[tuple[str, int, bytes]]) -> bytes:
    content = bytearray(before)
    for kind, where, data in steps:
        if kind == "write":
            content.extend(bytes(max(0, where + len(data) - len(content))))
            content[where : where + len(data)] = data
    return bytes(content)


def after_power_loss(before: bytes, steps: list[tuple[str, int, bytes]]) -> Iterator[bytes]:
    """Yield what the disk may hold: all that was synced, and any of the rest.

    Writes to one sector reach the disk in their order.
    """
    synced = max((n for n, step in enumerate(steps) if step[0] == "sync"), default=-1)
    certain, rest = steps[: synced + 1], [s for s in steps[synced + 1 :] if s[0] == "write"]
    sectors: dict[int, list[tuple[str, int, bytes]]] = {}
    for step in rest:
        sectors.setdefault(step[1] // 512, []).append(step)
    choices = [range(len(each) + 1) for each in sectors.values()]
    for chosen in itertools.islice(itertools.product(*choices), 64):
        kept = [s for n, each in zip(chosen, sectors.values(), strict=True) for s in each[:n]]
        yield played(before, [*certain, *kept])


def test_a_kill_or_a_power_failure_at_any_write_leaves_whole_stacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tmp_path, [at(0)], goes_on=False)
    image = image_in(tmp_path)
    moments = 0
    for time in range(1, 3):
        before = image.read_bytes()
        recorder = Recorder()
        with monkeypatch.context() as patch:
            patch.setattr(disk, "current", recorder)
            add(tmp_path, [at(time)], goes_on=True)
        after, torn = image.read_bytes(), tmp_path / "torn.ome.tif"
        kinds = [kind for kind, _, _ in recorder.steps]
        assert kinds.count("sync") == 4, (
            "what is linked is synced before it is linked to, the report last"
        )
        assert kinds[-1] == "sync"
        for end in range(len(recorder.steps) + 1):
            for content in after_power_loss(before, recorder.steps[:end]):
                torn.write_bytes(content)
                found = shown(torn)
                assert len(found) in (time, time + 1)
                assert np.array_equal(found, movie()[0, : len(found), 0])
                held = contents_of(torn)
                assert held is not None
                assert len(held.stacks) == len(found)
                moments += 1
        image.write_bytes(after)
    assert moments > 20


def test_a_killed_addition_is_made_good_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tmp_path, [at(0)], goes_on=False)
    image, report = image_in(tmp_path), tmp_path / "restored" / "run.json"
    before, earlier = image.read_bytes(), report.read_bytes()
    recorder = Recorder()
    with monkeypatch.context() as patch:
        patch.setattr(disk, "current", recorder)
        add(tmp_path, [at(1)], goes_on=True)
    for end in range(len(recorder.steps) + 1):
        image.write_bytes(played(before, recorder.steps[:end]))
        report.write_bytes(earlier)
        add(tmp_path, [at(1), at(2)], goes_on=True)
        assert np.array_equal(shown(image), movie()[0, :3, 0])


def test_a_disk_that_fills_up_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tmp_path, [at(0)], goes_on=False)
    for calls in itertools.count():
        full = FullDisk(calls)
        with monkeypatch.context() as patch:
            patch.setattr(disk, "current", full)
            if calls > 20:
                raise AssertionError("it never ends")
            try:
                add(tmp_path, [at(1)], goes_on=True)
            except DiskFullError:
                found = shown(image_in(tmp_path))
                assert np.array_equal(found, movie()[0, : len(found), 0])
                continue
        assert not full.refused
        break
    assert calls > 3
    assert np.array_equal(shown(image_in(tmp_path)), movie()[0, :2, 0])


class Rotten(disk.Disk):
    """Changes a byte of what was added last before it is read back."""

    def sync(self, path: Path) -> None:
        with path.open("rb+") as file:
            file.seek(-3000, 2)
            byte = file.read(1)
            file.seek(-3000, 2)
            file.write(bytes([byte[0] ^ 1]))
        super().sync(path)


def test_what_does_not_read_back_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tmp_path, [at(0)], goes_on=False)
    before = image_in(tmp_path).read_bytes()
    monkeypatch.setattr(disk, "current", Rotten())
    with pytest.raises(OutputError, match="does not read back"):
        add(tmp_path, [at(1)], goes_on=True)
    assert image_in(tmp_path).read_bytes() == before


def test_a_reader_sees_whole_stacks_at_any_moment(tmp_path: Path) -> None:
    def look() -> np.ndarray | None:
        if not image_in(tmp_path).exists():
            return None
        found = shown(image_in(tmp_path))
        assert np.array_equal(found, movie()[0, : len(found), 0])
        return np.asarray(len(found)).reshape(1, 1, 1)

    with polling(look) as seen:
        for time in range(TIMES):
            add(tmp_path, [at(time)], goes_on=time > 0)
    counts = [int(each[0, 0, 0]) for each in seen if each is not None]
    assert counts == sorted(counts)


def test_nothing_held_is_nothing_to_go_on_from() -> None:
    assert json.loads(Contents().to_json()) == {"pages": 0, "next_at": 0, "stacks": []}
