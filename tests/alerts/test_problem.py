"""That alerts reach nobody is on the screen and in ``status``, once."""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path

import pytest

from live_restore.alerts import senders
from live_restore.alerts.problem import AlertProblem
from live_restore.alerts.senders import CommandSender
from live_restore.alerts.watch import AlertWatch
from live_restore.errors import LiveRestoreError
from live_restore.journal.journal import Journal
from live_restore.journal.location import journal_path
from live_restore.journal.states import State
from live_restore.overview.run import Run
from live_restore.settings.alerts import AlertSettings
from live_restore.stack import Fingerprint
from tests.support.keys import key_at
from tests.support.models import write_model
from tests.support.processes import run_command, status, stop, wait_for, watching
from tests.support.systems import WINDOWS

BROKEN = {
    "not found": (["/no/such/program"], "failed (" if WINDOWS else "No such file"),
    "exit code": ([sys.executable, "-c", "exit('broken horn')"], "exit code 1: broken horn"),
    "hangs": ([sys.executable, "-c", "import time; time.sleep(60)"], "did not end within 0.3 s"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_command_that_fails_is_kept_until_one_works(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(senders, "_COMMAND_S", 0.3 if kind == "hangs" else 20.0)
    monkeypatch.setattr("live_restore.alerts.watch._AGAIN_S", 0.0)
    command, why = BROKEN[kind]
    root, file = tmp_path / "run", tmp_path / "j.sqlite"
    root.mkdir()
    with Journal(file, root) as journal:
        journal.record(key_at("a.tif"), Fingerprint(1, 1), State.FAILED, "damaged; copy it again")
        sender = CommandSender(command)
        problem = AlertProblem(file)
        watch = AlertWatch(
            Run(root, file), AlertSettings(disk_free_gb=0), [sender], AlertProblem(file)
        )
        watch.look(afresh=True)
        told = problem.new()
        assert told.startswith("nobody can be told: ")
        assert why in told
        assert "\n" not in told
        watch.look(afresh=True)
        assert problem.new() == "", "told twice"
        assert problem.read() == told
        monkeypatch.setattr(senders, "_COMMAND_S", 20.0)
        sender._command = (sys.executable, "-c", "pass")
        watch.look(afresh=True)
        assert problem.read() == ""


def test_who_complains_without_end_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders, "_COMMAND_S", 1.0)
    code = "import os\nwhile True: os.write(2, b'no ' * 30000)"
    tracemalloc.start()
    with pytest.raises(LiveRestoreError, match="did not end"):
        CommandSender((sys.executable, "-c", code)).send("title", "text")
    assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    tracemalloc.stop()


def test_it_is_on_the_screen_and_in_status(tmp_path: Path) -> None:
    root, config = tmp_path / "run", tmp_path / "config.toml"
    root.mkdir()
    (root / "broken.tif").write_bytes(b"no TIFF at all " * 100)
    model = write_model(tmp_path / "tanh.onnx", operator="Tanh")
    config.write_text(
        '[alerts]\ncommand = ["/no/such/program"]\ndisk_free_gb = 0\n[inference]\ndevice = "cpu"\n'
        f'[[models]]\nmodel = "{model.as_posix()}"\n'
    )
    journal = journal_path(root, tmp_path)
    AlertProblem(journal).path.write_text("of an earlier run")
    with watching(tmp_path, root, "--plain", "--config", str(config)) as daemon:
        wait_for(journal.exists, "its journal")
        wait_for(lambda: "/no/such/program" in status(tmp_path, root)["alerts"], "the news")
        said = run_command(tmp_path, "status", root).stdout
        assert said.startswith(
            "nobody can be told: /no/such/program: the command of alerts.command"
        )
        _, log = stop(daemon)
    assert log.count("nobody can be told") == 1
    assert "earlier run" not in log
