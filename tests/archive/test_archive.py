"""An archive whose stacks workers read, restore and publish: each once, whatever befalls them."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile

from live_restore.files.shared_lease import SharedLeases
from live_restore.inference.model_set import ModelSet
from live_restore.inference.stack_restorer import StackRestorer
from live_restore.settings.load import load_settings
from live_restore.simulation.scene import LivingCell
from tests.support.cluster import Started, a_scheduler, a_worker, ended, free_address
from tests.support.processes import PATIENCE_S, run_command
from tests.support.systems import needs_signals

SHAPE = (8, 48, 96)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scheduler and two workers that are well."""
    folder, address = tmp_path_factory.mktemp("cluster"), free_address()
    scheduler = a_scheduler(folder / "s", address)
    workers = [a_worker(folder / f"w{number}", address) for number in range(2)]
    with ended(scheduler, *workers):
        yield address


def recorded(folder: Path, stacks: int) -> Path:
    """An archive of so many files."""
    folder.mkdir(parents=True)
    cell = LivingCell(shape_zyx=SHAPE)
    for number in range(stacks):
        tifffile.imwrite(folder / f"{number}.tif", cell.exposed(number), metadata={"axes": "ZYX"})
    return folder


@functools.cache
def restorer_here() -> StackRestorer:
    restorer = ModelSet.load(load_settings(None, {"inference": {"device": "cpu"}})).rules[0][1]
    assert restorer is not None
    return restorer


def local(path: Path) -> np.ndarray:
    """A file restored here."""
    return restorer_here().restore(tifffile.imread(path)).volume


def client(folder: Path, archive: Path, address: str, settings: str = "") -> Started:
    """Start the command."""
    folder.mkdir(parents=True, exist_ok=True)
    text = f"[journal]\nretry_s = 0.2\n[cluster]\ntimeout_s = 2\n{settings}"
    (folder / "config.toml").write_text(text, encoding="utf-8")
    return Started(folder, "restore", str(archive), "--cluster", address)


def restored(folder: Path, archive: Path, address: str, settings: str = "") -> tuple[int, str]:
    """Run the command to its end; return its exit code and what it said."""
    started = client(folder, archive, address, settings)
    with ended(started):
        return started.process.wait(PATIENCE_S), started.said


def results(archive: Path) -> list[str]:
    return sorted(path.name for path in (archive / "restored").iterdir())


@contextmanager
def kept_alive(folder: Path, address: str, odd: str) -> Iterator[None]:
    """Run a worker that is started again whenever it dies."""
    workers: list[Started] = []
    stopped = threading.Event()

    def supervise() -> None:
        while not stopped.is_set():
            if not workers or workers[-1].process.poll() is not None:
                words = ("worker", "--scheduler", address, "--device", "cpu")
                workers.append(Started(folder, *words, odd=odd))
            time.sleep(0.05)

    thread = threading.Thread(target=supervise)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        for each in workers:
            each.kill()


def test_results_are_the_local_ones_and_a_second_run_does_nothing(
    tmp_path: Path, address: str
) -> None:
    archive = recorded(tmp_path / "a", 3)
    tifffile.imwrite(archive / "dark.tif", np.full(SHAPE, 7, np.uint16), metadata={"axes": "ZYX"})
    code, said = restored(tmp_path / "state", archive, address)
    assert code == 0, said
    assert "3 restored, 0 failed, 1 refused" in said
    assert results(archive) == sorted(f"{n}.{end}" for n in range(3) for end in ("json", "ome.tif"))
    for number in range(3):
        found = tifffile.imread(archive / "restored" / f"{number}.ome.tif")
        assert found.tobytes() == local(archive / f"{number}.tif").tobytes()
    before = {path: path.stat().st_mtime_ns for path in (archive / "restored").iterdir()}
    code, said = restored(tmp_path / "state", archive, address)
    assert (code, "0 restored, 0 failed" in said) == (0, True), said
    # Without its journal, too: what is there is recognised by the workers.
    code, said = restored(tmp_path / "other", archive, address)
    assert (code, "0 restored, 0 failed" in said) == (0, True), said
    assert {path: path.stat().st_mtime_ns for path in (archive / "restored").iterdir()} == before
    counts = json.loads(
        run_command(tmp_path / "other" / "state", "status", archive, "--json").stdout
    )
    assert counts["counts"]["done"] == 3


@pytest.mark.slow
def test_a_worker_finds_shared_storage_under_the_name_that_it_has_there(tmp_path: Path) -> None:
    archive, address = recorded(tmp_path / "a", 1), free_address()
    # As another computer would see it: Windows dates files to 100 ns.
    os.utime(archive / "0.tif", ns=(0, 1_600_000_000_123_456_789))
    shutil.copytree(archive, tmp_path / "mount")
    os.utime(tmp_path / "mount" / "0.tif", ns=(0, 1_600_000_000_123_456_700))
    elsewhere = tmp_path / "w" / "config.toml"
    elsewhere.parent.mkdir()
    elsewhere.write_text(
        f'[cluster.paths]\n"{archive.as_posix()}" = "{(tmp_path / "mount").as_posix()}"\n',
        encoding="utf-8",
    )
    blind = tmp_path / "blind" / "config.toml"
    blind.parent.mkdir()
    blind.write_text(
        f'[cluster.paths]\n"{archive.as_posix()}" = "{(tmp_path / "none").as_posix()}"\n',
        encoding="utf-8",
    )
    scheduler = a_scheduler(tmp_path / "s", address)
    with ended(scheduler, a_worker(blind.parent, address)):
        started = client(tmp_path / "state", archive, address)
        with ended(started):
            started.wait_for("gets no more stacks")
            with ended(a_worker(elsewhere.parent, address)):
                assert started.process.wait(PATIENCE_S) == 0, started.said
    assert "sees no folder" in started.said
    assert "set cluster.paths there" in started.said
    assert results(tmp_path / "mount") == ["0.json", "0.ome.tif"]
    assert not (archive / "restored").exists()


@pytest.mark.slow
def test_a_worker_that_sees_another_file_is_to_blame_and_not_the_file(
    tmp_path: Path, address: str
) -> None:
    archive, other = recorded(tmp_path / "a", 1), free_address()
    shutil.copytree(archive, tmp_path / "mount")
    (tmp_path / "mount" / "0.tif").unlink()
    mounts = tmp_path / "w" / "config.toml"
    mounts.parent.mkdir()
    mounts.write_text(
        f'[cluster.paths]\n"{archive.as_posix()}" = "{(tmp_path / "mount").as_posix()}"\n',
        encoding="utf-8",
    )
    with ended(a_scheduler(tmp_path / "s", other), a_worker(mounts.parent, other)):
        started = client(tmp_path / "state", archive, other)
        with ended(started):
            started.wait_for("look at its mounts; it gets no more stacks")
            assert started.stop() == 143
    code, said = restored(tmp_path / "state", archive, address)
    assert (code, "1 restored, 0 failed" in said) == (0, True), said


def test_a_worker_with_wrong_numbers_leaves_no_result(tmp_path: Path) -> None:
    archive, address = recorded(tmp_path / "a", 2), free_address()
    scheduler = a_scheduler(tmp_path / "s", address)
    with ended(scheduler, a_worker(tmp_path / "sick", address, odd="wrong")):
        started = client(tmp_path / "state", archive, address)
        with ended(started):
            started.wait_for("gets no more stacks")
            assert "computes wrong numbers" in started.said
            assert not list(archive.glob("restored/*.json"))
            with ended(a_worker(tmp_path / "well", address)):
                assert started.process.wait(PATIENCE_S) == 0, started.said
    assert "it it" not in started.said
    assert "attempt" not in started.said, "what its worker did wrong counts against a stack"
    for number in range(2):
        found = tifffile.imread(archive / "restored" / f"{number}.ome.tif")
        assert found.tobytes() == local(archive / f"{number}.tif").tobytes()


@needs_signals
def test_a_stack_that_kills_its_workers_is_set_aside_and_the_others_are_restored(
    tmp_path: Path,
) -> None:
    archive, address = recorded(tmp_path / "a", 2), free_address()
    wide = LivingCell(shape_zyx=(8, 48, 128)).exposed(0)
    tifffile.imwrite(archive / "0poison.tif", wide, metadata={"axes": "ZYX"})
    with ended(a_scheduler(tmp_path / "s", address)), kept_alive(
        tmp_path / "w", address, "poisoned"
    ):  # fmt: skip
        code, said = restored(tmp_path / "state", archive, address)
    assert code == 1
    assert "2 restored, 1 failed" in said
    assert "attempt 2: the worker that had it died; it goes to another" in said
    assert "3 workers" in said
    assert said.count(": attempt ") == 2, "others were given to a worker that had just died"
    assert [name for name in results(archive) if name.startswith("0poison")] == []


@pytest.mark.slow
def test_what_another_process_has_in_hand_is_waited_for(tmp_path: Path, address: str) -> None:
    archive = recorded(tmp_path / "a", 1)
    leases = SharedLeases(30.0)
    lease = leases.take(archive / "restored" / "0.ome.tif")
    started = client(tmp_path / "state", archive, address)
    with ended(started):
        time.sleep(2.0)
        assert started.process.poll() is None, started.said
        assert results(archive) == [lease.path.name]
        leases.end(lease)
        assert started.process.wait(PATIENCE_S) == 0, started.said
    leases.close()
    assert results(archive) == ["0.json", "0.ome.tif"]


@pytest.mark.slow
@needs_signals
def test_it_goes_on_where_it_was_killed(tmp_path: Path, address: str) -> None:
    archive = recorded(tmp_path / "a", 6)
    started = client(tmp_path / "state", archive, address)
    with ended(started):
        deadline = time.monotonic() + PATIENCE_S
        while not list(archive.glob("restored/*.json")):
            assert time.monotonic() < deadline, started.said
            time.sleep(0.01)
        started.kill()
    code, said = restored(tmp_path / "state", archive, address)
    assert code == 0, said
    assert len(results(archive)) == 12
    assert "6 restored" not in said


@pytest.mark.slow
def test_local_workers_come_and_go_with_the_command(tmp_path: Path) -> None:
    import psutil

    archive = recorded(tmp_path / "a", 2)
    words = ("restore", str(archive), "--cluster", "local", "--workers", "1", "--device", "cpu")
    started = Started(tmp_path / "state", *words)
    with ended(started):
        assert started.process.wait(PATIENCE_S) == 0, started.said
    assert "2 restored, 0 failed" in started.said
    assert len(results(archive)) == 4
    left = [each for each in psutil.process_iter(["cmdline"])
            if str(archive) in " ".join(each.info["cmdline"] or ())]  # fmt: skip
    assert left == []


@needs_signals
def test_ctrl_c_ends_it_with_the_code_that_it_has_everywhere(tmp_path: Path) -> None:
    started = client(tmp_path / "state", recorded(tmp_path / "a", 1), free_address())
    with ended(started):
        started.wait_for("stacks wait")
        started.process.send_signal(signal.SIGINT)
        assert started.process.wait(PATIENCE_S) == 130, started.said
    assert "1 waiting" in started.said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--cluster", "gpu-pc"], "no device"),
        (["--cluster", "dask://gpu-pc:8786"], "leads beyond this computer"),
        (["--cluster", "local", "-o", "out"], "one folder"),
        (["--cluster", "dask://127.0.0.1:8786", "--workers", "2"], "omit --workers"),
        (["--workers", "2"], "are for --cluster"),
        (["--cluster", "local", "--listen", "dask://127.0.0.1:1"], "is for --cluster slurm"),
    ],
)
def test_wrong_use_is_said_in_one_line(tmp_path: Path, words: list[str], says: str) -> None:
    done = run_command(tmp_path / "state", "restore", tmp_path, *words)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
