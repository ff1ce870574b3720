"""Task Scheduler takes the tasks: that of Wine, which reads them, keeps them and starts none."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from live_restore.service.definition import Service, task_xml
from tests.support.processes import run_command
from tests.support.systems import WINE

pytestmark = pytest.mark.skipif(
    not WINE, reason="of Wine: nobody wants tasks of tests in their own Task Scheduler"
)


def created(path: Path, text: str, name: str) -> bool:
    """Return whether a task is taken; it is removed again."""
    path.write_text(text, encoding="utf-16")
    command = ["schtasks", "/Create", "/F", "/TN", name, "/XML", str(path)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    if done.returncode == 0:
        subprocess.run(["schtasks", "/Delete", "/F", "/TN", name], timeout=60, check=True)
    return done.returncode == 0


@pytest.mark.parametrize("system", [False, True])
def test_a_task_is_taken_and_a_broken_one_is_not(tmp_path: Path, system: bool) -> None:
    service = Service(Path("C:/ärger & <co> 50% $(Arg0)"), ("--config", "C:/a b.toml"))
    text = task_xml(service, Path("C:/live restore/pythonw.exe"), "PC\\müller", system=system)
    assert created(tmp_path / "good.xml", text, service.name)
    assert not created(tmp_path / "bad.xml", text.replace("<Settings>", "<Setings>"), service.name)


def test_a_service_is_installed_and_removed(tmp_path: Path, state_folder: Path) -> None:
    watched = tmp_path / "my data"
    watched.mkdir()
    done = run_command(tmp_path / "j", "service", "install", watched)
    assert done.returncode == 0, done.stderr
    assert f"{watched}: watched from now on, and after every log-on" in done.stdout
    (told,) = json.loads(run_command(tmp_path / "j", "service", "status", "--json").stdout)
    assert (told["folder"], told["running"]) == (str(watched), False)
    removed = run_command(tmp_path / "j", "service", "remove", watched)
    assert removed.returncode == 0, removed.stderr
    assert [p.suffix for p in (state_folder / "services").iterdir()] == []
