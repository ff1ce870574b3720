"""Recorded acquisitions, replayed beside a real `live-restore watch`: what is true is restored."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from live_restore.stack import StackIndex
from tests.support.models import write_model
from tests.support.processes import (
    PATIENCE_S,
    counts,
    run_command,
    status,
    stop,
    wait_for,
    watching,
)
from tests.support.traces import TRACES, Recording, recording
from tests.support.zarrs import validate


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network that changes nothing: a result must be its raw stack, pixel by pixel."""
    return write_model(tmp_path / "identity.onnx")


@pytest.fixture
def config(tmp_path: Path, model: Path) -> Path:
    return write_config(tmp_path / "config.toml", model)


def write_config(path: Path, model: Path, **sections: str) -> Path:
    """Write a config.toml; ``sections`` are further lines by section."""
    text = "".join(f"[{name}]\n{lines}\n" for name, lines in sections.items())
    path.write_text(f'{text}[[models]]\nmodel = "{model.as_posix()}"\n')
    return path


def volumes(truth: Recording, state: str) -> set[StackIndex]:
    """Return the stacks of a recording that end in a state, without those of a single plane."""
    return {p for p, s in truth.stacks.items() if s.state == state and len(s.expected) > 1}


def by_state(state: Path, root: Path, prefix: str) -> dict[str, set[str]]:
    """Return the labels of a data set's stacks in each state that `status` tells."""
    found: dict[str, set[str]] = {}
    for line in status(state, root)["files"]:
        folder, _, label = line["source"].rpartition("/")
        if folder == prefix:
            found.setdefault(line["state"], set()).add(label)
    return found


def labels(stack_indices: set[StackIndex]) -> set[str]:
    return {stack_index.label for stack_index in stack_indices}


def results(root: Path, truth: Recording) -> Path:
    return root / f"{truth.folder_name}_restored"


def reports(root: Path, truth: Recording) -> set[str]:
    return {path.stem for path in results(root, truth).glob("p*.json")}


def assert_restored(state: Path, watched: Path, root: Path, truth: Recording) -> None:
    """Every complete stack has its pixels, each once; nothing else has a result."""
    whole, partial = volumes(truth, "complete"), volumes(truth, "partial")
    prefix = (root / truth.folder_name).relative_to(watched).as_posix()
    said = by_state(state, watched, "" if prefix == "." else prefix)
    flat = {p for p, s in truth.stacks.items() if s.state == "complete" and len(s.expected) == 1}
    expected = {"done": whole, "incomplete": partial, "refused": flat}
    assert said == {
        name: labels(stack_indices) for name, stack_indices in expected.items() if stack_indices
    }
    folder = results(root, truth)
    names = {f"{name}{end}" for name in labels(whole) for end in (".ome.tif", ".json")}
    assert {path.name for path in folder.iterdir()} == names
    for stack_index in whole:
        assert_pixels(tifffile.imread(folder / f"{stack_index.label}.ome.tif"), truth, stack_index)
        report = json.loads((folder / f"{stack_index.label}.json").read_text())
        channel = truth.acquisition["channels"][stack_index.channel]
        assert report["stacks"][0]["channel_name"] == channel
        assert report["stacks"][0]["restored"] is True


def assert_pixels(restored: Any, truth: Recording, stack_index: StackIndex) -> None:
    raw = truth.stacks[stack_index].pixels
    assert raw is not None
    np.testing.assert_array_equal(restored, raw, strict=True)


def contents(folder: Path) -> dict[Path, bytes]:
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def replaying(truth: Recording, root: Path, speed: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-B", str(truth.replayer_path), str(truth.trace_path), str(root),
         "--speed", speed],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip


def all_told(state: Path, watched: Path, truths: dict[Path, Recording]) -> Callable[[], bool]:
    """Return whether every stack of the recordings has come to its end."""

    def told() -> bool:
        now = counts(state, watched)
        ended = now["done"] + now["incomplete"] + now["refused"] + now["failed"]
        begun = sum(len(t.present_at(len(t))) for t in truths.values())
        return bool(ended >= begun)

    return told


@pytest.mark.slow
def test_every_recorded_run_at_once_beside_loose_files(
    tmp_path: Path, shared_data: Path, config: Path
) -> None:
    state, watched = tmp_path / "state", tmp_path / "data"
    truths = {watched / name: recording(shared_data, name) for name in TRACES}
    loose = [watched / "cell.tif", watched / "multipage_full" / "cell.tif"]
    watched.mkdir()
    with watching(state, watched, "--config", str(config)) as daemon:
        for number, path in enumerate(loose):
            path.parent.mkdir(exist_ok=True)
            image = np.random.default_rng(number).integers(90, 200, (4, 16, 18)).astype(np.uint16)
            tifffile.imwrite(path, image, photometric="minisblack", metadata={"axes": "ZYX"})
        writers = [replaying(truth, root, "inf") for root, truth in truths.items()]
        assert [writer.wait(PATIENCE_S) for writer in writers] == [0] * len(writers)
        wait_for(all_told(state, watched, truths), "every stack")
        code, log = stop(daemon)
    assert code == 0, log
    for root, truth in truths.items():
        assert_restored(state, watched, root, truth)
    for path in loose:
        assert (path.parent / "restored" / f"{path.stem}.ome.tif").exists()
    said = status(state, watched)
    assert {f["source"] for f in said["files"] if "/p" not in f["source"]} == {
        "cell.tif", "multipage_full/cell.tif",
    }  # fmt: skip
    assert not said["counts"]["failed"]


def test_killed_in_the_middle_of_several_runs_and_started_again(
    tmp_path: Path, shared_data: Path, config: Path
) -> None:
    state, watched = tmp_path / "state", tmp_path / "data"
    truths = {watched / name: recording(shared_data, name) for name in TRACES[::2]}
    watched.mkdir()
    replays = {root: truth.trace.steps(root) for root, truth in truths.items()}

    def go_on(share: float) -> None:
        for root, steps in replays.items():
            until = int(share * len(truths[root]))
            for step, _ in steps:
                if step >= until:
                    break

    def finished() -> dict[Path, int]:
        return {
            path: path.stat().st_mtime_ns
            for root, truth in truths.items()
            for path in results(root, truth).glob("p*.json")
        }

    go_on(0.4)
    with watching(state, watched, "--config", str(config)) as daemon:
        wait_for(lambda: len(finished()) >= 3, "the first results")
        go_on(0.6)
        daemon.kill()
        daemon.wait()
    before = finished()
    go_on(0.8)
    with watching(state, watched, "--config", str(config)) as daemon:
        wait_for(lambda: len(finished()) > len(before), "further results")
        go_on(1.0)
        wait_for(all_told(state, watched, truths), "every stack")
        code, log = stop(daemon)
    assert code == 0, log
    for root, truth in truths.items():
        assert_restored(state, watched, root, truth)
    after = finished()
    assert {path: after[path] for path in before} == before, "a stack was restored twice"


def test_the_run_itself_is_watched_until_it_is_over(
    tmp_path: Path, shared_data: Path, config: Path
) -> None:
    """What an announced run needs: follow it; told that it is over, finish and exit."""
    truth = recording(shared_data, "singleplane_abort")
    state, root = tmp_path / "state", tmp_path / "data"
    folder = root / truth.folder_name
    last = max(s for stack in truth.stacks.values() for s in stack.plane_steps.values())
    steps = truth.trace.steps(root)
    for step, _ in steps:
        if step == last:
            break
    with watching(state, folder, "--config", str(config)) as daemon:
        wait_for(lambda: bool(reports(root, truth)), "the first result")
        stop(daemon)
    list(steps)
    before = contents(folder)
    over = run_command(state, "watch", folder, "--once", "--config", config)
    assert over.returncode == 0, over.stderr
    assert_restored(state, folder, root, truth)
    assert contents(folder) == before
    summary, why = over.stderr.splitlines()[-2:]
    assert "1 incomplete, 0 still arriving, 0 waiting" in summary
    assert "1 incomplete (p000_t0001_c00): 5 of 15 planes; the run is over" in why


def test_a_run_whose_writer_died_is_finished_at_once(
    tmp_path: Path, shared_data: Path, config: Path
) -> None:
    truth = recording(shared_data, "pycromanager_ndtiff")
    planes = sorted(s for stack in truth.stacks.values() for s in stack.plane_steps.values())
    root, step = tmp_path / "data", planes[12]
    truth.trace.replay(root, until=step)
    state = tmp_path / "state"
    over = run_command(state, "watch", root, "--once", "--config", config)
    assert over.returncode == 0, over.stderr
    assert reports(root, truth) == labels(truth.complete_at(step))
    assert by_state(state, root, truth.folder_name)["incomplete"] == labels(
        set(truth.present_at(step)) - truth.complete_at(step)
    )


def test_without_its_journal_nothing_is_restored_twice(
    tmp_path: Path, shared_data: Path, config: Path
) -> None:
    truth = recording(shared_data, "multipage_full")
    root = tmp_path / "data"
    truth.trace.replay(root)
    runs = [
        run_command(tmp_path / state, "watch", root, "--once", "--config", config)
        for state in ("first", "second")
    ]
    assert [run.returncode for run in runs] == [0, 0]
    assert "12 restored" in runs[0].stderr.splitlines()[-1]
    assert "0 restored, 0 failed, 0 refused" in runs[1].stderr.splitlines()[-1]
    assert_restored(tmp_path / "second", root, root, truth)


def test_channels_without_a_model_are_passed_by_with_their_name(
    tmp_path: Path, shared_data: Path, model: Path
) -> None:
    truth = recording(shared_data, "pymmcore_zarr")
    root, state = tmp_path / "data", tmp_path / "state"
    truth.trace.replay(root)
    config = tmp_path / "config.toml"
    config.write_text(
        f'[[models]]\nchannels = ["1"]\nskip = true\n[[models]]\nmodel = "{model.as_posix()}"\n'
    )
    assert run_command(state, "watch", root, "--once", "--config", config).returncode == 0
    done = {stack_index for stack_index in truth.stacks if stack_index.channel == 0}
    assert by_state(state, root, truth.folder_name) == {
        "done": labels(done), "refused": labels(set(truth.stacks) - done),
    }  # fmt: skip
    refused = [f for f in status(state, root)["files"] if f["state"] == "refused"]
    assert {f["reason"] for f in refused} == {
        f"no model for any of its channels ({truth.acquisition['channels'][1]}); "
        "add one to [[models]]"
    }


@pytest.mark.parametrize(
    "name", ["multipage_full", pytest.param("singleplane_abort", marks=pytest.mark.slow)]
)
def test_a_growing_ome_zarr_is_right_at_every_moment(
    tmp_path: Path, shared_data: Path, model: Path, zarr: Any, name: str
) -> None:
    truth = recording(shared_data, name)
    root, state = tmp_path / "data", tmp_path / "state"
    config = write_config(tmp_path / "c.toml", model, output='acquisitions = "ome-zarr"')
    folder, whole, seen = results(root, truth), volumes(truth, "complete"), set()
    root.mkdir()
    with watching(state, root, "--config", str(config)) as daemon:
        wait_for(lambda: any(state.glob("*.log")), "the daemon to be up")
        writer = replaying(truth, root, "10")
        deadline = time.monotonic() + PATIENCE_S
        while len(list(folder.glob("p*.reports/*.json"))) < len(whole):
            assert time.monotonic() < deadline
            seen.add(assert_every_image_is_true(zarr, folder, truth))
            time.sleep(0.02)
        assert writer.wait(PATIENCE_S) == 0
        wait_for(all_told(state, root, {root: truth}), "every stack")
        code, log = stop(daemon)
    assert code == 0, log
    assert assert_every_image_is_true(zarr, folder, truth) == len(whole)
    assert len(seen) > 2, "never looked at while it grew"
    for image in folder.glob("p*.ome.zarr"):
        validate(image)
    assert not [p for p in root.rglob(".*") if p.is_file()]
    assert by_state(state, root, truth.folder_name)["done"] == labels(whole)


def assert_every_image_is_true(zarr: Any, folder: Path, truth: Recording) -> int:
    """Compare what readers see with the truth; return how many stacks are restored."""
    restored = 0
    for image in folder.glob("p*.ome.zarr"):
        position = int(image.name[1:4])
        group = zarr.open_group(image, mode="r")
        listed = [tuple(each) for each in group.attrs["live-restore"]["restored"]]
        array = group["0"][:]
        assert array.ndim == 5
        for channel, first, last in listed:
            for t in range(first, last + 1):
                restored += 1
                assert_pixels(array[t, channel], truth, StackIndex(position, t, channel))
    return restored


@pytest.mark.slow
@pytest.mark.parametrize("name", TRACES)
def test_beside_a_writer_twenty_times_as_fast_as_recorded(
    tmp_path: Path, shared_data: Path, config: Path, name: str
) -> None:
    """One run alone: nothing else wakes the daemon for it."""
    truth = recording(shared_data, name)
    root, state = tmp_path / "data", tmp_path / "state"
    root.mkdir()
    with watching(state, root, "--config", str(config)) as daemon:
        wait_for(lambda: any(state.glob("*.log")), "the daemon to be up")
        writer = replaying(truth, root, "20")
        assert writer.wait(PATIENCE_S) == 0
        wait_for(all_told(state, root, {root: truth}), "every stack")
        code, log = stop(daemon)
    assert code == 0, log
    assert_restored(state, root, root, truth)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRACES)
def test_killed_again_and_again_while_the_run_goes_on(
    tmp_path: Path, shared_data: Path, model: Path, name: str
) -> None:
    """The writer never waits for the daemon, which dies at moments that nobody chose."""
    truth = recording(shared_data, name)
    root, state = tmp_path / "data", tmp_path / "state"
    # Killed so often with one stack in hand, it would take that stack for the cause.
    config = write_config(tmp_path / "c.toml", model, journal="max_attempts = 100")
    root.mkdir()
    rng = random.Random(name)
    speed = truth.trace.duration / 12.0
    writer = replaying(truth, root, f"{speed:.3f}")
    kills = 0
    finished: dict[Path, bytes] = {}
    while writer.poll() is None:
        with watching(state, root, "--config", str(config)) as daemon:
            wait_for(lambda: any(state.glob("*.log")), "the daemon to be up")
            try:
                daemon.wait(rng.uniform(0.2, 3.0))
            except subprocess.TimeoutExpired:
                daemon.kill()
            assert daemon.wait() == -signal.SIGKILL
        kills += 1
        # A report is written last: what it stands for is right, then and for good.
        for report in results(root, truth).glob("p*.json"):
            image = report.with_suffix(".ome.tif")
            stack_index = StackIndex.from_label(report.stem)
            assert stack_index is not None
            assert_pixels(tifffile.imread(image), truth, stack_index)
            assert finished.setdefault(report, report.read_bytes()) == report.read_bytes()
    assert writer.wait() == 0
    assert kills >= 3
    over = run_command(state, "watch", root, "--once", "--config", config)
    assert over.returncode == 0, over.stderr
    assert_restored(state, root, root, truth)
    assert {path: path.read_bytes() for path in finished} == finished, "a stack was restored twice"
