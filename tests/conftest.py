"""What all tests share."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from live_restore.files.user_folders import STATE_VARIABLE
from live_restore.settings.layers import FILE_VARIABLES
from tests.support.nursery import nursery_pids
from tests.support.watched import Scene

_SHARED = "LIVE_RESTORE_SHARED"
_LEAK_PATIENCE_S = 10.0
_passed = pytest.StashKey[bool]()

# Hundreds of processes start from the same sources: without compiled ones, each compiles them anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_xdist_auto_num_workers() -> int:
    """Return how many tests run side by side: one more than cores, since many of them wait."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real stacks; tests that need it are skipped where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get(_SHARED, default))
    if not folder.is_dir():
        pytest.skip(f"no real stacks in {folder} ({_SHARED} names the folder)")
    return folder


@pytest.fixture(scope="session")
def zarr(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """zarr-python, whose threads the guard below then knows."""
    from tests.support.zarrs import warmed_up

    return warmed_up(tmp_path_factory.mktemp("zarr"))


@pytest.fixture(autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads the settings or writes the journals of the person who runs it."""
    folder = tmp_path_factory.mktemp("state")
    for name in list(os.environ):
        if name.startswith("LIVE_RESTORE_") and name != _SHARED:
            monkeypatch.delenv(name)
    # Windows looks up the user's folders without the environment, child processes too.
    monkeypatch.setenv(STATE_VARIABLE, str(folder))
    for name in FILE_VARIABLES:
        monkeypatch.setenv(name, str(folder / "config.toml"))
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    """Remember whether the test itself passed, for the guard below."""
    report = yield
    if report.when == "call":
        item.stash[_passed] = report.passed
    return report


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a passing test that leaves a thread or a child process alive."""
    threads, processes = set(threading.enumerate()), set(psutil.pids())
    yield
    if not request.node.stash.get(_passed, False):
        return
    deadline = time.monotonic() + _LEAK_PATIENCE_S
    while left := leaked(threads, processes):
        if time.monotonic() > deadline:
            pytest.fail(f"left alive: {', '.join(left)}")
        time.sleep(0.02)


def leaked(threads: set[threading.Thread], processes: set[int]) -> list[str]:
    """Return the names of threads and child processes that were not there before.

    Of processes, only those that are new are looked at: to look at each of a computer before and
    after every test would take a tenth of the time of all tests.
    """
    alive = [t.name for t in threading.enumerate() if t not in threads]
    for pid in set(psutil.pids()) - processes - nursery_pids():
        try:
            process = psutil.Process(pid)
            if process.ppid() == os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(f"process {pid}")
        except psutil.NoSuchProcess:
            continue
    return alive


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Return a watched folder with its journal."""
    root = tmp_path / "watched"
    root.mkdir()
    made = Scene(root, tmp_path / "state" / "j.sqlite")
    yield made
    made.journal.close()
