"""Schedulers and workers as people start them, on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from live_restore.files.user_folders import STATE_VARIABLE
from live_restore.settings.layers import FILE_VARIABLES
from tests.support.nursery import CAN_FORK, ForkedProcess, nursery
from tests.support.processes import PATIENCE_S

_ODD_WORKER = "tests.support.odd_worker"
# A second of imports each, which the nursery makes once.
_PRELOADED = (
    "live_restore.archive.dispatch",
    "live_restore.cluster.scheduler",
    "live_restore.cluster.worker",
    _ODD_WORKER,
)


def free_address() -> str:
    """Return the address of a port that nobody listens at just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"dask://127.0.0.1:{probe.getsockname()[1]}"


class Started:
    """A process of ours whose lines can be waited for.

    Parameters
    ----------
    folder
        For its log, state and settings.
    words
        Its command line after ``live-restore``.
    odd
        What is wrong with it; see ``odd_worker.py``.
    """

    def __init__(self, folder: Path, *words: str, odd: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"{time.monotonic_ns()}.log"
        environment = {
            **os.environ,
            STATE_VARIABLE: str(folder / "state"),
            **dict.fromkeys(FILE_VARIABLES, str(folder / "config.toml")),
            "OMP_NUM_THREADS": "1",
        }
        self.process: subprocess.Popen[bytes] | ForkedProcess
        if CAN_FORK:
            self.process = nursery().start(
                words,
                environment,
                log=self.log,
                prepare=(f"{_ODD_WORKER}:be_odd", {"kind": odd}) if odd else None,
                preload=_PRELOADED,
            )
            return
        module = (_ODD_WORKER, odd) if odd else ("live_restore",)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *module, *words], env=environment, stdout=log, stderr=log
            )

    @property
    def said(self) -> str:
        """All that it has printed."""
        if not self.log.exists():  # not begun yet
            return ""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, words: str) -> None:
        """Wait until it has printed some words."""
        deadline = time.monotonic() + PATIENCE_S
        while words not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@contextmanager
def ended(*started: Started) -> Iterator[None]:
    """Kill processes when the block is over."""
    try:
        yield
    finally:
        for each in started:
            each.kill()


def a_scheduler(folder: Path, address: str, *flags: str) -> Started:
    """Start a scheduler, and wait until it listens."""
    started = Started(folder, "scheduler", "--listen", address, *flags)
    started.wait_for("listens at")
    return started


def a_worker(
    folder: Path, address: str, *flags: str, odd: str = "", ready: str = "restores with"
) -> Started:
    """Start a worker, and wait until it has said ``ready``; see ``odd_worker.py``."""
    started = Started(folder, "worker", "--scheduler", address, "--device", "cpu", *flags, odd=odd)
    started.wait_for(ready)
    return started
