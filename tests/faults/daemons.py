"""Daemons under test, each a process of its own, with faults inside.

:meth:`Nursery.start` forks one (``tests/support/nursery.py``); ``exec_daemon`` starts a daemon as
people do.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.models import write_model
from tests.support.nursery import nursery
from tests.support.processes import PATIENCE_S, environment, wait_for


@dataclass
class Place:
    """A folder to watch and everything that belongs to it, under one temporary folder."""

    base: Path
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = self.base / "data"
        self.state = self.base / "state"
        self.control = self.base / "faults.json"
        self.record = self.base / "steps.txt"
        self.log = self.base / "daemon.log"
        self.config = self.base / "config.toml"
        self.model = self.base / "tiny.onnx"
        self.root.mkdir(exist_ok=True)
        self.state.mkdir(exist_ok=True)
        # One operator that makes of every voxel another one.
        write_model(self.model, operator="Sigmoid")
        self.configure()

    def configure(self, **sections: dict[str, Any]) -> None:
        """Write the configuration; quick, so that tests are."""
        tree: dict[str, dict[str, Any]] = {
            "inference": {"device": "cpu", "threads": 1},
            "watch": {"settle_s": 0.1, "quiet_s": 0.5, "stall_s": 30.0, "scan_interval_s": 0.3},
            "journal": {"retry_s": 0.2},
        }
        for part in (self.settings, sections):
            for section, values in part.items():
                tree.setdefault(section, {}).update(values)
        lines = [f'[[models]]\nmodel = "{self.model.as_posix()}"']
        for section, values in tree.items():
            lines.append(f"[{section}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        self.config.write_text("\n".join(lines))

    def break_(self, *rules: dict[str, Any], **also: Any) -> None:
        """Let faults happen from now on; with nothing, none."""
        aside = self.control.with_suffix(".new")
        aside.write_text(json.dumps({"rules": list(rules), **also}))
        aside.replace(self.control)

    def told(self) -> str:
        """Return all that daemons have written to the terminal here."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    @property
    def arguments(self) -> list[str]:
        """The command line."""
        return ["watch", str(self.root), "--plain", "--config", str(self.config)]


class DaemonProcess:
    """A running daemon; ``poll`` returns its exit code, negative where a signal ended it."""

    def __init__(self, pid: int, poll: Callable[[], int | None]) -> None:
        self.pid = pid
        self.poll = poll

    def wait(self, patience_s: float = PATIENCE_S) -> int:
        """Wait for its end; return the exit code."""
        wait_for(lambda: self.poll() is not None, "the daemon to end", patience_s)
        code = self.poll()
        assert code is not None
        return code

    def kill(self) -> None:
        """Kill it at once."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """Ask it to stop; return the exit code."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
        return self.wait()


def exec_daemon(place: Place, *flags: str) -> DaemonProcess:
    """Start a daemon as people do, without any fault inside."""
    with place.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "live_restore", *place.arguments, *flags],
            env=environment(place.state), stdout=log, stderr=log,
        )  # fmt: skip
    return DaemonProcess(process.pid, process.poll)


class Nursery:
    """Starts daemons that suffer faults, and kills those that a test leaves."""

    def __init__(self) -> None:
        self._running: list[DaemonProcess] = []

    def start(self, place: Place, *flags: str, record: bool = False) -> DaemonProcess:
        """Start a daemon that suffers the faults of ``place``."""
        faults = {
            "control": str(place.control),
            "record": str(place.record) if record else None,
            "root": str(place.root),
        }
        process = nursery().start(
            [*place.arguments, *flags],
            {**os.environ, "LIVE_RESTORE_JOURNAL__FOLDER": str(place.state)},
            log=place.log,
            prepare=("tests.faults.injection:install_from", faults),
        )
        daemon = DaemonProcess(process.pid, process.poll)
        self._running.append(daemon)
        return daemon

    def end_all(self) -> None:
        """Kill every daemon that still runs."""
        for daemon in self._running:
            daemon.kill()
        self._running.clear()
