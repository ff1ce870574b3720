"""Starts, stops and crashes in the operating system's own log."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from live_restore.service.definition import Service
from live_restore.service.log import opened_log, service_log
from live_restore.service.system_log import Happening, report
from tests.support.systems import posix

REPORT = (
    "from live_restore.service.system_log import Happening, report; "
    "print([report(each, 'what\\nhappened') for each in Happening])"
)


@posix
@pytest.mark.parametrize("read", [True, False])
def test_systemd_gets_priorities_where_it_reads(tmp_path: Path, read: bool) -> None:
    """As systemd.exec(5) has it: the device and number of what the journal reads."""
    path = tmp_path / "stderr"
    with path.open("wb") as file:
        about = os.fstat(file.fileno())
        stream = f"{about.st_dev}:{about.st_ino if read else about.st_ino + 1}"
        done = subprocess.run(
            [sys.executable, "-c", REPORT], stdout=subprocess.PIPE, stderr=file, text=True,
            env={**os.environ, "JOURNAL_STREAM": stream}, check=True,
        )  # fmt: skip
    assert done.stdout == "['', '', '']\n"
    lines = ["<5>what\\nhappened", "<5>what\\nhappened", "<3>what\\nhappened"]
    assert path.read_text().splitlines() == (lines if read else [])


@pytest.mark.skipif(sys.platform != "win32", reason="the event log of Windows")
def test_windows_takes_events_from_whoever_is_no_administrator() -> None:
    assert [report(each, "a test of live-restore") for each in Happening] == ["", "", ""]


def test_what_the_system_refuses_stands_in_the_log_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live_restore.service.log.report", lambda *_: "it is full")
    service = Service(tmp_path)
    with opened_log(service) as log:
        log.event(Happening.CRASH, "watch ended")
    lines = service_log(service).read_text(encoding="utf-8").splitlines()
    assert [line.split(" ", 3)[3] for line in lines] == [
        "watch ended", "the system's log takes no entries (it is full)",
    ]  # fmt: skip
