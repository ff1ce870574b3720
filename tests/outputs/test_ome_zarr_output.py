"""Growing OME-Zarr images, as zarr-python sees them."""

from __future__ import annotations

import errno
import json
import os
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live_restore.errors import OutputError, StackRefusedError
from live_restore.files import disk
from live_restore.files.naming import template_in
from live_restore.formats.acquisition_format import AcquisitionInfo
from live_restore.outputs import ome_zarr
from live_restore.outputs.ome_zarr import OmeZarrOutput
from live_restore.outputs.output import (
    AcquisitionStack,
    FinishedStack,
    Published,
    ResultPath,
    ResultRequest,
)
from live_restore.outputs.provenance import is_current, restored_pixels
from live_restore.stack import FileStacks, StackIndex, Volume, VoxelSize
from live_restore.testing.results import finished_stack, publish_all
from tests.support.fakes import a_dataset, fake_model, fake_restorer
from tests.support.zarrs import validate

INFO = AcquisitionInfo(
    "run_1",
    "mm-stack",
    channel_names=("DAPI", "FITC"),
    position_names=("A1", "B1"),
    voxel=VoxelSize(0.5, 0.1, 0.2),
    time_increment_s=3.0,
)
SHAPE = (3, 5, 6)

pytestmark = pytest.mark.usefixtures("zarr")


def volume(seed: int, shape: tuple[int, int, int] = SHAPE) -> Volume:
    return np.random.default_rng(seed).integers(100, 900, shape).astype(np.uint16)


class Run:
    """Restores stacks of one data set, one by one."""

    def __init__(self, root: Path, recipe: str = "r" * 64) -> None:
        self.folder = root / "run_1"
        self.results = root / "run_1_restored"
        self.recipe = recipe

    def dataset(self, stack_index: StackIndex, shape: tuple[int, int, int] = SHAPE) -> FileStacks:
        return replace(
            a_dataset(self.folder / stack_index.label, shape_zyx=shape),
            voxel=INFO.voxel,
            time_increment_s=INFO.time_increment_s,
            channel_names=(INFO.channel_name(stack_index.channel),),
        )

    def request(
        self,
        stack_index: StackIndex,
        shape: tuple[int, int, int] = SHAPE,
        info: AcquisitionInfo = INFO,
    ) -> ResultRequest:
        return ResultRequest(
            self.dataset(stack_index, shape),
            template_in(self.results),
            "fake",
            self.recipe,
            "s",
            acquisition_stack=AcquisitionStack(info, stack_index),
        )

    def choose(self, stack_index: StackIndex, shape: tuple[int, int, int] = SHAPE) -> ResultPath:
        return OmeZarrOutput().choose(self.request(stack_index, shape))

    def publish(
        self, stack_index: StackIndex, raw: Volume, info: AcquisitionInfo = INFO, **card: Any
    ) -> Published:
        def stacks() -> Iterator[FinishedStack]:
            restored = fake_restorer().restore(raw)
            yield finished_stack(raw, restored, fake_model(**card), voxel=INFO.voxel)

        request = self.request(stack_index, info=info)
        return publish_all(OmeZarrOutput(), request, self.choose(stack_index), stacks())

    def mark(self, name: str = "p000.ome.zarr") -> dict[str, Any]:
        group = json.loads((self.results / name / "zarr.json").read_text())
        return dict(group["attributes"]["live-restore"])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_an_image_grows_stack_by_stack(run: Run, zarr: Any) -> None:
    expected = {}
    for stack_index in (
        StackIndex(0, 2, 1),
        StackIndex(0, 0, 0),
        StackIndex(0, 1, 1),
        StackIndex(1, 0, 0),
    ):
        raw = volume(stack_index.time * 10 + stack_index.channel)
        published = run.publish(stack_index, raw)
        expected[stack_index] = fake_restorer().restore(raw).volume
        assert json.loads(published.report.read_text())["stacks"][0]["restored"] is True
    image = zarr.open_group(run.results / "p000.ome.zarr", mode="r")
    array = image["0"]
    assert (array.shape, array.dtype) == ((3, 2, *SHAPE), np.uint16)
    for stack_index in expected:
        if stack_index.position == 0:
            np.testing.assert_array_equal(
                array[stack_index.time, stack_index.channel], expected[stack_index]
            )
    assert run.mark()["restored"] == [[0, 0, 0], [1, 1, 2]]
    assert run.mark()["pending"] == [[0, 1, 2], [1, 0, 0]]
    assert not array[1, 0].any()
    ome = image.attrs["ome"]
    (scale,) = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert scale["scale"] == [3.0, 1.0, 0.5, 0.1, 0.2]
    assert ome["multiscales"][0]["name"] == "A1"
    assert [channel["label"] for channel in ome["omero"]["channels"]] == ["DAPI", "FITC"]
    assert (run.results / "p001.ome.zarr").is_dir()
    for each in run.results.glob("*.ome.zarr"):
        validate(each)


def test_what_is_doubtful_and_what_cannot_be_told_reaches_whoever_asks(run: Run) -> None:
    other = {"trained_voxel_um": {"z": (5.0, 6.0), "xy": (5.0, 6.0)}}
    published = run.publish(StackIndex(0, 0, 0), volume(1), **other)
    assert "voxels" in published.doubt
    assert published.notes == tuple(json.loads(published.report.read_text())["notes"])
    assert run.publish(StackIndex(0, 1, 0), volume(1)).doubt == ""


def test_channels_that_nobody_announced_find_room(run: Run, zarr: Any) -> None:
    unnamed = replace(INFO, channel_names=())
    run.publish(StackIndex(0, 0, 0), volume(1), unnamed)
    run.publish(StackIndex(0, 0, 3), volume(2), unnamed)
    image = zarr.open_group(run.results / "p000.ome.zarr", mode="r")
    assert image["0"].shape == (1, 4, *SHAPE)
    assert [c["label"] for c in image.attrs["ome"]["omero"]["channels"]] == ["0", "1", "2", "3"]


def test_a_published_stack_is_known(run: Run) -> None:
    stack_index, raw = StackIndex(0, 0, 0), volume(1)
    assert not is_current(run.choose(stack_index), run.dataset(stack_index))
    run.publish(stack_index, raw)
    assert is_current(run.choose(stack_index), run.dataset(stack_index))
    assert restored_pixels(run.choose(stack_index).report) == zlib.crc32(raw.tobytes())
    assert not is_current(run.choose(StackIndex(0, 1, 0)), run.dataset(StackIndex(0, 1, 0)))
    assert OmeZarrOutput().made(run.results / "p000.ome.zarr")


def test_an_image_of_another_recipe_is_left_alone(run: Run, tmp_path: Path) -> None:
    run.publish(StackIndex(0, 0, 0), volume(1))
    before = {p: p.read_bytes() for p in run.results.rglob("*") if p.is_file()}
    other = Run(tmp_path, recipe="o" * 64)
    published = other.publish(StackIndex(0, 0, 0), volume(1))
    assert published.image.name.startswith("p000.fake-")
    assert {p: p.read_bytes() for p in before} == before


def test_a_folder_of_somebody_else_is_left_alone(run: Run) -> None:
    (run.results / "p000.ome.zarr").mkdir(parents=True)
    assert run.choose(StackIndex(0, 0, 0)).image.name.startswith("p000.fake-")
    run.choose(StackIndex(0, 0, 0)).image.mkdir()
    with pytest.raises(OutputError, match="did not write"):
        run.choose(StackIndex(0, 0, 0))
    assert not OmeZarrOutput().made(run.results / "p000.ome.zarr")


def test_a_stack_of_another_shape_is_refused_before_the_work(run: Run) -> None:
    run.publish(StackIndex(0, 0, 0), volume(1))
    with pytest.raises(StackRefusedError, match="ome-tiff"):
        run.choose(StackIndex(0, 1, 0), (2, 5, 6))


@pytest.mark.parametrize("refused", range(8))
def test_a_disk_that_fills_up_leaves_every_image_valid(
    run: Run, zarr: Any, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    run.publish(StackIndex(0, 0, 0), volume(1))
    before = zarr.open_group(run.results / "p000.ome.zarr", mode="r")["0"][0, 0]
    synced = disk.current.sync
    calls = 0

    def full(path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls > refused:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synced(path)

    monkeypatch.setattr(disk.current, "sync", full)
    errors = []
    for stack_index in (StackIndex(0, 1, 0), StackIndex(1, 0, 0)):
        try:
            run.publish(stack_index, volume(2))
        except OutputError as error:
            errors.append(error)
    assert errors
    assert all("free some space" in error.remedy for error in errors)
    monkeypatch.undo()
    for image in run.results.glob("*.ome.zarr"):
        validate(image)
        array = zarr.open_group(image, mode="r")["0"]
        for channel, first, last in run.mark(image.name)["restored"]:
            assert all(array[t, channel].any() for t in range(first, last + 1))
    np.testing.assert_array_equal(
        zarr.open_group(run.results / "p000.ome.zarr", mode="r")["0"][0, 0], before
    )
    assert not list(run.results.rglob(".*"))
    run.publish(StackIndex(0, 1, 0), volume(2))
    assert run.mark()["restored"] == [[0, 0, 1]]


def test_what_does_not_read_back_is_not_published(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.publish(StackIndex(0, 0, 0), volume(1))
    synced = disk.current.sync

    def rot(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        synced(path)

    monkeypatch.setattr(disk.current, "sync", rot)
    with pytest.raises(OutputError, match="does not read back"):
        run.publish(StackIndex(0, 1, 0), volume(2))
    assert not (run.results / "p000.ome.zarr/0/c/1").exists()


def test_planes_above_1024_get_smaller_levels_that_grow_along(run: Run, zarr: Any) -> None:
    shape = (2, 1100, 2060)
    for time_point in range(2):
        index = StackIndex(0, time_point, 0)
        raw = np.random.default_rng(time_point).integers(100, 4000, shape).astype(np.uint16)
        stack = finished_stack(raw, fake_restorer().restore(raw), fake_model(), voxel=INFO.voxel)
        request = run.request(index, shape)
        publish_all(OmeZarrOutput(), request, OmeZarrOutput().choose(request), iter([stack]))
    path = run.results / "p000.ome.zarr"
    image = zarr.open_group(path, mode="r")
    whole = image["0"][1, 0]
    assert np.array_equal(whole, fake_restorer().restore(raw).volume)
    assert sorted(image.array_keys()) == ["0", "1", "2"]
    half = whole.reshape(2, 550, 2, 1030, 2).mean(axis=(2, 4))
    assert image["1"].shape == (2, 2, 2, 550, 1030)
    assert np.abs(image["1"][1, 0] - half).max() <= 0.5
    assert image["2"].shape == (2, 2, 2, 275, 515)
    first, second, _ = image.attrs["ome"]["multiscales"][0]["datasets"]
    assert len(first["coordinateTransformations"]) == 1
    scale, translation = second["coordinateTransformations"]
    assert scale["scale"] == [3.0, 1.0, 0.5, 0.2, 0.4]
    assert translation["translation"] == [0, 0, 0, 0.05, 0.1]
    validate(path)


def test_an_image_of_an_earlier_version_keeps_its_one_level(run: Run, zarr: Any) -> None:
    shape = (1, 1, 1026)
    request = run.request(StackIndex(0, 0, 0), shape)
    stack = finished_stack(np.arange(1026, dtype=np.uint16).reshape(shape), None, None)
    publish_all(OmeZarrOutput(), request, OmeZarrOutput().choose(request), iter([stack]))
    path = run.results / "p000.ome.zarr"
    shutil.rmtree(path / "1")
    later = run.request(StackIndex(0, 1, 0), shape)
    publish_all(OmeZarrOutput(), later, OmeZarrOutput().choose(later), iter([stack]))
    image = zarr.open_group(path, mode="r")
    assert list(image.array_keys()) == ["0"]
    assert np.array_equal(image["0"][1, 0], stack.volume)


def test_an_image_is_looked_at_once_before_a_stack_and_once_before_it_is_written(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.publish(StackIndex(0, 0, 0), volume(1))
    looks: list[Path] = []
    look = ome_zarr._mark
    monkeypatch.setattr(ome_zarr, "_mark", lambda folder: (looks.append(folder), look(folder))[1])
    run.publish(StackIndex(0, 1, 0), volume(2))
    assert len(looks) == 2


def test_an_image_that_another_has_taken_meanwhile_is_not_written_into(run: Run) -> None:
    run.publish(StackIndex(0, 0, 0), volume(1))
    request, path = run.request(StackIndex(0, 1, 0)), run.choose(StackIndex(0, 1, 0))
    header = run.results / "p000.ome.zarr" / "zarr.json"
    header.write_text(header.read_text().replace(path.token, "0" * 16))
    raw = volume(2)
    stacks = [finished_stack(raw, fake_restorer().restore(raw), fake_model(), voxel=INFO.voxel)]
    with pytest.raises(OutputError, match="no image of live-restore any more"):
        publish_all(OmeZarrOutput(), request, path, iter(stacks))
    assert not (run.results / "p000.ome.zarr" / "0" / "c" / "1").exists()


def test_an_image_that_is_renamed_while_it_is_written_is_not_made_anew(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be there has no mark: it would be taken for an acquisition, and restored."""
    run.publish(StackIndex(0, 0, 0), volume(0))
    renamed = run.results.with_name("run_2_restored")
    sync_folder = disk.current.sync_folder

    def sync_then_rename(path: Path) -> None:
        sync_folder(path)
        if not renamed.exists():  # one key of several has its name
            run.results.rename(renamed)

    monkeypatch.setattr(disk.current, "sync_folder", sync_then_rename)
    with pytest.raises(OutputError):
        run.publish(StackIndex(0, 1, 0), volume(1))
    assert not (run.results / "p000.ome.zarr").exists()
    validate(renamed / "p000.ome.zarr")
