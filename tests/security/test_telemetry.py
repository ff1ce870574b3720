"""Nothing reports to anybody: no process of ours talks to a network, or leaves a device id."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from live_restore.files.user_folders import STATE_VARIABLE
from tests.support.processes import wait_for
from tests.support.watched import stack

RESTORE = [sys.executable, "-m", "live_restore", "restore", "--device", "cpu"]


def environment(home: Path) -> dict[str, str]:
    """Return that of a person who has set nothing, with a home of its own."""
    kept = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    folders = {name: str(home) for name in ("HOME", "USERPROFILE", "LOCALAPPDATA")}
    return {**kept, **folders, "XDG_CACHE_HOME": str(home / ".cache")}


def test_the_runtime_leaves_no_device_id(tmp_path: Path) -> None:
    """Broken build seen to fail: ``backends/__init__.py`` without the variable."""
    home = tmp_path / "home"
    home.mkdir()
    raw = stack(tmp_path / "cell.tif")
    done = subprocess.run(
        [*RESTORE, str(raw)], env=environment(home), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    left = [path for path in home.rglob("*") if path.is_file()]
    assert [path for path in left if "live-restore" not in str(path)] == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_no_socket_beyond_this_computer(tmp_path: Path) -> None:
    raw = stack(tmp_path / "cell.tif")
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-qq", "-e", "trace=connect,sendto", "-o", str(trace)]
    done = subprocess.run(
        [*command, *RESTORE, str(raw)],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    if "ptrace" in done.stderr and not trace.exists():
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    calls = trace.read_text(encoding="utf-8", errors="replace").splitlines()
    # A socket alone goes nowhere: libuuid opens one to read the network card's address.
    assert [call for call in calls if re.search(r"(connect|sendto)\(.*AF_INET", call)] == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_nor_of_a_daemon_and_what_runs_beside_it(tmp_path: Path) -> None:
    """A supervised watch with its page: four processes, of which one listens to this computer."""
    watched, trace, home = tmp_path / "data", tmp_path / "trace", tmp_path / "home"
    watched.mkdir()
    home.mkdir()
    stack(watched / "cell.tif")
    service = ["service", "run", str(watched), "--", "--device", "cpu", "--page", "127.0.0.1:0"]
    command = ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,bind", "-o", str(trace)]
    process = subprocess.Popen(
        [*command, sys.executable, "-m", "live_restore", *service],
        env={**environment(home), STATE_VARIABLE: str(tmp_path / "state")},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        try:
            wait_for((watched / "restored" / "cell.json").exists, "the result", 60)
            wait_for(lambda: "bind(" in trace.read_text("utf-8", "replace"), "the page", 60)
        finally:
            for child in psutil.Process(process.pid).children():
                child.terminate()
            _, said = process.communicate(timeout=60)
    except AssertionError:
        if "ptrace" in said:
            pytest.skip("strace may not trace here")
        raise
    calls = trace.read_text(encoding="utf-8", errors="replace").splitlines()
    network = [call for call in calls if "AF_INET" in call]
    assert network, "the page listens"
    assert [call for call in network if 'inet_addr("127.0.0.1")' not in call] == []
    assert [path for path in home.rglob("*") if path.is_file()] == []
