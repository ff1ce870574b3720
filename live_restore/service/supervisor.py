"""Keeps ``watch`` running: starts it, restarts it after growing waits, writes logs of its own.

::

    start ──> running ──(ends)──> wait 5 s, 10 s ... 5 min ──> start
                 └──(stop asked)──> leash dropped ──> the stack in hand is finished ──> stopped

One process of ``watch`` for each folder, each with a thread here that looks after it. Every end but
the one that was asked for is a reason to start again, wrong settings too: the drive of the folder
may not be there yet after a reboot.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from live_restore.engine.signals import stopping_on_signals
from live_restore.errors import LiveRestoreError
from live_restore.hooks.leash import end, leashed
from live_restore.service.definition import Service
from live_restore.service.log import ServiceLog, opened_log, service_log
from live_restore.service.system_log import Happening

_FIRST_WAIT_S = 5.0
_LONGEST_WAIT_S = 300.0
# What ran this long was well: the next wait is the first again.
_WELL_S = 600.0
# For the stack in hand; below what definition.py gives the supervisor. What is not finished by then
# is restored after the next start.
_STOP_S = 40.0
_LOOK_S = 0.2


def waits_s(failures: int) -> float:
    """Return how long to wait before the next start (s), after so many ends in a row.

    Examples
    --------
    >>> [waits_s(n) for n in (1, 2, 3, 7, 1000)]
    [5.0, 10.0, 20.0, 300.0, 300.0]
    """
    return float(min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(failures - 1, 20)))


def is_supervised(service: Service) -> bool:
    """Return whether a living process keeps a service running."""
    from live_restore.journal.database import lock_is_held

    return lock_is_held(service_log(service))


def ask_to_end(service: Service) -> None:
    """Have the process that keeps a service running end it in peace; return when it has.

    For Windows, where a signal from outside only kills. What does not end in the time that the
    stack in hand is given is left as it is.
    """
    wish = _wish(service)
    if not is_supervised(service):
        return
    with suppress(OSError):
        wish.touch()
    until = time.monotonic() + 1.5 * _STOP_S
    while is_supervised(service) and time.monotonic() < until:
        time.sleep(_LOOK_S)
    with suppress(OSError):
        wish.unlink(missing_ok=True)


def supervise(
    service: Service, folders: Sequence[Service], echo: Callable[[str], None] | None = None
) -> int:
    """Keep folders watched until this process is asked to stop; return the exit code, 0.

    Parameters
    ----------
    service
        What was asked for; one process at a time keeps it running.
    folders
        Its folders; of its own where it is one of a single folder.
    echo
        Gets the lines of all logs, too, from several threads.

    Raises
    ------
    LiveRestoreError
        Another process keeps it running, or a log cannot be written.
    """
    stop, wish = threading.Event(), _wish(service)
    with ExitStack() as stack:
        stack.enter_context(_alone(service))
        with suppress(OSError):
            wish.unlink(missing_ok=True)
        logs = [stack.enter_context(opened_log(each, echo)) for each in folders]
        threads = [
            threading.Thread(
                target=_keep_running, args=(_watch(each), stop.is_set, log), name=each.name
            )
            for each, log in zip(folders, logs, strict=True)
        ]
        stack.enter_context(stopping_on_signals(lambda _: stop.set()))
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                time.sleep(_LOOK_S)  # a signal is heard between two looks
                if wish.exists():
                    stop.set()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    return 0


def run_in_turn(commands: Sequence[Sequence[str]], begins: Callable[[Sequence[str]], None]) -> int:
    """Run command lines of this program, one after the other; return the highest exit code.

    ``begins`` is called with each before it is run.

    To be asked to stop ends the one that runs, and begins no further one.
    """
    stop = threading.Event()
    highest = 0
    with stopping_on_signals(lambda _: stop.set()):
        for command in commands:
            if stop.is_set():
                break
            begins(command)
            process = subprocess.Popen(
                leashed(command), stdin=subprocess.PIPE, start_new_session=True
            )
            code = _wait_for_the_end(process, stop.is_set)
            highest = max(highest, 1 if code is None else abs(code))
    return highest


def _wish(service: Service) -> Path:
    return service_log(service).with_suffix(".stop")


def _watch(service: Service) -> list[str]:
    return leashed(["watch", str(service.folder), "--plain", *service.options])


def _alone(service: Service) -> ExitStack:
    """Return a context in which no other process keeps this service running."""
    from filelock import FileLock, Timeout

    path = service_log(service).with_suffix(".lock")
    stack = ExitStack()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stack.enter_context(FileLock(path, timeout=0))
    except Timeout:
        raise LiveRestoreError(
            f"{service.name} runs already", None, "see it with live-restore service status"
        ) from None
    except OSError as error:
        raise LiveRestoreError(
            f"cannot be locked ({error.strerror})", path, "make its folder writable"
        ) from None
    return stack


def _keep_running(command: list[str], stop_asked: Callable[[], bool], log: ServiceLog) -> None:
    failures = 0
    log.event(Happening.START, f"service started, process {os.getpid()}")
    while not stop_asked():
        began = time.monotonic()
        code = _run_once(command, stop_asked, log)
        if stop_asked():
            log.line(f"watch stopped as asked, code {code}")
            break
        failures = 1 if time.monotonic() - began > _WELL_S else failures + 1
        wait_s = waits_s(failures)
        why = f" ({log.said})" if log.said else ""
        again = f"it is started again in {wait_s:g} s"
        log.event(Happening.CRASH, f"watch ended by itself, code {code}{why}; {again}")
        until = time.monotonic() + wait_s
        while time.monotonic() < until and not stop_asked():
            time.sleep(_LOOK_S)
    log.event(Happening.STOP, "service stopped")


def _run_once(command: list[str], stop_asked: Callable[[], bool], log: ServiceLog) -> int | None:
    """Run it to its end, or to the end that was asked for; return its exit code."""
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW
    log.said = ""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            # Ctrl-C and the end of a unit are the supervisor's, who lets go of the leash.
            start_new_session=True, creationflags=flags,
        )  # fmt: skip
    except OSError as error:
        log.line(f"watch cannot be started ({error.strerror or error})")
        return None
    assert process.stdout is not None
    log.line(f"watch started, process {process.pid}")
    reading = threading.Thread(target=log.copy, args=(process.stdout,), name="log", daemon=True)
    reading.start()
    try:
        return _wait_for_the_end(process, stop_asked, log.line)
    finally:
        reading.join(_STOP_S)
        process.stdout.close()


def _wait_for_the_end(
    process: subprocess.Popen[bytes],
    stop_asked: Callable[[], bool],
    line: Callable[[str], None] = lambda _: None,
) -> int | None:
    """Wait until a process on a leash ends; let go of it when that is asked for."""
    try:
        while process.poll() is None and not stop_asked():
            time.sleep(_LOOK_S)
    finally:
        if not end(process, _STOP_S):
            line(f"watch did not stop within {_STOP_S:g} s and was ended")
    return process.returncode
