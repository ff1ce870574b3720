"""Who restores what, when: real children that only tell what they were asked."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from live_restore.hooks import child as restoring
from live_restore.hooks.child import Restorations
from tests.page.runs import small_model, spots, write_file

PATIENCE_S = 30.0
LIVE = "import os; os.read(0, 1)"
DEAF = "import time; time.sleep(1000)"


class Recorded:
    """Restorations whose children run given code, and the order in which they were started."""

    def __init__(self, folder: Path, once: str = "", live: str = LIVE) -> None:
        self.started: list[tuple[str, str]] = []
        self.code = {True: once, False: live}
        self.restorations = Restorations([], folder / "log.txt", self._command)

    def _command(self, path: Path, _options: Sequence[str], *, once: bool) -> list[str]:
        self.started.append((path.name, "once" if once else "live"))
        return [sys.executable, "-c", self.code[once]]

    def step_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, self.started
            self.restorations.step()
            time.sleep(0.01)


def test_the_newest_run_comes_first_and_none_is_forgotten(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    runs = recorded.restorations
    runs.begin(Path("a"))
    recorded.step_until(lambda: recorded.started == [("a", "live")])
    runs.begin(Path("b"))
    recorded.step_until(lambda: recorded.started[-1] == ("b", "live"))
    runs.end()
    recorded.step_until(lambda: not runs.busy)
    assert recorded.started[2:] == [("b", "once"), ("a", "once")]
    assert [(o.path.name, o.done, o.failed) for o in runs.outcomes()] == [
        ("a", True, False),
        ("b", True, False),
    ]


def test_a_child_that_dies_is_tried_again_and_then_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "_RETRY_S", (0.0,))
    recorded = Recorded(tmp_path, once="import os; print('no luck', flush=True); os._exit(9)")
    recorded.restorations.begin(Path("a"))
    recorded.restorations.finish(PATIENCE_S, lambda: None)
    assert recorded.started == [("a", "once")] * 3
    (outcome,) = recorded.restorations.outcomes()
    assert outcome.failed
    assert "ended with code 9 (no luck)" in outcome.why


def test_a_wrong_setting_is_not_tried_again(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path, once="raise SystemExit(2)")
    recorded.restorations.begin(Path("a"))
    recorded.restorations.finish(PATIENCE_S, lambda: None)
    assert recorded.started == [("a", "once")]


def test_the_time_limit_ends_a_child_that_does_not_listen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "_STOP_S", 0.3)
    recorded = Recorded(tmp_path, once=DEAF)
    recorded.restorations.begin(Path("a"))
    children = set(psutil.Process().children())
    began = time.monotonic()
    recorded.restorations.finish(0.5, lambda: None)
    assert time.monotonic() - began < 5.0
    assert set(psutil.Process().children()) == children
    (outcome,) = recorded.restorations.outcomes()
    assert not outcome.done


def test_a_child_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restoring, "_RETRY_S", (0.0,))
    restorations = Restorations([], tmp_path / "log.txt", lambda *_, **__: ["/no/such/program"])
    restorations.begin(Path("a"))
    restorations.finish(PATIENCE_S, lambda: None)
    (outcome,) = restorations.outcomes()
    assert "could not be started" in outcome.why


def test_a_restorer_lets_go_when_its_leash_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, log = tmp_path / "data", tmp_path / "log.txt"
    watched.mkdir()
    write_file(watched / "a.ome.tif", spots(1))
    options = ["--device", "cpu", "--model", str(small_model(tmp_path))]
    monkeypatch.setenv("LIVE_RESTORE_JOURNAL__FOLDER", str(tmp_path / "journals"))
    recorded = Recorded(tmp_path)
    recorded.restorations = Restorations(options, log)  # the real command
    recorded.restorations.begin(watched)
    # Until it is at work, a request ends it at once: there is nothing to give back yet.
    recorded.step_until((watched / "restored" / "a.json").exists)
    # Python's own helper of spawned processes may live beside it.
    (child,) = (c for c in psutil.Process().children() if "watch" in c.cmdline())
    if os.name == "posix":
        assert child.nice() == 19, "as low as it goes, below what it gives way to by itself"
    recorded.restorations.abandon()
    assert not child.is_running()
    assert "stopping" in log.read_text(), "it was killed instead of asked"
