"""The supervisor with real processes: it starts again what ends, and stops what it started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path

import psutil
import pytest

from live_restore.service import supervisor
from live_restore.service.definition import Service
from live_restore.service.supervisor import ServiceLog, log_path
from tests.page.runs import small_model, spots, write_file
from tests.support.processes import run_command, stop, wait_for
from tests.support.systems import posix

LEASHED = "import os\nwhile os.read(0, 9): pass"


def keep_running(
    tmp_path: Path, code: str, until: str, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Keep a program running until a line is in the log; return the log."""
    monkeypatch.setattr(supervisor, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(supervisor, "_LOOK_S", 0.02)
    path = tmp_path / "service.log"
    handler = RotatingFileHandler(path, encoding="utf-8")
    enough = threading.Event()
    thread = threading.Thread(
        target=supervisor._keep_running,
        args=([sys.executable, "-c", code], enough.is_set, ServiceLog(handler)),
    )
    thread.start()
    try:
        wait_for(lambda: until in path.read_text(encoding="utf-8"), until, 10)
    finally:
        enough.set()
        thread.join()
        handler.close()
    return path.read_text(encoding="utf-8").splitlines()


def test_what_ends_is_started_again_and_what_it_said_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = keep_running(
        tmp_path, "print('no drive'); raise SystemExit(2)", "again in 0.04 s", monkeypatch
    )
    assert sum("watch: no drive" in line for line in lines) >= 3
    assert [line.rpartition("again in ")[2] for line in lines if "again in" in line][:3] == [
        "0.01 s", "0.02 s", "0.04 s",
    ]  # fmt: skip
    assert "service stopped" in lines[-1]
    zone = time.strftime("%z")
    assert all(line.split()[2] == zone for line in lines)


def test_a_stop_lets_go_of_the_leash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = keep_running(tmp_path, LEASHED, "watch started", monkeypatch)
    assert "watch stopped as asked, code 0" in lines[-2]


def test_what_does_not_listen_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_STOP_S", 0.2)
    lines = keep_running(tmp_path, "import time; time.sleep(99)", "watch started", monkeypatch)
    assert "did not stop within" in lines[-3]


@pytest.mark.skipif(os.name != "posix", reason="its process is asked by a signal here")
def test_a_whole_service_survives_a_crash_and_stops(tmp_path: Path, state_folder: Path) -> None:
    watched, model = tmp_path / "data", small_model(tmp_path)
    watched.mkdir()
    write_file(watched / "a.ome.tif", spots(1))
    options = ("--device", "cpu", "--model", str(model))
    service = Service(watched, options)
    process = subprocess.Popen(service.command(Path(sys.executable)), text=True)
    try:
        wait_for((watched / "restored" / "a.json").exists, "the first result", 60)
        (child,) = psutil.Process(process.pid).children()
        child.kill()
        write_file(watched / "b.ome.tif", spots(2))
        wait_for((watched / "restored" / "b.json").exists, "a result after the crash", 60)
        assert stop(process)[0] == 0
    finally:
        process.kill()
        process.wait()
    log = log_path(service).read_text(encoding="utf-8")
    assert "watch ended by itself, code -9; it is started again in 5 s" in log
    assert "watch stopped as asked, code 0" in log


@posix
def test_install_status_and_remove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state_folder: Path
) -> None:
    """With a ``systemctl`` that notes what it is asked: there is no user manager in a container."""
    asked, tools = tmp_path / "asked", tmp_path / "bin"
    tools.mkdir()
    (tools / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    (tools / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    watched = tmp_path / "my data"
    watched.mkdir()
    (tmp_path / "c.toml").write_text("[watch]\nstall_s = 1\n")
    monkeypatch.chdir(tmp_path)
    done = run_command(tmp_path / "j", "service", "install", watched, "--", "--config", "c.toml")
    assert done.returncode == 0, done.stderr
    name = Service(watched).name
    unit = tmp_path / "config" / "systemd" / "user" / f"{name}.service"
    text = unit.read_text(encoding="utf-8")
    assert f'"{watched}" "--" "--config" "{tmp_path / "c.toml"}"' in text
    assert asked.read_text().splitlines() == [
        "--user daemon-reload",
        f"--user enable {name}.service",
        f"--user start {name}.service",
    ]
    (told,) = json.loads(run_command(tmp_path / "j", "service", "status", "--json").stdout)
    assert (told["name"], told["running"]) == (name, False)
    assert run_command(tmp_path / "j", "service", "remove", watched).returncode == 0
    assert not unit.exists()
    assert json.loads(run_command(tmp_path / "j", "service", "status", "--json").stdout) == []
    again = run_command(tmp_path / "j", "service", "stop", watched)
    assert again.returncode == 2
    assert "has no service; install one" in again.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["install", "--", "--onec"], "unrecognized"),
        (["install", "--", "--once"], "omit --once"),
        (["install", "--", "--config", "absent.toml"], "cannot be read"),
        (["run"], ""),
    ],
)
def test_a_mistake_is_reported_when_it_is_installed(
    tmp_path: Path, words: list[str], said: str
) -> None:
    action, *options = words
    folder = [] if action == "run" else [str(tmp_path)]
    done = run_command(tmp_path / "j", "service", action, *folder, *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
