"""Scripts as people write them: no mistake of theirs costs an image, and each is said."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from live_restore import LiveRestore
from live_restore.errors import ModelError, OutputError, SettingsError, UsageError
from live_restore.formats.script_plan import PlanReader, ScriptPlan
from live_restore.hooks import child as restoring
from live_restore.hooks import session
from live_restore.hooks.child import fresh_log, restoring_command
from tests.support.systems import WINDOWS

PATIENCE_S = 30.0


class Dataset:
    """What pycromanager hands to a callback."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = f"{folder}{os.sep}"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Runs and whether they were over, of every child that was started; they do nothing."""
    calls: list[tuple[str, bool]] = []

    def command(path: Path, _options: object, *, once: bool) -> list[str]:
        calls.append((path.name, once))
        return [sys.executable, "-c", "" if once else "import os; os.read(0, 1)"]

    monkeypatch.setattr(restoring, "restoring_command", command)
    return calls


def wait_until_started(calls: list[tuple[str, bool]], what: tuple[str, bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while what not in calls:
        assert time.monotonic() < deadline, calls
        time.sleep(0.01)


EVENTS = [{"axes": {"time": 0, "z": z}} for z in range(3)]


def test_what_is_wrong_with_the_settings_is_said_before_anything_is_recorded(
    tmp_path: Path,
) -> None:
    with pytest.raises(SettingsError, match=r"missing\.toml"):
        LiveRestore(tmp_path / "missing.toml")
    config = tmp_path / "config.toml"
    config.write_text('[[models]]\nmodel = "no_such.onnx"\n')
    with pytest.raises(ModelError, match=r"no_such\.onnx: is neither a file nor a bundled"):
        LiveRestore(config)


@pytest.mark.parametrize("mistake", [SystemExit(3), KeyboardInterrupt(), ValueError("x")])
@pytest.mark.parametrize("closed", [False, True])
def test_nothing_leaves_a_callback(
    mistake: BaseException, closed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pycromanager's run would never end."""

    def own(axes: dict[str, Any], dataset: object) -> None:
        raise mistake

    if closed:
        with open(os.devnull, "w") as stream:  # noqa: PTH123 - no path on Windows
            monkeypatch.setattr(sys, "stderr", stream)
    callback = LiveRestore().beside(own)
    for _ in range(3):
        callback({"z": 0}, object())


def with_one(axes: object) -> None:
    """Take too little."""


def with_four(axes: object, dataset: object, event_queue: object, more: object) -> None:
    """Take too much."""


@pytest.mark.parametrize("own", [with_one, with_four])
def test_a_callback_that_cannot_be_called(own: Any) -> None:
    with pytest.raises(UsageError, match="give it two parameters"):
        LiveRestore().beside(own)


def test_a_callback_that_takes_anything_is_called_with_two() -> None:
    taken: list[tuple[object, ...]] = []
    LiveRestore().beside(lambda *values: taken.append(values))({"z": 0}, "data set")
    assert taken == [({"z": 0}, "data set")]


def test_before_and_after_the_block_nothing_happens(
    tmp_path: Path, started: list[tuple[str, bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    live = LiveRestore()
    live.image_saved_fn({}, Dataset(tmp_path / "early"))
    assert live.expect(EVENTS) is EVENTS
    with pytest.raises(UsageError, match="follow inside `with LiveRestore"):
        live.follow(None)
    with live:
        pass
    live.image_saved_fn({}, Dataset(tmp_path / "late"))
    assert started == []
    assert "not inside a block `with LiveRestore()`" in capsys.readouterr().err


def test_one_session_for_one_block_after_the_other(
    tmp_path: Path, started: list[tuple[str, bool]]
) -> None:
    live = LiveRestore()
    for name in ("run_1", "run_2"):
        with live:
            with pytest.raises(UsageError, match="is in use"):
                live.__enter__()
            live.expect(EVENTS)
            live.image_saved_fn({}, Dataset(tmp_path / name))
        assert [outcome.path.name for outcome in live.outcomes] == [name]
        plan = PlanReader(tmp_path / name).read()
        assert plan is not None
        assert plan.stacks() == 1
    assert [name for name, once in started if once] == ["run_1", "run_2"]


def test_images_of_two_runs_in_turns(tmp_path: Path, started: list[tuple[str, bool]]) -> None:
    runs = [Dataset(tmp_path / "run_1"), Dataset(tmp_path / "run_2")]
    with LiveRestore() as live:
        for n in range(1001):
            live.image_saved_fn({}, runs[n % 2])
        wait_until_started(started, ("run_2", False))
        assert ("run_1", True) not in started, "taken for over"
    # In the order in which they began: the last image has begun no run anew.
    assert [outcome.path.name for outcome in live.outcomes] == ["run_1", "run_2"]
    assert sum(once for _, once in started) == 2


def test_a_plan_that_cannot_be_written_is_said_and_stacks_are_restored(
    tmp_path: Path, started: list[tuple[str, bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run_1_restored").write_text("a file, where the results should be")
    with LiveRestore() as live:
        live.expect(EVENTS)
        live.image_saved_fn({}, Dataset(tmp_path / "run_1"))
        wait_until_started(started, ("run_1", False))
    assert "plan.jsonl: cannot be written" in capsys.readouterr().err
    assert started[-1] == ("run_1", True)


def test_a_disk_that_refuses_for_a_moment_costs_no_plan(
    tmp_path: Path, started: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from live_restore.formats import script_plan as run_plan

    right, refused = run_plan.extend_plan, threading.Event()

    def refusing(dataset: Path, z_of: Any) -> None:
        monkeypatch.setattr(run_plan, "extend_plan", right)
        refused.set()
        raise OutputError("has no space left", dataset)

    monkeypatch.setattr(run_plan, "extend_plan", refusing)
    with LiveRestore() as live:
        live.expect(EVENTS)
        live.image_saved_fn({}, Dataset(tmp_path / "run_1"))
        assert refused.wait(PATIENCE_S)
    plan = PlanReader(tmp_path / "run_1").read()
    assert isinstance(plan, ScriptPlan)
    assert plan.stacks() == 1


def test_ctrl_c_at_the_end_names_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(restoring, "_STOP_S", 0.1)
    monkeypatch.setattr(
        restoring,
        "restoring_command",
        lambda *_, **__: [sys.executable, "-c", "import time; time.sleep(1000)"],
    )
    monkeypatch.setattr(restoring.Restorations, "finish", interrupted)
    live = LiveRestore(finish_s=None)
    with pytest.raises(KeyboardInterrupt), live:
        live.image_saved_fn({}, Dataset(tmp_path / "run_1"))
    left = f"restore the rest with: live-restore watch {tmp_path / 'run_1'} --once"
    assert left in capsys.readouterr().err
    assert not live.outcomes[0].done


def interrupted(self: restoring.Restorations, *_: object) -> None:
    """Be interrupted while waiting."""
    self.abandon()
    raise KeyboardInterrupt


def test_an_error_in_the_block_is_the_scripts_and_ctrl_c_begins_nothing(
    tmp_path: Path, started: list[tuple[str, bool]]
) -> None:
    def block(error: type[BaseException]) -> None:
        with LiveRestore() as live:
            live.image_saved_fn({}, Dataset(tmp_path / "run_1"))
            wait_until_started(started, ("run_1", False))
            raise error

    with pytest.raises(RuntimeError):
        block(RuntimeError)
    assert ("run_1", True) in started
    started.clear()
    with pytest.raises(KeyboardInterrupt):
        block(KeyboardInterrupt)
    assert ("run_1", True) not in started


def test_events_that_raise_are_the_scripts_and_settle_nothing(
    tmp_path: Path, started: list[tuple[str, bool]]
) -> None:
    def events() -> Iterator[dict[str, Any]]:
        yield from EVENTS[:2]
        raise RuntimeError("a mistake in the script's own events")

    with LiveRestore() as live:
        live.image_saved_fn({}, Dataset(tmp_path / "run_1"))
        with pytest.raises(RuntimeError, match="a mistake in the script"):
            list(live.expect(events()))
    assert PlanReader(tmp_path / "run_1").read() is None


def test_a_callback_costs_less_than_a_millisecond_whatever_is_stuck_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk that hangs: the thread behind it is left where it is."""
    release = threading.Event()
    monkeypatch.setattr(session, "_THREAD_S", 0.1)
    monkeypatch.setattr(session.PlannedStacks, "write", lambda *_: release.wait() and None)
    runs = [Dataset(tmp_path / f"run_{n}") for n in range(5)]
    costs = []
    with LiveRestore() as live:
        for n in range(5000):
            began = time.thread_time()
            live.image_saved_fn({"time": n, "z": 0}, runs[n * 5 // 5000])
            costs.append(time.thread_time() - began)
    release.set()
    assert live._restorations is not None
    live._restorations.abandon()  # the thread that was left behind may have started a child
    if WINDOWS:  # its clock ticks every 10 to 16 ms
        assert sum(costs) / len(costs) < 0.001
    else:
        assert sorted(costs)[-10] < 0.001, "and not the garbage collection of a large process alone"
    assert "a disk or network does not respond" in capsys.readouterr().err


def test_children_take_no_modules_from_the_folder_that_the_script_runs_in(tmp_path: Path) -> None:
    (tmp_path / "argparse.py").write_text("raise SystemExit('not that one')")
    command = restoring_command(tmp_path, ["--help"], once=True)
    assert command is not None
    with subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert "usage: live-restore watch" in child.stdout.read()
        assert child.wait(PATIENCE_S) == 0


def test_logs_of_sessions_are_kept_for_a_while(state_folder: Path) -> None:
    folder = fresh_log().parent
    assert state_folder in folder.parents
    folder.mkdir(parents=True)
    for n in range(30):
        (folder / f"20260101-0000{n:02}-1-1.log").touch()
    assert fresh_log() != fresh_log()
    assert sorted(path.name for path in folder.iterdir()) == [
        f"20260101-0000{n:02}-1-1.log" for n in range(10, 30)
    ]
