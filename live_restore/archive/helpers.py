"""A scheduler and workers for one archive, that live as long as the command that needs them."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from live_restore.errors import LiveRestoreError, one_line
from live_restore.hooks.leash import end, leashed, let_go
from live_restore.settings.model import Settings

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
# What ran this long was well: the next wait is the first again.
_WELL_S = 30.0
_WRONG_USE = 2
_STOP_S = 15.0
_TAIL_BYTES = 4000

Report = Callable[[str], None]


class Helpers(Protocol):
    """A scheduler and workers that were started for an archive."""

    address: str
    certificates: Path | None

    def tick(self) -> None:
        """Start again what has ended; called several times per second."""
        ...

    def close(self) -> None:
        """End them."""
        ...


class Child:
    """A process of ours on a leash, started again whenever it ends, after growing waits.

    Parameters
    ----------
    what
        What it is, for people.
    words
        Its command line after ``live-restore``.
    log
        Takes what it prints.
    report
        Told when it ended.
    environment
        Variables beside those of this process.
    """

    def __init__(
        self,
        what: str,
        words: Sequence[str],
        log: Path,
        report: Report,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._what, self._log, self._report = what, log, report
        self._command = leashed(words)
        self._environment = {**os.environ, **(environment or {})}
        self._wait_s, self._again_at = _FIRST_WAIT_S, 0.0
        log.parent.mkdir(parents=True, exist_ok=True)
        self._process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        self._since = time.monotonic()
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._environment,
            )

    def tick(self) -> None:
        """Start it again, if it has ended.

        Raises
        ------
        LiveRestoreError
            It cannot be used as it was started.
        """
        code = self._process.poll()
        if code is None:
            return
        now = time.monotonic()
        if code == _WRONG_USE:
            raise LiveRestoreError(f"{self._what} cannot work: {self.last_line}", self._log)
        if not self._again_at:
            if now - self._since > _WELL_S:
                self._wait_s = _FIRST_WAIT_S
            self._again_at = now + self._wait_s
            self._report(f"{self._what} ended (exit code {code}); it is started again")
            self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
        if now >= self._again_at:
            self.close()
            self._again_at = 0.0
            self._process = self._started()

    @property
    def last_line(self) -> str:
        """What it printed last."""
        with suppress(OSError), self._log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").strip().splitlines()
            return one_line(lines[-1]).removeprefix("live-restore: ") if lines else ""
        return ""

    def let_go(self) -> None:
        """Ask it to end."""
        let_go(self._process)

    def close(self) -> None:
        """End it, by force if it does not obey."""
        end(self._process, _STOP_S)


class LocalHelpers:
    """A scheduler and workers on this computer.

    Parameters
    ----------
    settings
        All settings: a worker for each of their devices by turns.
    flags
        Of the command line, for every worker: which settings, which model.
    count
        How many workers; 0: as many as devices.
    logs
        Folder for what they print.
    report
        Told what a person should know.
    """

    certificates: Path | None = None

    def __init__(
        self, settings: Settings, flags: Sequence[str], count: int, logs: Path, report: Report
    ) -> None:
        self.address = f"dask://127.0.0.1:{free_port('127.0.0.1')}"
        self._children = [
            Child("the scheduler", ("scheduler", "--listen", self.address),
                  logs / "scheduler.log", report)
        ]  # fmt: skip
        devices = settings.inference.devices
        count = count or len(devices)
        threads = settings.inference.threads
        if not threads and count > len(devices):  # several share the cores of one computer
            threads = max(1, (os.cpu_count() or 1) // count)
        environment = {"LIVE_RESTORE_INFERENCE__THREADS": str(threads)}
        for number in range(count):
            device = ("--device", devices[number % len(devices)])
            self._children.append(
                Child(f"worker {number + 1}",
                      ("worker", "--scheduler", self.address, *flags, *device),
                      logs / f"worker-{number + 1}.log", report, environment)
            )  # fmt: skip

    def tick(self) -> None:
        """Start again what has ended; raises ``LiveRestoreError``."""
        for child in self._children:
            child.tick()

    def close(self) -> None:
        """End them, the workers first."""
        for child in self._children[1:]:
            child.let_go()
        for child in reversed(self._children):
            child.close()


def free_port(host: str) -> int:
    """Return a port of ``host`` that nobody listens at just now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
