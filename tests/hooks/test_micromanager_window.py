"""Micro-Manager's window: the real client against a double of the server, and the watchdog."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile

from live_restore.hooks.account import Account
from live_restore.hooks.child import Restorations
from live_restore.hooks.micromanager_window import BridgeCommand, WindowWatch, bridge_command
from tests.support.micromanager import Microscope, Server, Store, serving
from tests.support.systems import needs_packages

needs_packages("pycromanager", reason="pip install 'live-restore[micromanager]'")

PATIENCE_S = 60.0
LONG_AGO = 1e9


class Window:
    """A watch whose restoring children only write down that they were called, and with what."""

    def __init__(
        self,
        folder: Path,
        port: int,
        silence_s: float = 15.0,
        command: BridgeCommand = bridge_command,
        since: float | None = None,
    ) -> None:
        self.said: list[str] = []
        self.accounts: dict[Path, Account] = {}
        self.calls = folder / "calls.txt"
        self.calls.touch()
        self.restorations = Restorations([], folder / "log.txt", self._command)
        self.watch = WindowWatch(
            port, self.restorations, folder / "unsaved", self.said.append,
            account=lambda path: self.accounts.get(path, Account(1)),
            since=time.time() if since is None else since, silence_s=silence_s, command=command,
        )  # fmt: skip

    def _command(self, path: Path, _options: Sequence[str], *, once: bool) -> list[str]:
        code = (
            "import sys, os\n"
            "open(sys.argv[1], 'a').write(f'{sys.argv[2]} {sys.argv[3]}\\n')\n"
            "if sys.argv[3] == 'live': os.read(0, 1)\n"
        )
        kind = "once" if once else "live"
        return [sys.executable, "-c", code, str(self.calls), str(path), kind]

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"waited for {what}; said: {self.said}"
            began = time.monotonic()
            self.watch.step()
            assert time.monotonic() - began < 5.0, "a step waited for somebody"
            time.sleep(0.02)

    def until_called(self, path: str | Path, kind: str) -> None:
        self.until(
            lambda: f"{path} {kind}" in self.calls.read_text().splitlines(), f"{kind} {path}"
        )

    def until_said(self, what: str) -> None:
        self.until(lambda: any(what in line for line in self.said), what)


@contextmanager
def window(
    folder: Path,
    server: Server | int,
    silence_s: float = 15.0,
    command: BridgeCommand = bridge_command,
    since: float | None = None,
) -> Iterator[Window]:
    port = server if isinstance(server, int) else server.port
    opened = Window(folder, port, silence_s, command, since)
    try:
        yield opened
    finally:
        opened.watch.stop()
        opened.watch.run()


def test_a_saved_run_is_followed_live_and_finished(tmp_path: Path) -> None:
    microscope = Microscope()
    with serving(microscope) as server, window(tmp_path, server) as opened:
        opened.until_said("connected")
        store = Store("/data/run_1")
        microscope.store = store.java
        opened.until_called("/data/run_1", "live")
        microscope.store = None  # Micro-Manager forgets it before it is frozen
        for _ in range(20):
            opened.watch.step()
            time.sleep(0.02)
        assert "once" not in opened.calls.read_text(), "ended before it was frozen"
        store.frozen = True
        opened.until_called("/data/run_1", "once")
        opened.until(lambda: not opened.restorations.busy, "the end")
        (outcome,) = opened.restorations.outcomes()
        assert outcome.done
        assert not outcome.failed
        assert server.held < 10, "objects are not given back"


def test_a_run_shorter_than_a_poll_is_found_in_its_viewer(tmp_path: Path) -> None:
    microscope = Microscope()
    old, short = (
        Store("/data/old", started=LONG_AGO),
        Store("/data/short", started=time.time() + 60),
    )
    old.frozen = short.frozen = True
    microscope.viewed = [old.java]
    with serving(microscope) as server, window(tmp_path, server) as opened:
        opened.until_said("connected")
        microscope.viewed.append(short.java)
        opened.until_called("/data/short", "once")
        assert "/data/old" not in opened.calls.read_text(), "a run of before was restored"


def test_an_unsaved_run_is_pulled_until_it_is_aborted(tmp_path: Path) -> None:
    microscope = Microscope()
    store = Store(None, sizes=(2, 1, 2, 3))
    rng = np.random.default_rng(1)
    with serving(microscope) as server, window(tmp_path, server) as opened:
        opened.until_said("connected")
        microscope.store = store.java
        for t, c, z in [
            (0, 0, 0),
            (0, 0, 1),
            (0, 0, 2),
            (0, 1, 0),
            (0, 1, 1),
            (0, 1, 2),
            (1, 0, 0),
        ]:
            store.planes[t, 0, c, z] = rng.integers(1, 900, (5, 7)).astype(np.uint16)
        folder = tmp_path / "unsaved"
        opened.until(lambda: len(list(folder.rglob("*.ome.tif"))) == 2, "both whole stacks")
        assert not store.frozen
        store.planes[1, 0, 0, 1] = np.full((5, 7), 3, np.uint16)
        store.frozen, microscope.store = True, None  # aborted in the third stack
        opened.until_said("not restored: 1 incomplete stack(s)")
        (run,) = folder.iterdir()
        opened.until_called(run, "once")
    stacks = sorted(run.iterdir())
    assert [path.name for path in stacks] == ["p000_t0000_c00.ome.tif", "p000_t0000_c01.ome.tif"]
    with tifffile.TiffFile(stacks[1]) as tif:
        expected = np.stack([store.planes[0, 0, 1, z] for z in range(3)])
        assert np.array_equal(tif.asarray(), expected)
        assert 'PhysicalSizeZ="0.5"' in (tif.ome_metadata or "")
        assert 'Name="FITC"' in (tif.ome_metadata or "")


def test_a_server_that_dies_and_comes_back(tmp_path: Path) -> None:
    microscope = Microscope()
    store = Store("/data/run_1")
    with serving(microscope) as server, window(tmp_path, server, silence_s=4.0) as opened:
        opened.until_said("connected")
        microscope.store = store.java
        opened.until_called("/data/run_1", "live")
        server.close()
        opened.until_said("it was closed, or has died")
        opened.until_called("/data/run_1", "once")  # what is there is restored all the same
        opened.until_said("no connection to Micro-Manager")
        before = opened.calls.read_text().count("live")
        with serving(microscope, server.port):
            opened.until(lambda: opened.calls.read_text().count("live") > before, "the run again")
            store.frozen = True
            opened.until(lambda: not opened.restorations.busy, "the end")


def test_a_server_that_hangs_is_left_and_found_again(tmp_path: Path) -> None:
    microscope = Microscope()
    store = Store("/data/run_1")
    with serving(microscope) as server, window(tmp_path, server, silence_s=4.0) as opened:
        opened.until_said("connected")
        microscope.store = store.java
        opened.until_called("/data/run_1", "live")
        server.hang.set()
        opened.until_said("does not respond")
        opened.until_called("/data/run_1", "once")
        before = opened.calls.read_text().count("live")
        server.hang.clear()
        opened.until(lambda: opened.calls.read_text().count("live") > before, "the run again")


def test_what_a_library_prints_is_not_taken_for_news(tmp_path: Path) -> None:
    lines = ["Hello", "3", "{}", '{"say": "note", "what": "news"}']
    code = f"for line in {lines}: print(line, flush=True)"
    with window(tmp_path, 1, command=lambda *_: [sys.executable, "-c", code]) as opened:
        opened.until_said("news")


def test_a_process_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live_restore.hooks.micromanager_window._RETRY_S", (0.0,))
    commands = iter([["/no/such/program"]])

    def command(*_: object) -> Sequence[str]:
        return next(commands, [sys.executable, "-c", 'print(\'{"say": "connected"}\')'])

    with window(tmp_path, 1, command=command) as opened:
        opened.until_said("no process can be started (No such file or directory); trying again")
        opened.until_said("connected to Micro-Manager on port 1")


def test_a_disk_that_refuses_unsaved_planes_is_no_lost_connection(tmp_path: Path) -> None:
    microscope = Microscope()
    store = Store(None, sizes=(1, 1, 1, 3))
    store.planes[0, 0, 0, 0] = np.ones((5, 7), np.uint16)
    (tmp_path / "unsaved").write_text("a file, where the folder should be")
    with serving(microscope) as server, window(tmp_path, server) as opened:
        opened.until_said("connected")
        microscope.store = store.java
        opened.until_said("this acquisition is not restored: save it to disk instead")
        store.frozen, microscope.store = True, Store("/data/run_1").java
        opened.until_called("/data/run_1", "live")
        assert sum("connect" in line for line in opened.said) == 1


def test_a_child_that_waits_for_the_microscope_is_heard(tmp_path: Path) -> None:
    with window(tmp_path, 1) as opened, (tmp_path / "log.txt").open("a") as log:
        log.write("12:00:00 [info] waiting for the micro")
        log.flush()
        opened.watch.step()
        log.write("scope reason=...\n12:00:01 [info] restored\n")
        log.flush()
        opened.until_said("waiting for the microscope: stacks are restored in its pauses")


def test_nobody_there(tmp_path: Path) -> None:
    with window(tmp_path, 1) as opened:
        opened.until_said("no connection to Micro-Manager on port 1")
