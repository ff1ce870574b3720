"""A service under a real systemd of a user, with a real journal, in namespaces of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from live_restore.files.user_folders import STATE_VARIABLE
from live_restore.service.definition import Service
from live_restore.service.log import service_log
from tests.page.runs import small_model, spots, write_file
from tests.support.processes import wait_for

_SYSTEMD = Path("/usr/lib/systemd")
_TOOLS = ("unshare", "nsenter", "dbus-daemon", "systemctl", "journalctl")
# /run is where systemd looks whether it is in charge, and where its journal and its sockets are.
_SESSION = f"""
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/systemd/journal /run/log/journal "$XDG_RUNTIME_DIR"
{_SYSTEMD}/systemd-journald &
dbus-daemon --session --address="$DBUS_SESSION_BUS_ADDRESS" --fork --nopidfile
{_SYSTEMD}/systemd --user &
read -r _
kill $!
wait $!
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root has namespaces of mounts"
    ),
    pytest.mark.skipif(
        not all(map(shutil.which, _TOOLS)) or not (_SYSTEMD / "systemd-journald").exists(),
        reason=f"needs systemd and {', '.join(_TOOLS)}",
    ),
]


class UserManager:
    """The systemd of a user, and its journal.

    Parameters
    ----------
    home
        Of that user.
    """

    def __init__(self, home: Path) -> None:
        runtime = "/run/user/0"
        self._variables = {
            **os.environ, "HOME": str(home), "XDG_RUNTIME_DIR": runtime,
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus",
        }  # fmt: skip
        self._variables.pop("XDG_CONFIG_HOME", None)
        home.mkdir()
        with (home / "session.log").open("wb") as log:
            self._session = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child",
                 "bash", "-c", _SESSION],
                env=self._variables, stdin=subprocess.PIPE, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            wait_for(self._is_running, "a systemd of this user", 20)
        except AssertionError:
            self.end()
            pytest.skip(f"no systemd here: {(home / 'session.log').read_text()[-300:]}")

    def _is_running(self) -> bool:
        return self.run("systemctl", "--user", "is-system-running").stdout.strip() == "running"

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command beside it."""
        children = psutil.Process(self._session.pid).children()
        inside = (
            ["nsenter", "--mount", "--pid", "--target", str(children[0].pid)] if children else []
        )
        return subprocess.run(
            [*inside, *map(str, command)],
            env=self._variables, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def live_restore(self, *words: str | Path) -> str:
        """Run a command line of this program that succeeds; return what it prints."""
        done = self.run(sys.executable, "-m", "live_restore", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def entries(self) -> list[tuple[str, str]]:
        """Return priority and text of what the journal has of this program."""
        told = self.run("journalctl", "-t", "live-restore", "-o", "json", "--no-pager").stdout
        lines = [json.loads(line) for line in told.splitlines()]
        return [(line["PRIORITY"], line["MESSAGE"]) for line in lines]

    def end(self) -> None:
        """End it and all that it started."""
        assert self._session.stdin is not None
        with suppress(OSError):
            self._session.stdin.close()
        try:
            self._session.wait(20)
        except subprocess.TimeoutExpired:
            self._session.kill()
            self._session.wait()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[UserManager]:
    """Return a systemd that runs until the test is over."""
    manager = UserManager(tmp_path / "home")
    yield manager
    manager.end()


def test_a_service_from_its_installation_to_its_removal(
    manager: UserManager, tmp_path: Path, state_folder: Path
) -> None:
    assert os.environ[STATE_VARIABLE] == str(state_folder)
    watched, model = tmp_path / "meine Daten, 50 %", small_model(tmp_path)
    watched.mkdir()
    write_file(watched / "a.ome.tif", spots(1))
    name = Service(watched).name
    units = tmp_path / "home" / ".config" / "systemd" / "user"
    unit, quick = units / f"{name}.service", units / f"{name}.service.d" / "quick.conf"
    quick.parent.mkdir(parents=True)
    quick.write_text("[Service]\nRestartSec=1\n")  # for what is 30 s
    manager.live_restore("service", "install", watched, "--", "--device", "cpu", "--model", model)
    wait_for((watched / "restored" / "a.json").exists, "the first result", 60)
    assert f"{watched}: running" in manager.live_restore("service", "status")

    (supervisor,) = re.findall(
        r"MainPID=(\d+)", manager.run("systemctl", "--user", "show", "-p", "MainPID", name).stdout
    )
    manager.run("kill", "-9", supervisor)
    write_file(watched / "b.ome.tif", spots(2))
    wait_for((watched / "restored" / "b.json").exists, "a result after the kill", 90)

    manager.live_restore("service", "stop", watched)
    assert "not running" in manager.live_restore("service", "status")
    log = service_log(Service(watched)).read_text(encoding="utf-8")
    assert "watch stopped as asked, code 0" in log
    assert unit.exists()
    manager.live_restore("service", "remove", watched)
    assert not unit.exists()
    notices = [text.rpartition(": ")[2] for priority, text in manager.entries() if priority == "5"]
    assert [re.sub(r"\d+", "N", text) for text in notices] == [
        "service started, process N", "service started, process N", "service stopped",
    ]  # fmt: skip


def test_a_crash_of_the_watch_is_an_error_in_the_journal(
    manager: UserManager, tmp_path: Path
) -> None:
    watched = tmp_path / "data"
    watched.mkdir()
    manager.live_restore("service", "install", watched)
    watched.rmdir()
    manager.live_restore("service", "stop", watched)
    manager.live_restore("service", "start", watched)
    wait_for(lambda: any(priority == "3" for priority, _ in manager.entries()), "an error", 60)
    (text,) = [text for priority, text in manager.entries() if priority == "3"][:1]
    assert text.startswith(f"{watched}: watch ended by itself, code 2 (live-restore: {watched}: ")
    assert text.endswith("it is started again in 5 s")
