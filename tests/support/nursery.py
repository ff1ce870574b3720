"""Commands of ours in processes that are forked, not started: a second of imports each is saved.

The nursery is a process that has imported everything and does nothing. Every command is a child
that it forks, which then is what ``python -m live_restore`` would be: its own process, environment,
streams and signals. What is about the start of an interpreter itself is not tested so; a few tests
of each command start real ones (``run_command(..., real=True)``).
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CAN_FORK = hasattr(os, "fork")


class ForkedProcess:
    """A command that the nursery forked; as much of ``subprocess.Popen`` as tests need."""

    def __init__(self, nursery: Nursery, pid: int, stdout: Path, stderr: Path) -> None:
        self._nursery = nursery
        self.pid = pid
        self._stdout, self._stderr = stdout, stderr
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, negative where a signal ended it; ``None`` while it runs."""
        if self.returncode is None:
            self.returncode = self._nursery.ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit code."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(["live-restore"], timeout or 0.0)
            time.sleep(0.005)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end and return what it wrote."""
        self.wait(timeout)
        return self._read(self._stdout), self._read(self._stderr)

    def _read(self, path: Path) -> str:
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it at once."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """Forks commands; one per test process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.nursery"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        self._folder = tempfile.TemporaryDirectory(prefix="nursery-")
        self._count = 0
        self._lock = threading.Lock()
        assert self.ask({"ready": True}) == 0

    @property
    def pid(self) -> int:
        """Of the nursery itself."""
        return self._process.pid

    def ask(self, order: Mapping[str, Any]) -> int | None:
        """Give an order and return the answer; from any thread."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
        return None if answer is None else int(answer)

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        log: Path | None = None,
        prepare: tuple[str, Mapping[str, Any]] | None = None,
        preload: Sequence[str] = (),
    ) -> ForkedProcess:
        """Start a command.

        Parameters
        ----------
        arguments
            Of ``live-restore``.
        environment
            All of it.
        log
            Where both streams go; ``None``: to a file each.
        prepare
            A function (``"module:name"``) that the child calls first, with these arguments.
        preload
            Modules that the nursery imports before it forks, if it has not yet.
        """
        self._count += 1
        folder = Path(self._folder.name)
        stdout = log or folder / f"{self._count}.out"
        stderr = log or folder / f"{self._count}.err"
        order = {
            "arguments": list(map(os.fspath, arguments)),
            "environment": dict(environment),
            "folder": os.fspath(Path.cwd()),
            "stdout": str(stdout),
            "stderr": str(stderr),
            "prepare": prepare,
            "preload": list(preload),
        }
        pid = self.ask(order)
        assert pid is not None
        return ForkedProcess(self, pid, stdout, stderr)

    def close(self) -> None:
        """End the nursery; what still runs goes on without it."""
        self._process.communicate()
        self._folder.cleanup()


_of_this_process: dict[int, Nursery] = {}


def nursery() -> Nursery:
    """Return the nursery of this process; the first call takes a second."""
    found = _of_this_process.get(os.getpid())
    if found is None:
        found = _of_this_process[os.getpid()] = Nursery()
        atexit.register(found.close)
    return found


def nursery_pids() -> set[int]:
    """Return the processes that no test has left behind."""
    return {each.pid for each in _of_this_process.values()}


# In the nursery --------------------------------------------------------------------------------


def _serve() -> None:
    """Orders come in as lines of JSON, each is answered by a number or null."""
    for name in (
        "imagecodecs", "onnxruntime", "rich.live", "rich.table", "tifffile", "watchdog.observers",
        "live_restore.cli.display", "live_restore.cli.watch", "live_restore.cli.restore",
        "live_restore.cli.status", "live_restore.engine.daemon", "live_restore.engine.one_shot",
        "live_restore.hooks.micromanager_window", "live_restore.doctor.checks",
        "tests.faults.injection",
    ):  # fmt: skip
        importlib.import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        if "ready" in order:
            answer: int | None = 0
        elif "poll" in order:
            pid, status = os.waitpid(order["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            for name in order["preload"]:
                importlib.import_module(name)
            answer = os.fork()
            if answer == 0:
                os._exit(_become(order))
        print(json.dumps(answer), flush=True)


def _become(order: dict[str, Any]) -> int:
    """Be the command; return the exit code."""
    from live_restore.cli.main import main

    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    warnings.simplefilter("error", ResourceWarning)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), number)
    try:
        if order["prepare"] is not None:
            where, arguments = order["prepare"]
            module, _, function = where.partition(":")
            getattr(importlib.import_module(module), function)(**arguments)
        code = main(order["arguments"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter would
        import traceback

        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code


if __name__ == "__main__":
    _serve()
