"""The main job with real processes: files arrive slowly, the daemon is killed, nothing is lost."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import ome_types
import pytest
import tifffile

from live_restore.journal.location import journal_path
from live_restore.journal.view import JournalView
from live_restore.simulation.scene import LivingCell
from tests.support.processes import (
    SlowCopy,
    counts,
    digests,
    run_command,
    status,
    stop,
    wait_for,
    watching,
)

_QUICK_BYTES = 10**6
"""Of a stack that is restored in two seconds or so, also of the compressed ones."""


@pytest.fixture(scope="session")
def simulated_stacks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five small low-light stacks in different kinds of TIFF."""
    folder = tmp_path_factory.mktemp("simulated")
    kinds: list[dict[str, object]] = [
        {"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeZ": 0.3}},
        {"imagej": True, "metadata": {"axes": "ZYX", "spacing": 0.3, "unit": "um"}},
        {"compression": "zlib"},
        {"bigtiff": True, "metadata": None},
        {"ome": True, "compression": "zstd", "metadata": {"axes": "ZYX"}},
    ]
    for number, options in enumerate(kinds):
        stack = LivingCell(shape_zyx=(8, 64, 72), seed=number).exposed(0)
        tifffile.imwrite(
            folder / f"stack {number} µ.tif", stack, photometric="minisblack", **options
        )
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def stacks(request: pytest.FixtureRequest) -> list[Path]:
    """The real stacks where they are, without the largest, else the simulated ones."""
    try:
        folder = request.getfixturevalue("shared_data") / "stacks"
    except pytest.skip.Exception:
        return list(request.getfixturevalue("simulated_stacks"))
    return sorted(path for path in folder.glob("*.tif") if path.stat().st_size < _QUICK_BYTES)


def results(folder: Path) -> list[Path]:
    return sorted((folder / "restored").glob("*.json"))


def assert_restored_once(state: Path, folder: Path, raw: list[Path]) -> None:
    """Every raw stack has one valid result of its own shape and type, and nothing else is there."""
    said = status(state, folder)
    assert said["counts"]["done"] == len(raw), said
    assert {f["state"] for f in said["files"]} == {"done"}
    restored = folder / "restored"
    expected = {name for path in raw for name in (f"{path.stem}.ome.tif", f"{path.stem}.json")}
    assert {path.name for path in restored.iterdir()} == expected
    for path in raw:
        image = restored / f"{path.stem}.ome.tif"
        before, after = tifffile.imread(path), tifffile.imread(image)
        assert (after.shape, after.dtype) == (before.shape, before.dtype)
        # In camera units: neither the mean nor the background may drift away from the raw stack.
        assert float(after.mean()) == pytest.approx(float(before.mean()), rel=0.1)
        assert not np.array_equal(before, after)
        ome = ome_types.from_tiff(image)
        assert ome.images[0].pixels.size_z == before.shape[0]
        report = json.loads((restored / f"{path.stem}.json").read_text())
        assert report["source"]["name"] == path.name
        assert report["stacks"][0]["restored"] is True
        assert report["models"]["fast"]["device"]["provider"].startswith(
            ("onnxruntime", "openvino")
        )


def delays(folder: Path) -> list[float]:
    return [json.loads(path.read_text())["seconds"]["delay"] for path in results(folder)]


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param((), id="events"),
        pytest.param(("--no-events",), id="scan only", marks=pytest.mark.slow),
    ],
)
def test_stacks_copied_in_irregular_chunks_are_each_restored_once(
    tmp_path: Path,
    stacks: list[Path],
    flags: tuple[str, ...],
    record_property: pytest.RecordProperty,
) -> None:
    state, folder = tmp_path / "state", tmp_path / "data"
    folder.mkdir()
    with watching(state, folder, *flags) as daemon:
        copy = SlowCopy.start(stacks, folder, seconds_each=0.5)
        copy.wait()
        wait_for(lambda: len(results(folder)) == len(stacks), "every report")
        code, log = stop(daemon)
    assert code == 0, log
    assert_restored_once(state, folder, stacks)
    originals = {p.name: digest for p in stacks for digest in [digests(p.parent)[p.name]]}
    assert digests(folder) == originals
    record_property("delays_s", delays(folder))


@pytest.mark.slow
def test_a_file_that_grows_for_ten_seconds_is_waited_for(
    tmp_path: Path, stacks: list[Path]
) -> None:
    state, folder = tmp_path / "state", tmp_path / "data"
    folder.mkdir()
    with watching(state, folder) as daemon:
        copy = SlowCopy.start(stacks[:1], folder, seconds_each=10.0)
        seen_early = False
        while copy.process.poll() is None:
            seen_early = seen_early or bool(results(folder))
            assert daemon.poll() is None
        assert not seen_early, "restored before its last byte"
        copy.wait()
        wait_for(lambda: len(results(folder)) == 1, "the report")
        code, log = stop(daemon, signal.SIGINT)
    assert code == 0, log
    assert_restored_once(state, folder, stacks[:1])


def test_killed_in_the_middle_and_started_again_nothing_is_lost_or_done_twice(
    tmp_path: Path, stacks: list[Path]
) -> None:
    state, folder = tmp_path / "state", tmp_path / "data"
    folder.mkdir()
    for path in stacks:
        shutil.copyfile(path, folder / path.name)
    before = digests(folder)
    with watching(state, folder) as daemon:
        wait_for(lambda: len(results(folder)) >= 1, "the first report")
        daemon.kill()
        daemon.wait()
    said = status(state, folder)
    assert said["watched"] is False
    (left,) = [f for f in said["files"] if f["state"] == "running"][:1]
    assert left["reason"].startswith("interrupted")
    assert "not being watched now" in run_command(state, "status", folder).stdout
    finished = {path: path.stat().st_mtime_ns for path in results(folder)}
    assert 1 <= len(finished) < len(stacks), "killed too late to be in the middle"
    with watching(state, folder) as daemon:
        wait_for(lambda: len(results(folder)) == len(stacks), "every report")
        code, log = stop(daemon)
    assert code == 0, log
    assert_restored_once(state, folder, stacks)
    assert digests(folder) == before
    for path, written_ns in finished.items():
        assert path.stat().st_mtime_ns == written_ns, f"{path.name} was restored twice"


def test_once_twice_restores_nothing_the_second_time(tmp_path: Path, stacks: list[Path]) -> None:
    state, folder = tmp_path / "state", tmp_path / "data"
    folder.mkdir()
    for path in stacks[-2:]:
        shutil.copyfile(path, folder / path.name)
    first = run_command(state, "watch", folder, "--once")
    assert first.returncode == 0, first.stderr
    assert_restored_once(state, folder, stacks[-2:])
    written = {p: p.stat().st_mtime_ns for p in (folder / "restored").iterdir()}
    second = run_command(state, "watch", folder, "--once")
    assert second.returncode == 0, second.stderr
    assert "0 restored, 0 failed, 0 refused in this run" in second.stderr.splitlines()[-1]
    assert {p: p.stat().st_mtime_ns for p in (folder / "restored").iterdir()} == written


def test_without_its_journal_the_daemon_still_knows_its_own_results(
    tmp_path: Path, simulated_stacks: list[Path]
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copyfile(simulated_stacks[0], folder / simulated_stacks[0].name)
    assert run_command(tmp_path / "state", "watch", folder, "--once").returncode == 0
    written = {p: p.stat().st_mtime_ns for p in (folder / "restored").iterdir()}
    assert run_command(tmp_path / "another state", "watch", folder, "--once").returncode == 0
    assert {p: p.stat().st_mtime_ns for p in (folder / "restored").iterdir()} == written


def test_a_second_watch_on_the_same_folder_says_so(tmp_path: Path) -> None:
    state, folder = tmp_path / "state", tmp_path / "data"
    folder.mkdir()
    with watching(state, folder) as daemon:
        wait_for(lambda: any(state.glob("*.log")), "the first to be up")
        second = run_command(state, "watch", folder)
        assert second.returncode == 2
        assert second.stderr.count("\n") == 1
        assert "already watched" in second.stderr
        code, _ = stop(daemon)
    assert code == 0


def has_begun(state: Path, folder: Path) -> bool:
    """Return whether a daemon is at work, and not only starting, when any stop ends it."""
    if not any(state.glob("*.log")):
        return False
    with JournalView(journal_path(folder, state), folder) as journal:
        return journal.facts.last_run().started_at is not None


def test_a_stop_in_a_folder_of_many_files_is_answered_at_once(
    tmp_path: Path, simulated_stacks: list[Path]
) -> None:
    state, folder = tmp_path / "state", tmp_path / "data"
    folder.mkdir()
    for number in range(2000):
        (folder / f"{number}.tif").hardlink_to(simulated_stacks[0])
    with watching(state, folder) as daemon:
        wait_for(lambda: has_begun(state, folder), "the daemon to be at work")
        time.sleep(0.7)
        began = time.monotonic()
        code, log = stop(daemon)
    assert time.monotonic() - began < 4
    assert code == 0, log
    assert "finished or given back; Ctrl-C again ends at once" in log


def test_a_lost_result_is_named_and_made_again(
    tmp_path: Path, simulated_stacks: list[Path]
) -> None:
    state, folder = tmp_path / "state", tmp_path / "data"
    folder.mkdir()
    shutil.copyfile(simulated_stacks[0], folder / "a.tif")
    assert run_command(state, "watch", folder, "--once").returncode == 0
    result = folder / "restored" / "a.ome.tif"
    result.unlink()
    (entry,) = status(state, folder)["files"]
    assert entry["state"] == "done"
    assert "its result is missing" in entry["reason"]
    assert "--redo-missing" in run_command(state, "status", folder).stdout.replace("\n", "")
    assert run_command(state, "watch", folder, "--once").returncode == 0
    assert not result.exists()
    again = run_command(state, "watch", folder, "--once", "--redo-missing")
    assert again.returncode == 0, again.stderr
    assert "1 restored" in again.stderr.splitlines()[-1]
    assert result.exists()


def test_a_second_watch_on_a_folder_inside_says_so(tmp_path: Path) -> None:
    state, folder = tmp_path / "state", tmp_path / "all" / "data"
    (folder / "run").mkdir(parents=True)
    with watching(state, folder) as daemon:
        wait_for(lambda: any(state.glob("*.log")), "the first to be up")
        assert status(state, folder)["watched"] is True
        for other in (folder / "run", tmp_path / "all"):
            second = run_command(state, "watch", other, "--once")
            assert second.returncode == 2, second.stderr
            assert second.stderr.count("\n") == 1
            assert str(folder) in second.stderr
        code, _ = stop(daemon)
    assert code == 0


def test_a_file_that_never_completes_becomes_visible(
    tmp_path: Path, simulated_stacks: list[Path]
) -> None:
    state, folder = tmp_path / "state", tmp_path / "data"
    folder.mkdir()
    whole = simulated_stacks[0].read_bytes()
    (folder / "stopped.tif").write_bytes(whole[: len(whole) * 2 // 3])
    config = tmp_path / "config.toml"
    config.write_text("[watch]\nstall_s = 1.0\n")
    with watching(state, folder, "--config", str(config)) as daemon:
        wait_for(lambda: any(state.glob("*.log")), "the daemon to be up")
        wait_for(lambda: counts(state, folder)["incomplete"] == 1, "the stall to be noticed")
        assert "stopped.tif" in run_command(state, "status", folder).stdout
        (folder / "stopped.tif").write_bytes(whole)  # it goes on after all
        wait_for(lambda: len(results(folder)) == 1, "the report")
        code, log = stop(daemon)
    assert code == 0, log
