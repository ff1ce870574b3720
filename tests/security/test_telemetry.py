"""Nothing reports to anybody: no process of ours talks to a network, or leaves a device id."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
