"""`live-restore watch --micromanager` as a real process: what was complete is restored anyway.

The server is a double, the client the real one; the runs are recordings of Micro-Manager's files.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.engine.test_watch_acquisitions import assert_restored, reports, volumes
from tests.support.micromanager import Microscope, Store, serving
from tests.support.models import write_model
from tests.support.processes import PATIENCE_S, environment, stop, wait_for
from tests.support.systems import needs_packages
from tests.support.traces import Recording, recording

needs_packages("pycromanager", reason="pip install 'live-restore[micromanager]'")


class Daemon:
    """The process, what it says, and a recorded run that goes on as a test asks for it."""

    def __init__(self, process: subprocess.Popen[str], root: Path, truth: Recording) -> None:
        self.process = process
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, name="daemon's stderr")
        self._reader.start()
        self.root, self.truth = root, truth
        self.folder = root / truth.folder_name
        self._steps = truth.trace.steps(root)
        self._at = 0

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.said.extend(self.process.stderr)

    def until_said(self, what: str, after: int = 0) -> int:
        """Wait for a line; return how many there are then."""
        wait_for(lambda: any(what in line for line in self.said[after:]), what)
        return len(self.said)

    def write(self, share: float) -> None:
        """Let the run go on until this share of its operations."""
        while self._at < int(share * len(self.truth)):
            next(self._steps)
            self._at += 1

    def finish_writing(self) -> None:
        """Let the run go on until its end; files are closed."""
        self._at += len(list(self._steps))

    def results(self) -> set[str]:
        """Return the labels of the stacks that are restored."""
        return reports(self.root, self.truth)

    def until_all_is_restored(self) -> None:
        """Wait for every stack that is complete by now."""
        complete = volumes(self.truth, "complete") & self.truth.complete_at(self._at)
        names = {place.label for place in complete}
        wait_for(lambda: self.results() >= names, f"{names}; said: {self.said}")

    def end(self) -> None:
        """Ask it to stop, which it does."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.terminate()
        assert self.process.wait(PATIENCE_S) == 0, self.said
        self._reader.join()
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive

    def close(self) -> None:
        """Leave nothing behind, also where the test has failed."""
        self._steps.close()
        if self.process.poll() is None:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                child.kill()
            self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextmanager
def daemon(tmp_path: Path, port: int, truth: Recording) -> Iterator[Daemon]:
    """Run it, with a model that changes nothing."""
    write_model(tmp_path / "identity.onnx")
    config = tmp_path / "config.toml"
    config.write_text('[[models]]\nmodel = "identity.onnx"\n')
    command = ["watch", "--micromanager", str(port), "--config", str(config)]
    process = subprocess.Popen(
        [sys.executable, "-m", "live_restore", *command],
        env=environment(tmp_path / "state") | {"XDG_DATA_HOME": str(tmp_path / "user")},
        stderr=subprocess.PIPE,
        text=True,
    )
    made = Daemon(process, tmp_path / "data", truth)
    try:
        yield made
    finally:
        made.close()


def assert_all_is_as_it_was(tmp_path: Path, watched: Daemon) -> None:
    """Compare pixels and the journal with the truth."""
    assert_restored(tmp_path / "state", watched.folder, watched.root, watched.truth)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["multipage_abort", "ndtiff_full"])
def test_a_run_is_restored_while_it_goes_on(tmp_path: Path, shared_data: Path, name: str) -> None:
    microscope, truth = Microscope(), recording(shared_data, name)
    with serving(microscope) as server, daemon(tmp_path, server.port, truth) as watched:
        watched.until_said("connected to Micro-Manager")
        watched.write(0.6)
        store = Store(str(watched.folder))
        microscope.store = store.java
        wait_for(lambda: bool(watched.results()), "the first result")
        watched.finish_writing()
        store.frozen, microscope.store = True, None
        watched.until_all_is_restored()
        if name == "multipage_abort":
            watched.until_said(" stack(s) done, not restored: p")
            assert not any(f"{watched.folder}: restored" in line for line in watched.said)
        else:
            watched.until_said(f"{watched.folder}: restored")
        watched.end()
        assert_all_is_as_it_was(tmp_path, watched)


@pytest.mark.slow
def test_a_run_shorter_than_a_poll_is_restored(tmp_path: Path, shared_data: Path) -> None:
    microscope, truth = Microscope(), recording(shared_data, "singleplane_full")
    with serving(microscope) as server, daemon(tmp_path, server.port, truth) as watched:
        watched.until_said("connected to Micro-Manager")
        watched.finish_writing()
        store = Store(str(watched.folder))
        store.frozen, microscope.viewed = True, [store.java]
        watched.until_all_is_restored()
        watched.until_said(f"{watched.folder}: restored")
        watched.end()
        assert_all_is_as_it_was(tmp_path, watched)


@pytest.mark.slow
@pytest.mark.parametrize("comes_back", ["running", "over", "never"])
def test_micro_manager_dies_in_the_middle(
    tmp_path: Path, shared_data: Path, comes_back: str
) -> None:
    microscope, truth = Microscope(), recording(shared_data, "multipage_full")
    with serving(microscope) as server, daemon(tmp_path, server.port, truth) as watched:
        watched.until_said("connected to Micro-Manager")
        watched.write(0.3)
        store = Store(str(watched.folder))
        microscope.store = store.java
        wait_for(lambda: bool(watched.results()), "the first result")
        server.close()
        watched.write(0.5)
        lines = watched.until_said("it was closed, or has died")
        watched.until_all_is_restored()
        if comes_back == "over":
            watched.finish_writing()
            microscope.store = None
        if comes_back != "never":
            with serving(microscope, server.port):
                watched.until_said("connected to Micro-Manager", lines)
                watched.finish_writing()
                store.frozen, microscope.store = True, None
                watched.until_all_is_restored()
        watched.end()
        # What comes after Micro-Manager died is for `live-restore watch DIR --once`.
        if comes_back != "never":
            assert_all_is_as_it_was(tmp_path, watched)


@pytest.mark.slow
def test_micro_manager_hangs_for_a_while(tmp_path: Path, shared_data: Path) -> None:
    microscope, truth = Microscope(), recording(shared_data, "multipage_noz")
    with serving(microscope) as server, daemon(tmp_path, server.port, truth) as watched:
        watched.until_said("connected to Micro-Manager")
        watched.write(0.5)
        store = Store(str(watched.folder))
        microscope.store = store.java
        wait_for(lambda: bool(watched.results()), "the first result")
        server.hang.set()
        watched.write(0.8)
        lines = watched.until_said("does not respond; trying again")
        server.hang.clear()
        watched.until_said("connected to Micro-Manager", lines)
        watched.finish_writing()
        store.frozen, microscope.store = True, None
        watched.until_all_is_restored()
        watched.until_said("done, not restored: channel 1 has no z-stack")
        watched.end()
        assert_all_is_as_it_was(tmp_path, watched)


def test_it_says_that_nobody_is_there_and_stops_when_asked(tmp_path: Path) -> None:
    done = subprocess.Popen(
        [sys.executable, "-m", "live_restore", "watch", "--micromanager", "1"],
        env=environment(tmp_path / "state"),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.stderr is not None
    first, second = done.stderr.readline(), done.stderr.readline()
    assert "waiting for acquisitions of Micro-Manager on port 1; Ctrl-C stops" in first
    assert "no connection to Micro-Manager on port 1" in second
    assert "Run server on port" in second
    code, rest = stop(done)
    assert (code, rest) == (0, "")
