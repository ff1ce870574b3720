"""A watching computer lets a model learn from its runs, and only while nothing waits."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from live_restore_export.adaptation.beside import BesideDaemon
from live_restore_export.onnx.export import read_card
from test_adaptation import CONFIG, exposed, write_run, write_start
from training_files import write_stack

from live_restore.cli.adapt_beside import DueRuns, due
from live_restore.hooks import leash
from live_restore.journal.entry import Entry
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.journal.view import JournalView
from live_restore.stack import Fingerprint, StackIndex, StackKey
from live_restore.workshop import adapted_model
from tests.support.processes import run_command, stop, wait_for, watching

SOME = Fingerprint(10, 1)


def entry(acquisition: str, channel: int | None = None, state: State = State.DONE) -> Entry:
    index = None if channel is None else StackIndex(0, 0, channel)
    key = StackKey(Path(acquisition), index)
    return Entry(key, state, "", SOME, 1, 0, "", 0.0, None)


def test_a_run_is_due_when_enough_of_its_stacks_are_restored() -> None:
    files = [entry(f"day/{number}.tif") for number in range(3)]
    assert due(files, 4, ()) is None
    assert due([*files, entry("day/3.tif", state=State.FAILED)], 4, ()) is None
    assert due([*files, entry("other/3.tif")], 4, ()) is None
    assert due([*files, entry("day/3.tif")], 4, ()) == (Path("day"), 0)
    assert due([*files, entry("day/3.tif")], 4, {Path("day")}) is None


def test_the_last_run_comes_first_and_its_commonest_channel_is_learnt_from() -> None:
    older = [entry("run_1", 0), entry("run_1", 0)]
    newer = [entry("run_2", 0), entry("run_2", 1), entry("run_2", 1)]
    assert due([*older, *newer], 2, ()) == (Path("run_2"), 1)
    assert due([*older, *newer, entry("run_1", 0)], 2, ()) == (Path("run_1"), 0)


def test_no_run_is_due_while_the_journal_cannot_be_read(tmp_path: Path) -> None:
    journal = tmp_path / "state" / "journal.sqlite"
    runs = DueRuns(tmp_path, journal, 1)
    assert runs.now(()) is None
    journal.parent.mkdir()
    journal.write_bytes(b"no journal")
    assert runs.now(()) is None


def test_a_run_is_due_as_soon_as_nothing_waits(journal: Journal, tmp_path: Path) -> None:
    for name in ("day/1.tif", "day/2.tif"):
        journal.record(StackKey(Path(name)), SOME, State.WAITING, stacks=1)
    first = journal.lease(30)
    assert first is not None
    journal.finish(first, State.DONE)
    runs = DueRuns(tmp_path, journal.path, 1)
    assert runs.now(()) is None
    last = journal.lease(30)
    assert last is not None
    journal.finish(last, State.DONE)
    assert runs.now(()) == (Path("day"), 0)


def test_entries_are_read_only_after_something_happened(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    entries = JournalView.entries

    def counted(view: JournalView) -> list[Entry]:
        read.append(view)
        return entries(view)

    monkeypatch.setattr(JournalView, "entries", counted)
    runs = DueRuns(tmp_path, journal.path, 2)
    tried: set[Path] = set()
    for name, due_then in (("day/1.tif", None), ("day/2.tif", (Path("day"), 0))):
        journal.record(StackKey(Path(name)), SOME, State.WAITING, stacks=1)
        leased = journal.lease(30)
        assert leased is not None
        journal.finish(leased, State.DONE)
        before = len(read)
        assert [runs.now(tried), *(runs.now(tried) for _ in range(5))] == [due_then] + [None] * 5
        journal.renew(30)  # a heartbeat is nothing new
        assert runs.now(tried) is None
        assert len(read) == before + 1
    tried.add(Path("day"))
    assert runs.now(tried) is None
    assert len(read) == 3, "another run may be due once one is tried"


def test_runs_whose_names_have_dots_do_not_share_a_model(tmp_path: Path) -> None:
    for day in ("2026.11.28", "2026.11.29"):
        (tmp_path / day).mkdir()
        assert adapted_model(tmp_path / day) == tmp_path / f"{day}_adapted.onnx"
    (tmp_path / "cell.tif").touch()
    assert adapted_model(tmp_path / "cell.tif") == tmp_path / "cell_adapted.onnx"
    top = Path(tmp_path.anchor)
    assert adapted_model(top) == top / "adapted.onnx"
    assert adapted_model(tmp_path, tmp_path) == tmp_path / f"{tmp_path.name}_adapted.onnx"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "state" / "journal.sqlite", tmp_path, recipe="one") as journal:
        yield journal


def test_it_stands_still_while_anything_waits_or_is_restored(
    journal: Journal, tmp_path: Path
) -> None:
    said: list[str] = []
    BesideDaemon(tmp_path, journal.path, 30, said.append).wait()
    journal.record(StackKey(Path("a.tif")), SOME, State.WAITING, stacks=1)
    beside = BesideDaemon(tmp_path, journal.path, 30, said.append)
    beside.progress(12, 1.26)
    waiting = threading.Thread(target=beside.wait)
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive()
    leased = journal.lease(30)
    assert leased is not None
    waiting.join(0.5)
    assert waiting.is_alive()
    journal.finish(leased, State.DONE)
    waiting.join(5)
    assert not waiting.is_alive()
    how_far = "step 12, 1.3 of 30 min"
    assert said == [
        f"learning, {how_far}",
        f"standing still while stacks are restored, {how_far}",
        f"learning, {how_far}",
    ]


def test_what_a_daemon_that_has_ended_left_waiting_keeps_nobody_from_learning(
    tmp_path: Path,
) -> None:
    with Journal(tmp_path / "state" / "journal.sqlite", tmp_path, recipe="one") as journal:
        journal.record(StackKey(Path("a.tif")), SOME, State.WAITING, stacks=1)
    beside = BesideDaemon(tmp_path, journal.path, 30, print)
    learning = threading.Thread(target=beside.wait, daemon=True)
    learning.start()
    learning.join(5)
    assert not learning.is_alive()


def test_without_a_camera_it_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "config.toml").write_text("[adapt]\nafter_stacks = 2\n")
    refused = run_command(
        tmp_path / "state", "watch", tmp_path / "in", "--config", tmp_path / "config.toml",
        "--device", "cpu",
    )  # fmt: skip
    assert refused.returncode == 2
    assert "adapt.after_stacks needs the camera" in refused.stderr


def test_it_learns_with_the_camera_of_the_folder_that_is_watched(
    journal: Journal, tmp_path: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "run_1")
    start = write_start(tmp_path / "copying.onnx")
    (tmp_path / "config.toml").write_text(
        f"[[watch]]\nfolder = '{tmp_path}'\n{CONFIG.replace('[camera]', '[watch.camera]')}"
    )
    monkeypatch.setattr(leash, "end_when_dropped", lambda: None)
    done = command(
        "adapt", "--beside", tmp_path, journal.path, "--config", tmp_path / "config.toml",
        "--model", start, "--minutes", "0.01", "--learning-rate", "0.01", tmp_path / "run_1",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert re.search(r"^learning, step 1, 0\.0 of 0\.01 min$", done.out, re.MULTILINE)


@pytest.mark.slow
def test_a_watched_run_is_learnt_from_by_itself(tmp_path: Path) -> None:
    """With the camera of that folder alone, beginning with the model of the command line."""
    run = tmp_path / "in" / "run_1"
    write_run(run)
    start = write_start(tmp_path / "copying.onnx")
    (tmp_path / "config.toml").write_text(
        "[adapt]\nafter_stacks = 4\nminutes = 0.3\n"
        f'[[watch]]\nfolder = "{run.parent.as_posix()}"\n'
        f"{CONFIG.replace('[camera]', '[watch.camera]')}"
    )
    flags = (
        "--config", str(tmp_path / "config.toml"), "--model", str(start), "--device", "cpu",
        "--plain",
    )  # fmt: skip
    with watching(tmp_path / "state", tmp_path / "in", *flags, real=True) as daemon:
        model = tmp_path / "in" / "run_1_adapted.onnx"
        wait_for(model.exists, "the model")
        assert read_card(onnx.load(model)).training["started_from"] == "copying 7"
        write_stack(run / "late.tif", exposed(9)[0])
        wait_for((run / "restored" / "late.json").exists, "what came later")
        code, log = stop(daemon)
    assert code == 0, log
