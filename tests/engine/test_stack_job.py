"""Stacks of data sets, one by one: finished (and aborted) folders, and what a source has found."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from live_restore.engine.channel_groups import ChannelGroups
from live_restore.engine.finished_acquisition import FinishedAcquisition
from live_restore.engine.job import ResultPlan
from live_restore.engine.one_shot import OneResult, OneShot
from live_restore.engine.stack_job import StackJob, StackJobs
from live_restore.errors import (
    LiveRestoreError,
    StackBusyError,
    StackChangedError,
    StackIncompleteError,
    StackRefusedError,
    StackRenamedError,
    StackUnreadableError,
)
from live_restore.formats.acquisition_format import AcquisitionState
from live_restore.formats.following import Following
from live_restore.formats.table import make_acquisition_formats
from live_restore.inference.model_set import ModelSet
from live_restore.settings.load import load_settings
from live_restore.settings.model import FilesSettings, Settings
from live_restore.stack import Fingerprint, StackIndex
from tests.formats.test_ome_zarr import TRUTH, multiscales, v3_array, v3_group, write_chunks
from tests.support.fakes import fake_shelf
from tests.support.processes import run_command
from tests.support.traces import Recording, recording

# Recording, stacks that can be restored, and why the others cannot.
RECORDINGS = {
    "multipage_full": (12, None),
    "singleplane_full": (12, None),
    "ndtiff_full": (12, None),
    "pycromanager_ndtiff": (8, None),
    "pymmcore_zarr": (8, None),
    "multipage_noz": (4, StackRefusedError),
    "singleplane_abort": (4, StackIncompleteError),
}
STACK_BYTES = 5 * 48 * 64 * 2
FIRST = StackIndex(0, 0, 0)


@pytest.fixture(scope="module")
def model_set() -> ModelSet:
    return ModelSet.load(load_settings(None, {"inference": {"device": "cpu"}}))


@pytest.fixture
def run(tmp_path: Path, shared_data: Path) -> tuple[Path, Recording]:
    """A finished run of 12 stacks of 5 planes."""
    truth = recording(shared_data, "multipage_full")
    truth.trace.replay(tmp_path)
    return tmp_path / truth.folder_name, truth


def stack_index_of(result: OneResult) -> StackIndex:
    stack_index = StackIndex.from_label(result.report.stem)
    assert stack_index is not None
    return stack_index


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_whole_stack_of_a_recorded_run_is_restored(
    tmp_path: Path, shared_data: Path, model_set: ModelSet, name: str
) -> None:
    truth = recording(shared_data, name)
    truth.trace.replay(tmp_path)
    restorable, why_not = RECORDINGS[name]
    folder = tmp_path / truth.folder_name
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    attempts = list(OneShot(model_set, load_settings()).restore_all(folder))
    assert {type(a) for a in attempts if isinstance(a, LiveRestoreError)} == (
        {why_not} if why_not else set()
    )
    done = [attempt for attempt in attempts if isinstance(attempt, OneResult)]
    for result in done:
        stack_index = stack_index_of(result)
        raw = truth.stacks[stack_index].pixels
        assert raw is not None
        restored = tifffile.imread(result.image)
        assert (restored.shape, restored.dtype) == (raw.shape, raw.dtype)
        assert float(restored.mean()) == pytest.approx(float(raw.mean()), rel=0.05)
        report = json.loads(result.report.read_text())
        assert report["stacks"][0]["before"]["mean"] == pytest.approx(float(raw.mean()))
        assert f"time {stack_index.time}," in report["source"]["notes"][0]
    assert len({stack_index_of(result) for result in done}) == restorable
    assert {p: p.read_bytes() for p in before} == before
    assert len(list((tmp_path / f"{folder.name}_restored").glob("*.ome.tif"))) == restorable


def test_a_second_time_everything_is_there(run: tuple[Path, Recording]) -> None:
    one_shot = OneShot(fake_shelf(), load_settings())
    for expected in (False, True):
        results = list(one_shot.restore_all(run[0]))
        assert [r.already_there for r in results if isinstance(r, OneResult)] == [expected] * 12


def test_a_folder_that_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(StackRefusedError, match="watch FOLDER"):
        FinishedAcquisition(tmp_path, make_acquisition_formats())


def test_the_command_takes_a_dataset_folder(tmp_path: Path, shared_data: Path) -> None:
    truth = recording(shared_data, "multipage_noz")
    truth.trace.replay(tmp_path)
    done = run_command(
        tmp_path / "state", "restore", tmp_path / truth.folder_name, "-o", tmp_path / "out",
        "--json",
    )  # fmt: skip
    said = json.loads(done.stdout)
    assert done.returncode == 1  # the channel without a z-stack is told, line by line
    assert [("result" in line) for line in said].count(True) == 4
    assert all("is a single plane" in line["error"] for line in said if "error" in line)
    assert len(list((tmp_path / "out" / f"{truth.folder_name}_restored").glob("*.ome.tif"))) == 4
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("channel", [0, 1])
def test_a_constant_stack_is_refused_in_every_channel(
    run: tuple[Path, Recording], monkeypatch: pytest.MonkeyPatch, channel: int
) -> None:
    read = Following.read

    def flat(self: Following, key: Any) -> Any:
        volume = read(self, key)
        return np.full_like(volume, 7) if key.channel == channel else volume

    monkeypatch.setattr(Following, "read", flat)
    attempts = list(OneShot(fake_shelf(), load_settings()).restore_all(run[0]))
    refused = [a for a in attempts if isinstance(a, StackRefusedError)]
    assert all("constant" in error.what for error in refused)
    assert {StackIndex.from_label(Path(str(e.path)).name) for e in refused} == {
        stack_index for stack_index in run[1].stacks if stack_index.channel == channel
    }
    assert Counter(type(a) for a in attempts) == {OneResult: 6, StackRefusedError: 6}


def test_channels_are_matched_by_their_number_in_the_run(run: tuple[Path, Recording]) -> None:
    attempts = list(OneShot(fake_shelf(skip=("1",)), load_settings()).restore_all(run[0]))
    refused = [a for a in attempts if isinstance(a, StackRefusedError)]
    assert len(refused) == 6
    assert all("(FITC)" in error.what for error in refused)


def test_a_partial_stack_is_restored_where_the_settings_say_so(
    tmp_path: Path, shared_data: Path
) -> None:
    truth = recording(shared_data, "multipage_abort")
    truth.trace.replay(tmp_path)
    (stack_index,) = [p for p, s in truth.stacks.items() if s.state == "partial"]
    planes = len(truth.stacks[stack_index].plane_steps)
    settings = load_settings(None, {"files": {"partial_stacks": "restore"}})
    attempts = OneShot(fake_shelf(), settings).restore_all(tmp_path / truth.folder_name)
    (result,) = [
        a for a in attempts if isinstance(a, OneResult) and stack_index_of(a) == stack_index
    ]
    assert tifffile.imread(result.image).shape == (planes, 48, 64)
    assert f"partial: {planes} of 15 planes were recorded" in result.warnings


def assert_one_run_is_one_model(folder: Path, kind: str) -> None:
    """Begun with one recipe, gone on with another: no series is of both, and it is said."""
    settings = load_settings(None, {"output": {"acquisitions": kind}})

    def restored_by(recipe: str, count: int) -> list[OneResult]:
        attempts = OneShot(fake_shelf(recipe=recipe * 64), settings).restore_all(folder)
        results = [a for a in islice(attempts, count) if isinstance(a, OneResult)]
        assert len(results) == count
        return results

    begun = restored_by("a", 5)  # 12 stacks; of the second position none
    other = restored_by("b", 12)
    again = restored_by("a", 12)
    assert all("-" not in result.image.name for result in (*begun, *again))
    assert all(".fake-" in result.image.name for result in other)
    (note,) = {note for result in other for note in result.notes if "begun with" in note}
    assert 'begun with the model "fake" or other settings' in note
    assert not any("begun with" in note for result in again for note in result.notes)
    assert [result.already_there for result in restored_by("b", 12)] == [True] * 12


def test_one_run_is_one_model(run: tuple[Path, Recording]) -> None:
    assert_one_run_is_one_model(run[0], "ome-tiff")


@pytest.mark.usefixtures("zarr")
def test_one_run_is_one_model_in_growing_images(run: tuple[Path, Recording]) -> None:
    assert_one_run_is_one_model(run[0], "ome-zarr")


# What a source has found ------------------------------------------------------------------------


@pytest.fixture
def jobs() -> StackJobs:
    return StackJobs(make_acquisition_formats())


def test_a_stack_is_opened_as_it_was_found(run: tuple[Path, Recording], jobs: StackJobs) -> None:
    folder, truth = run
    fingerprint = Fingerprint(STACK_BYTES, 17)
    job = jobs.open(folder, FIRST, fingerprint)
    (raw,) = job.read()
    np.testing.assert_array_equal(raw.volume, truth.stacks[FIRST].pixels)
    assert job.file_stacks.fingerprint == fingerprint
    assert job.file_stacks.channel_names == ("DAPI",)


@pytest.mark.parametrize(
    ("planes", "error"), [(4, StackChangedError), (6, StackBusyError)], ids=["grown", "not yet"]
)
def test_a_stack_that_looks_different_is_not_opened(
    run: tuple[Path, Recording], jobs: StackJobs, planes: int, error: type[LiveRestoreError]
) -> None:
    with pytest.raises(error):
        jobs.open(run[0], FIRST, Fingerprint(planes * STACK_BYTES // 5, 17))


def test_a_run_on_a_share_that_goes_is_waited_for(
    run: tuple[Path, Recording], jobs: StackJobs
) -> None:
    """It must not count as failed: nobody would look at it again when the share comes back."""
    folder, _ = run
    found = Fingerprint(STACK_BYTES, 10**18)
    jobs.open(folder, FIRST, found)
    away = folder.rename(folder.with_name("away"))
    for _ in range(2):
        with pytest.raises(StackBusyError):
            jobs.open(folder, FIRST, found)
    away.rename(folder)
    assert jobs.open(folder, FIRST, found).file_stacks.shape_zyx[0] == 5


def test_another_run_under_the_name_is_read_anew(
    run: tuple[Path, Recording], jobs: StackJobs, tmp_path: Path
) -> None:
    folder, truth = run
    jobs.open(folder, FIRST, Fingerprint(STACK_BYTES, 17))
    folder.rename(tmp_path / "elsewhere")
    truth.trace.replay(
        tmp_path, until=truth.stacks[FIRST].step
    )  # planes that the old run had are not there yet
    last = StackIndex(1, 2, 1)
    with pytest.raises(StackBusyError):
        jobs.open(folder, last, Fingerprint(STACK_BYTES, 18))
    shutil.rmtree(folder)
    with pytest.raises(StackBusyError):
        jobs.open(folder, last, Fingerprint(STACK_BYTES, 18))
    truth.trace.replay(tmp_path)
    (raw,) = jobs.open(folder, last, Fingerprint(STACK_BYTES, 18)).read()
    np.testing.assert_array_equal(raw.volume, truth.stacks[last].pixels)


@pytest.mark.parametrize("datasets", ["ome-tiff", "ome-zarr"])
def test_a_result_of_the_same_pixels_is_known_whenever_they_were_found(
    tmp_path: Path, jobs: StackJobs, datasets: str, zarr: Any
) -> None:
    folder = tmp_path / "run.ome.zarr"
    chunk = shared_chunks(folder)
    model_set, settings = fake_shelf(), load_settings(None, {"output": {"acquisitions": datasets}})
    job = jobs.open(folder, FIRST, Fingerprint(180, 17))
    publish(job, job.plan(model_set, settings), model_set, settings)
    assert jobs.open(folder, FIRST, Fingerprint(180, 18)).plan(model_set, settings).current
    chunk.write_bytes(chunk.read_bytes()[::-1])
    assert not jobs.open(folder, FIRST, Fingerprint(180, 18)).plan(model_set, settings).current


def shared_chunks(folder: Path, image: Any = TRUTH) -> Path:
    """Write an OME-Zarr whose chunks are whole stacks; return the chunk of the first."""
    chunks = (1, 1, 3, 5, 6)
    v3_group(folder, multiscales=multiscales())
    v3_array(folder / "0", chunks)
    write_chunks(folder / "0", chunks, image=image)
    return folder / "0" / "c" / "0" / "0" / "0" / "0" / "0"


def publish(
    job: StackJob,
    plan: ResultPlan,
    model_set: ModelSet,
    settings: Settings,
    between: Callable[[], None] = lambda: None,
) -> None:
    """Restore and publish a stack; ``between`` is called when it has been read."""
    groups = ChannelGroups(job.file_stacks, model_set)
    with job.begin(plan, model_set, settings) as publication:
        for raw in job.read():
            between()
            for stack in groups.feed(raw):
                publication.take(stack)
        publication.close()


@pytest.mark.parametrize("watched", [True, False])
def test_a_run_renamed_while_its_result_is_written_has_none_if_it_is_found_again(
    run: tuple[Path, Recording], watched: bool
) -> None:
    """A folder that is watched itself is not found under another name."""
    folder, _ = run
    root = folder.parent if watched else folder
    model_set, settings = fake_shelf(), load_settings()
    jobs = StackJobs(make_acquisition_formats(), root=root)
    job = jobs.open(folder, FIRST, Fingerprint(STACK_BYTES, 17))
    plan = job.plan(model_set, settings)

    def rename() -> None:
        folder.rename(folder.with_name("cellA"))

    if watched:
        with pytest.raises(StackRenamedError, match="was renamed to cellA"):
            publish(job, plan, model_set, settings, rename)
    else:
        publish(job, plan, model_set, settings, rename)
    assert plan.result_path.image.exists() is not watched


@pytest.mark.parametrize("looked_at", [False, True])
def test_a_run_renamed_while_it_is_looked_at_is_found_under_its_new_name(
    run: tuple[Path, Recording], monkeypatch: pytest.MonkeyPatch, looked_at: bool
) -> None:
    """It is read ahead, while the stack before it is restored: nothing of it is in hand yet."""
    folder, _ = run
    jobs = StackJobs(make_acquisition_formats(), root=folder.parent)
    poll = Following.poll

    def renamed(following: Following) -> AcquisitionState:
        state = poll(following) if looked_at else None
        if folder.exists():
            folder.rename(folder.with_name("cellA"))
        return state or poll(following)

    monkeypatch.setattr(Following, "poll", renamed)
    with pytest.raises(StackRenamedError, match="was renamed to cellA"):
        list(jobs.open(folder, FIRST, Fingerprint(STACK_BYTES, 17)).read())


def test_a_run_on_a_share_that_does_not_answer_waits(tmp_path: Path) -> None:
    jobs = StackJobs(make_acquisition_formats(), root=tmp_path)
    # As by such a share: another error than that nothing is there, which is_dir() raises.
    folder = tmp_path / ("x" * 300)
    with pytest.raises(StackBusyError, match="check the disk or the network"):
        jobs.open(folder, FIRST, Fingerprint(STACK_BYTES, 17))


@pytest.mark.parametrize("when", ["read", "begin", "publish"])
def test_a_run_whose_share_goes_stale_in_between_waits(
    run: tuple[Path, Recording], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    folder, _ = run
    model_set, settings = fake_shelf(), load_settings()
    jobs = StackJobs(make_acquisition_formats(), root=folder.parent)
    job = jobs.open(folder, FIRST, Fingerprint(STACK_BYTES, 17))
    plan = job.plan(model_set, settings)
    look = Path.stat

    def stale(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path == folder:
            raise OSError(errno.ESTALE, "Stale file handle")
        return look(path, follow_symlinks=follow_symlinks)

    def goes_stale() -> None:
        monkeypatch.setattr(Path, "stat", stale)

    if when == "begin":
        goes_stale()
    if when == "read":
        folder.rename(folder.with_name("away"))
        goes_stale()
    steps = partial(publish, job, plan, model_set, settings, goes_stale)
    with pytest.raises(StackBusyError, match=r"\(Stale file handle\); check the disk"):
        list(job.read()) if when == "read" else steps()
    assert not plan.result_path.image.exists()


@pytest.mark.parametrize("change", [True, False], ids=["changed", "as it was"])
def test_a_chunk_that_is_written_again_meanwhile_gives_no_result(
    tmp_path: Path, jobs: StackJobs, change: bool
) -> None:
    folder = tmp_path / "run.ome.zarr"
    chunk = shared_chunks(folder)
    model_set, settings = fake_shelf(), load_settings()
    job = jobs.open(folder, FIRST, Fingerprint(3 * 5 * 6 * 2, 17))
    plan = job.plan(model_set, settings)

    def between() -> None:
        if change:
            chunk.write_bytes(chunk.read_bytes()[::-1])

    try:
        publish(job, plan, model_set, settings, between)
    except StackChangedError:
        assert change
    assert plan.result_path.image.exists() is not change


def test_zeros_that_the_evidence_could_not_see_are_no_data(tmp_path: Path, jobs: StackJobs) -> None:
    folder, image = tmp_path / "run.ome.zarr", TRUTH.copy()
    image[0, 0, 1] = 0
    shared_chunks(folder, image)
    job = jobs.open(folder, FIRST, Fingerprint(3 * 5 * 6 * 2, 17))
    with pytest.raises(StackUnreadableError, match="zeros"):
        list(job.read())


def test_a_stack_with_a_gap_is_never_restored(tmp_path: Path) -> None:
    folder = tmp_path / "run.ome.zarr"
    v3_group(folder, multiscales=multiscales())
    v3_array(folder / "0", (1, 1, 1, 5, 6))
    write_chunks(folder / "0", (1, 1, 1, 5, 6), skip=((0, 0, 1, 0, 0),))
    dataset = FinishedAcquisition(folder, make_acquisition_formats())
    with pytest.raises(StackIncompleteError):
        dataset.job(FIRST, FilesSettings(partial_stacks="restore"))
