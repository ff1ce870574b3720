"""The window is closed, the user logs off, the computer shuts down: the daemon stops by itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.page.runs import spots, write_file
from tests.support.console_events import ConsoleEvent, send
from tests.support.processes import PATIENCE_S, wait_for, watching

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="events of the console of Windows")


@pytest.mark.parametrize("event", [ConsoleEvent.CLOSE, ConsoleEvent.LOGOFF, ConsoleEvent.SHUTDOWN])
def test_the_daemon_stops_before_windows_ends_it(tmp_path: Path, event: ConsoleEvent) -> None:
    watched, state = tmp_path / "data", tmp_path / "state"
    watched.mkdir()
    write_file(watched / "a.ome.tif", spots(1))
    with watching(state, watched, "--plain", "--device", "cpu") as daemon:
        wait_for((watched / "restored" / "a.json").exists, "the first result")
        send(daemon.pid, event)
        _, log = daemon.communicate(timeout=PATIENCE_S)
    assert "stopping" in log
    # Windows ends a process whose handler returns with 0xC000013A.
    assert daemon.returncode == 0
