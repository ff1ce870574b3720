"""What a person switches, restarts and closes in Micro-Manager; facts of the real window (2.0.3).

With the real client against the double of the server, which does as the real one was seen to do.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.hooks.test_micromanager_window import LONG_AGO, Window
from tests.hooks.test_micromanager_window import window as any_window
from tests.support.micromanager import Microscope, Server, Store, serving

QUICK = """
import sys
from pathlib import Path
from live_restore.hooks import micromanager_bridge as bridge
bridge._POLL_S, bridge._VIEWERS_S = 0.02, 0.1
bridge.main(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
"""


def quick_bridge(port: int, folder: Path, since: float, unsaved_since: float) -> list[str]:
    """Return the command of a bridge that looks at engine and windows more often."""
    arguments = map(str, (port, folder, since, unsaved_since))
    return [sys.executable, "-P", "-c", QUICK, *arguments]


window = partial(any_window, command=quick_bridge)

both_engines = pytest.mark.parametrize("new_engine", [False, True], ids=["default", "AcqEngJ"])


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost connection is tried again soon."""
    monkeypatch.setattr("live_restore.hooks.micromanager_window._RETRY_S", (0.2,))


def look_for(opened: Window, seconds: float) -> None:
    until = time.monotonic() + seconds
    opened.until(lambda: time.monotonic() > until, "time to pass")


def until_looked(opened: Window, server: Server) -> None:
    """Wait until the bridge has looked at engine and viewers twice more."""
    for method in ("getAcquisitionDatastore", "getAllDataViewers"):
        before = server.asked.get(method, 0)
        opened.until(lambda m=method, b=before: server.asked.get(m, 0) >= b + 2, "a look")


def calls(opened: Window, path: str) -> list[str]:
    lines = opened.calls.read_text().splitlines()
    return [line.rsplit(" ", 1)[1] for line in lines if line.startswith(f"{path} ")]


@both_engines
def test_an_engine_chosen_while_connected_is_seen(tmp_path: Path, new_engine: bool) -> None:
    microscope = Microscope()
    microscope.new_engine = not new_engine
    with serving(microscope) as server, window(tmp_path, server) as opened:
        opened.until_said("connected")
        until_looked(opened, server)
        microscope.new_engine = new_engine
        run = Store("/data/run_1")
        microscope.store = run.java  # no window shows it: the engine alone tells
        opened.until_called("/data/run_1", "live")
        microscope.finish(run)
        opened.until_called("/data/run_1", "once")


def test_a_run_shorter_than_a_look_is_found_while_the_store_of_another_stays(
    tmp_path: Path,
) -> None:
    """The default engine's store stays set, frozen, until its next run."""
    microscope = Microscope()
    with serving(microscope) as server, window(tmp_path, server) as opened:
        opened.until_said("connected")
        first, short = Store("/data/run_1"), Store("/data/run_2")
        microscope.record(first)
        opened.until_called("/data/run_1", "live")
        microscope.finish(first)
        opened.until_called("/data/run_1", "once")
        short.frozen = True
        microscope.viewed.append(short.java)
        opened.until_called("/data/run_2", "once")
        assert calls(opened, "/data/run_1") == ["live", "once"], "a store that stays is no new run"


def test_a_path_that_is_used_again_is_another_run(tmp_path: Path) -> None:
    microscope = Microscope()
    with serving(microscope) as server, window(tmp_path, server) as opened:
        opened.until_said("connected")
        for count in (1, 2):
            run = Store("/data/run_1", started=time.time() + count)
            microscope.record(run)
            opened.until(lambda n=count: calls(opened, "/data/run_1").count("live") == n, "it")
            microscope.finish(run)
            opened.until(lambda n=count: calls(opened, "/data/run_1").count("once") == n, "it")


@both_engines
def test_a_run_that_nobody_saw_is_restored_and_one_of_before_is_not(
    tmp_path: Path, new_engine: bool
) -> None:
    """Taken after Micro-Manager's restart, before the connection; by one rule for both engines."""
    microscope = Microscope()
    microscope.new_engine = new_engine
    with serving(Microscope()) as server, window(tmp_path, server) as opened:
        opened.until_said("connected")
        server.close()
        opened.until_said("no connection")
        for path, started in (("/data/old", LONG_AGO), ("/data/meanwhile", time.time())):
            run = Store(path, started=started)
            microscope.record(run)
            microscope.finish(run)
        with serving(microscope, server.port) as again:
            opened.until_called("/data/meanwhile", "once")
            until_looked(opened, again)
            opened.until(lambda: not opened.restorations.busy, "the end")
            assert calls(opened, "/data/old") == []
            assert calls(opened, "/data/meanwhile") == ["once"]
        opened.until(lambda: sum("no connection" in line for line in opened.said) > 1, "its end")
        with serving(microscope, server.port) as again:  # a third bridge finds it once more
            opened.until(lambda: sum("connected to" in line for line in opened.said) == 3, "it")
            until_looked(opened, again)
            assert calls(opened, "/data/meanwhile") == ["once"], "what is done was done again"


@both_engines
def test_runs_of_before_are_restored_on_request(tmp_path: Path, new_engine: bool) -> None:
    microscope = Microscope()
    microscope.new_engine = new_engine
    old = Store("/data/old", started=LONG_AGO)
    microscope.record(old)
    microscope.finish(old)
    with serving(microscope) as server, window(tmp_path, server, since=0.0) as opened:
        opened.until_called("/data/old", "once")


def test_a_run_counts_by_when_its_last_image_was_written(tmp_path: Path) -> None:
    """Begun before the daemon, ended after; closing a window later writes settings, no image."""
    microscope = Microscope()
    before, across = tmp_path / "before", tmp_path / "across"
    for folder, image in ((before, "notes.txt"), (across, "across_MMStack_Pos0.ome.tif")):
        folder.mkdir()
        (folder / image).touch()
        (folder / "DisplaySettings.json").touch()
        run = Store(str(folder), started=LONG_AGO)
        microscope.record(run)
        microscope.finish(run)
    since = time.time() - 60
    with serving(microscope) as server, window(tmp_path, server, since=since) as opened:
        opened.until_called(across, "once")
        until_looked(opened, server)
        assert calls(opened, str(before)) == []


def test_the_death_of_the_server_is_noticed_at_once(tmp_path: Path) -> None:
    """ZMQ tells its client nothing; a plain connection beside it does."""
    microscope = Microscope()
    with serving(microscope) as server, window(tmp_path, server) as opened:
        opened.until_said("connected")
        microscope.record(Store("/data/run_1"))
        opened.until_called("/data/run_1", "live")
        server.close()
        died = time.monotonic()
        opened.until_called("/data/run_1", "once")
        opened.until_said("it was closed, or has died")
        assert time.monotonic() - died < 8.0, "as long as silence takes to be noticed, or nearly"


def test_a_server_that_closes_the_plain_connection_is_not_dead(tmp_path: Path) -> None:
    microscope = Microscope()
    with serving(microscope) as server, window(tmp_path, server) as opened:
        opened.until_said("connected")
        look_for(opened, 1.8)  # three times the server's patience
        microscope.record(Store("/data/run_1"))
        opened.until_called("/data/run_1", "live")
        assert not any("closed" in line for line in opened.said)


def test_exit_in_the_middle_of_a_run(tmp_path: Path) -> None:
    """File > Exit asks whether to abort, answers nothing meanwhile, and then the process is gone.

    The data set is closed properly in between, before anybody looks again.
    """
    microscope = Microscope()
    with serving(microscope) as server, window(tmp_path, server) as opened:
        opened.until_said("connected")
        run = Store("/data/run_1")
        microscope.record(run)
        opened.until_called("/data/run_1", "live")
        server.hang.set()
        look_for(opened, 0.5)
        microscope.finish(run)
        server.close()
        opened.until_called("/data/run_1", "once")
        opened.until_said("it was closed, or has died")
        with serving(Microscope(), server.port):
            opened.until(lambda: sum("connected to" in line for line in opened.said) == 2, "it")
            opened.until(lambda: not opened.restorations.busy, "the end")


def test_an_unsaved_run_in_a_store_that_stays_is_pulled_once(tmp_path: Path) -> None:
    microscope = Microscope()
    store = Store(None, sizes=(1, 1, 2, 2), started=time.time() + 60)
    for c, z in ((0, 0), (0, 1), (1, 0)):  # of the second channel one plane
        store.planes[0, 0, c, z] = np.full((5, 7), 9, np.uint16)
    with serving(microscope) as server, window(tmp_path, server) as opened:
        opened.until_said("connected")
        microscope.store = store.java
        microscope.finish(store)  # shorter than a look
        opened.until_said('not restored: channel 1 "FITC": a single plane')
        (run,) = (tmp_path / "unsaved").iterdir()
        assert [path.name for path in run.iterdir()] == ["p000_t0000_c00.ome.tif"]
        server.close()
        opened.until_said("no connection")
        with serving(microscope, server.port) as again:
            opened.until(lambda: sum("connected to" in line for line in opened.said) == 2, "it")
            until_looked(opened, again)
        assert len(list((tmp_path / "unsaved").iterdir())) == 1


def test_a_data_set_that_somebody_left_open_hides_no_run(tmp_path: Path) -> None:
    microscope = Microscope()
    microscope.viewed.append(Store("/data/by_a_script", started=LONG_AGO).java)
    with serving(microscope) as server, window(tmp_path, server) as opened:
        opened.until_said("connected")
        until_looked(opened, server)
        run = Store("/data/run_1")
        microscope.record(run)
        opened.until_called("/data/run_1", "live")
        microscope.finish(run)
        opened.until_called("/data/run_1", "once")
        assert calls(opened, "/data/by_a_script") == []
