"""The supervisor with real processes: it starts again what ends, and stops what it started."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from live_restore.errors import LiveRestoreError
from live_restore.hooks import leash
from live_restore.service import supervisor
from live_restore.service.definition import Service
from live_restore.service.log import opened_log, service_log
from live_restore.service.supervisor import ask_to_end, is_supervised, supervise
from tests.page.runs import small_model, spots, write_file
from tests.support.processes import PATIENCE_S, run_command, stop, wait_for
from tests.support.systems import posix

LEASHED = "import os\nwhile os.read(0, 9): pass"


def keep_running(
    tmp_path: Path, code: str, until: str, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Keep a program running until a line is in the log; return the log."""
    monkeypatch.setattr(supervisor, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(supervisor, "_LOOK_S", 0.02)
    service = Service(tmp_path)
    path, log = service_log(service), opened_log(service)
    enough = threading.Event()
    thread = threading.Thread(
        target=supervisor._keep_running,
        args=([sys.executable, "-c", code], enough.is_set, log),
    )
    thread.start()
    try:
        wait_for(lambda: until in path.read_text(encoding="utf-8"), until, 10)
    finally:
        enough.set()
        thread.join()
        log.close()
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
    log = service_log(service).read_text(encoding="utf-8")
    assert "watch ended by itself, code -9 (" in log
    assert "); it is started again in 5 s" in log
    assert "watch stopped as asked, code 0" in log


def with_systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a ``systemctl`` that notes what it is asked before others; return its notes.

    In a container there is no user manager; ``test_systemd.py`` asks a real one where there is.
    """
    asked, tools = tmp_path / "asked", tmp_path / "bin"
    tools.mkdir()
    (tools / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    (tools / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return asked


@posix
def test_install_status_and_remove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state_folder: Path
) -> None:
    asked = with_systemctl(tmp_path, monkeypatch)
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
    assert f"{watched}: watched from now on, and after every log-on" in done.stdout
    assert f'to end it: live-restore service remove "{watched}"' in done.stdout
    (told,) = json.loads(run_command(tmp_path / "j", "service", "status", "--json").stdout)
    assert (told["name"], told["running"]) == (name, False)
    link = tmp_path / "link"
    link.symlink_to(watched)
    stopped = run_command(tmp_path / "j", "service", "stop", link)
    assert f"{watched}: not watched any more until" in stopped.stdout, stopped.stderr
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
        (["run"], "no settings file names one in [[watch]]"),
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


def test_one_process_at_a_time_keeps_a_service_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state_folder: Path
) -> None:
    monkeypatch.setattr(supervisor, "_LOOK_S", 0.02)
    service = Service(tmp_path / "data")
    stop = threading.Event()
    monkeypatch.setattr(supervisor, "stopping_on_signals", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(supervisor, "_keep_running", lambda *_: stop.wait(PATIENCE_S))
    first = threading.Thread(target=supervise, args=(service, [service]))
    first.start()
    try:
        wait_for(lambda: is_supervised(service), "the first supervisor", 10)
        with pytest.raises(LiveRestoreError, match=r"runs already; see it with"):
            supervise(service, [service])
    finally:
        stop.set()
        first.join()
    assert not is_supervised(service)


def test_it_ends_in_peace_without_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state_folder: Path
) -> None:
    """As ``service stop`` asks for on Windows."""
    monkeypatch.setattr(supervisor, "_LOOK_S", 0.02)
    monkeypatch.setattr(leash, "PYTHON", (sys.executable, "-c", LEASHED))
    monkeypatch.setattr(supervisor, "stopping_on_signals", lambda _: contextlib.nullcontext())
    service = Service(tmp_path / "data")
    thread = threading.Thread(target=supervise, args=(service, [service]))
    thread.start()
    wait_for(lambda: is_supervised(service) and "process" in read_log(service), "its start", 10)
    ask_to_end(service)
    thread.join(10)
    assert "watch stopped as asked, code 0" in read_log(service)
    assert list(service_log(service).parent.glob("*.stop")) == []


def read_log(service: Service) -> str:
    return service_log(service).read_text(encoding="utf-8")


def settings_of(*folders: Path, more: str = "") -> str:
    entries = "".join(f"[[watch]]\nfolder = '{folder}'\n" for folder in folders)
    return f"{more}\n{entries}"


@pytest.mark.skipif(os.name != "posix", reason="its process is asked by a signal here")
@pytest.mark.parametrize(
    "words", [["watch"], pytest.param(["service", "run"], marks=pytest.mark.slow)]
)
def test_all_folders_of_the_settings_are_watched_side_by_side(
    tmp_path: Path, state_folder: Path, words: list[str]
) -> None:
    """Each restores with its own settings, and one that is not there keeps no other from it."""
    model, away = small_model(tmp_path), tmp_path / "away"
    folders = [tmp_path / "cells", tmp_path / "screens"]
    for number, folder in enumerate(folders):
        folder.mkdir()
        write_file(folder / "a.ome.tif", spots(number))
    config = tmp_path / "config.toml"
    common = f"models = [{{ model = '{model}' }}]\n[inference]\ndevice = 'cpu'"
    own = "[watch.output]\ntemplate = '{folder}/sharp/{name}.ome.tif'"
    config.write_text(settings_of(*folders, more=common) + own + settings_of(away))
    command = [sys.executable, "-m", "live_restore", *words, "--config", str(config)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        wait_for((folders[0] / "restored" / "a.json").exists, "a result", 60)
        wait_for((folders[1] / "sharp" / "a.json").exists, "one by its own settings", 60)
        listed = run_command(tmp_path / "j", "status", "--config", config)
        code, said = stop(process)
    finally:
        process.kill()
        process.communicate()
    assert code == 0
    logs = [service_log(Service(each)).read_text("utf-8") for each in (*folders, away)]
    assert ["watch stopped as asked, code 0" in log for log in logs[:2]] == [True, True]
    for folder in folders:
        ended = json.loads(run_command(state_folder, "status", folder, "--json").stdout)["ended"]
        assert ended == "the program that started it has ended, or asked it to stop"
    assert "does not exist" in logs[2]
    assert (f"{away}: watch ended by itself, code 2 (" in said) is (words == ["watch"])
    assert f"{away}: not being watched, and it is not there" in listed.stdout


def test_all_once_in_turn(tmp_path: Path, state_folder: Path) -> None:
    model, folders = small_model(tmp_path), [tmp_path / "cells", tmp_path / "screens"]
    for number, folder in enumerate(folders):
        folder.mkdir()
        write_file(folder / "a.ome.tif", spots(number))
    (folders[0] / "bad.tif").write_bytes(b"no TIFF at all " * 100)
    config = tmp_path / "config.toml"
    config.write_text(settings_of(*folders))
    flags = ("--config", config, "--device", "cpu", "--model", model)
    state = tmp_path / "j"
    done = run_command(state, "watch", "--once", *flags)
    assert done.returncode == 1, "one failed, and the other folder was restored all the same"
    said = [line for line in done.stderr.splitlines() if line.startswith("live-restore: ")]
    named = [said.index(f"live-restore: {folder}") for folder in folders]
    summaries = [number for number, line in enumerate(said) if "1 restored, " in line]
    assert sorted([*named, *summaries]) == [named[0], summaries[0], named[1], summaries[1]], said
    assert all((folder / "restored" / "a.json").exists() for folder in folders)
    told = json.loads(run_command(state, "status", "--json", "--config", config).stdout)
    assert [each["folder"] for each in told["folders"]] == [str(each) for each in folders]
    assert [each["counts"]["done"] for each in told["folders"]] == [1, 1]
    assert [each["counts"]["failed"] for each in told["folders"]] == [1, 0]
    assert [each["watched"] for each in told["folders"]] == [False, False]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["watch"], "no settings file names one in [[watch]]; name the folder"),
        (["status"], "no settings file names one in [[watch]]; name the folder"),
        (["page"], "no settings file names one in [[watch]]; name the folder"),
        (["service", "install"], "no settings file names one in [[watch]]; name the folder"),
        (["service", "stop"], "there is no service of all folders"),
        (["service", "install", "--", "--device", "cpu"], "name the folder before --"),
        (["watch", "--config", "two.toml", "--page"], "--page shows one folder"),
        (["watch", "--config", "two.toml", "--retry-failed"], "are for one folder, or for --once"),
        (["page", "--config", "two.toml"], "several folders are watched: "),
        (["status", "--config", "two.toml", "--html", "a.html"], "--html shows one folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_without_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    (tmp_path / "two.toml").write_text(settings_of(Path("a"), Path("b")))
    monkeypatch.chdir(tmp_path)
    done = run_command(tmp_path / "j", *words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert said in done.stderr


@posix
def test_one_service_of_all_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state_folder: Path
) -> None:
    asked = with_systemctl(tmp_path, monkeypatch)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    config = tmp_path / "two.toml"
    config.write_text(settings_of(Path("a"), Path("b")))
    done = run_command(tmp_path / "j", "service", "install", "--config", config)
    assert done.returncode == 0, done.stderr
    unit = tmp_path / "config" / "systemd" / "user" / "live-restore-all.service"
    assert f'"service" "run" "--config" "{config}"' in unit.read_text(encoding="utf-8")
    assert "--user start live-restore-all.service" in asked.read_text()
    (told,) = json.loads(run_command(tmp_path / "j", "service", "status", "--json").stdout)
    assert (told["name"], told["folder"]) == ("live-restore-all", None)
    assert [each["folder"] for each in told["folders"]] == [str(tmp_path / n) for n in "ab"]
    config.write_text("[[watch]]\n")
    (told,) = json.loads(run_command(tmp_path / "j", "service", "status", "--json").stdout)
    assert "watch.0.folder is missing" in told["problem"]
    assert run_command(tmp_path / "j", "service", "remove").returncode == 0
    assert not unit.exists()
