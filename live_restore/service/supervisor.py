"""Keeps ``watch`` running: starts it, restarts it after growing waits, writes a log of its own.

::

    start ──> running ──(ends)──> wait 5 s, 10 s ... 5 min ──> start
                 └──(stop asked)──> leash dropped ──> the stack in hand is finished ──> stopped

Every end but the one that was asked for is a reason to start again, wrong settings too: the drive
of the folder may not be there yet after a reboot.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

from live_restore.engine.signals import stopping_on_signals
from live_restore.errors import LiveRestoreError, one_line
from live_restore.files.user_folders import state_folder
from live_restore.hooks.child import PYTHON
from live_restore.service.definition import Service

_FIRST_WAIT_S = 5.0
_LONGEST_WAIT_S = 300.0
# What ran this long was well: the next wait is the first again.
_WELL_S = 600.0
# For the stack in hand; below what definition.py gives the supervisor. What is not finished by then
# is restored after the next start.
_STOP_S = 40.0
_LOOK_S = 0.2
_LOG_BYTES = 1_000_000
_LOGS_KEPT = 3


def log_path(service: Service) -> Path:
    """Return where starts, ends and crashes of a service are written."""
    return state_folder() / "services" / f"{service.name}.log"


def waits_s(failures: int) -> float:
    """Return how long to wait before the next start (s), after so many ends in a row.

    Examples
    --------
    >>> [waits_s(n) for n in (1, 2, 3, 7, 1000)]
    [5.0, 10.0, 20.0, 300.0, 300.0]
    """
    return float(min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(failures - 1, 20)))


def supervise(service: Service) -> int:
    """Keep a service running until this process is asked to stop; return the exit code, 0.

    Raises
    ------
    LiveRestoreError
        Its log cannot be written.
    """
    path = log_path(service)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(
            path, maxBytes=_LOG_BYTES, backupCount=_LOGS_KEPT, encoding="utf-8",
            errors="backslashreplace",
        )  # fmt: skip
    except OSError as error:
        raise LiveRestoreError(
            f"the log cannot be written ({error.strerror})", path, "make its folder writable"
        ) from None
    log = ServiceLog(handler)
    stop = threading.Event()
    command = [*PYTHON, "live_restore.cli.leash", "watch", str(service.folder), "--plain"]
    try:
        with stopping_on_signals(lambda _: stop.set()):
            _keep_running([*command, *service.options], stop.is_set, log)
    finally:
        handler.close()
    return 0


class ServiceLog:
    """Lines with date, time and zone, in a file that is rotated."""

    def __init__(self, handler: RotatingFileHandler) -> None:
        self._handler = handler
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        """Write one line; a full disk costs lines, not the service."""
        dated = f"{time.strftime('%Y-%m-%d %H:%M:%S %z')} {one_line(text)}"
        record = logging.LogRecord("service", logging.INFO, "", 0, dated, None, None)
        with self._lock, suppress(OSError, ValueError):
            self._handler.emit(record)

    def copy(self, stream: IO[bytes]) -> None:
        """Write every line of a stream, to its end."""
        for line in stream:
            self.line(f"watch: {line.decode(errors='backslashreplace').rstrip()}")


def _keep_running(command: list[str], stop_asked: Callable[[], bool], log: ServiceLog) -> None:
    failures = 0
    log.line(f"service started, process {os.getpid()}")
    while not stop_asked():
        began = time.monotonic()
        code = _run_once(command, stop_asked, log)
        if stop_asked():
            log.line(f"watch stopped as asked, code {code}")
            break
        failures = 1 if time.monotonic() - began > _WELL_S else failures + 1
        wait_s = waits_s(failures)
        log.line(f"watch ended by itself, code {code}; it is started again in {wait_s:g} s")
        until = time.monotonic() + wait_s
        while time.monotonic() < until and not stop_asked():
            time.sleep(_LOOK_S)
    log.line("service stopped")


def _run_once(command: list[str], stop_asked: Callable[[], bool], log: ServiceLog) -> int | None:
    """Run it to its end, or to the end that was asked for; return its exit code."""
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            # Ctrl-C and the end of a unit are the supervisor's, who lets go of the leash.
            start_new_session=True, creationflags=flags,
        )  # fmt: skip
    except OSError as error:
        log.line(f"watch cannot be started ({error.strerror or error})")
        return None
    assert process.stdin is not None
    assert process.stdout is not None
    log.line(f"watch started, process {process.pid}")
    reading = threading.Thread(target=log.copy, args=(process.stdout,), name="log", daemon=True)
    reading.start()
    try:
        while process.poll() is None and not stop_asked():
            time.sleep(_LOOK_S)
    finally:
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            log.line(f"watch did not stop within {_STOP_S:g} s and is ended")
            process.kill()
            process.wait()
        reading.join(_STOP_S)
        process.stdout.close()
    return process.returncode
