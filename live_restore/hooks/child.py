"""Restores acquisitions in child processes: one at a time, the newest first.

::

    begin(folder) ──> followed live ──end(folder)──> finished: all that is complete is restored
                        └─(a newer one)─> waits       └─(fails too often)─> left, and reported

A child that raises, hangs or is killed costs time and nothing else: results appear whole or not at
all, and the journal remembers what is left. No method here waits for a child except ``finish`` and
``abandon``, which have a time limit.
"""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from live_restore.errors import LiveRestoreError, one_line
from live_restore.files.user_folders import state_folder
from live_restore.hooks.leash import end, leashed, let_go

Command = Callable[..., "list[str] | None"]

# What `watch` takes to give the stack in hand back, with room for a slow disk.
_STOP_S = 10.0
_RETRY_S = (1.0, 5.0, 30.0)
_MOST_FAILURES = 3
_LOOK_S = 0.1
_LINE_BYTES = 2000
# The lowest: where both want the same core, Linux gives it a 70th of what the acquisition gets.
_NICE = 19
_LOGS_KEPT = 20
_sessions = itertools.count(1)


def restoring_command(path: Path, options: Sequence[str], *, once: bool) -> list[str] | None:
    """Return the command that restores what is at ``path``, ``None`` if it has to wait.

    Parameters
    ----------
    path
        An acquisition's folder, a folder of files, or one file.
    options
        Of the command line, such as ``--config FILE``.
    once
        It is over: restore all that is complete, and exit. Else: until asked to stop.
    """
    if path.is_file():
        # A file of a whole acquisition is restored when that is over.
        if not once:
            return None
        arguments = ["restore", str(path)]
    else:
        arguments = ["watch", str(path), "--once" if once else "--plain"]
    return leashed([*arguments, *options])


def fresh_log() -> Path:
    """Return where the children of a session that begins now write their output.

    Logs of earlier sessions are removed, except the newest.
    """
    folder = state_folder() / "hooks"
    for old in sorted(folder.glob("*.log"))[:-_LOGS_KEPT]:
        with suppress(OSError):  # still in use, on Windows
            old.unlink(missing_ok=True)
    return folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{next(_sessions)}.log"


@dataclass(frozen=True)
class Outcome:
    """What became of an acquisition.

    Parameters
    ----------
    path
        Its folder or file.
    done
        Whether everything complete in it has been looked at; else it waits for ``watch``.
    failed
        Whether something in it could not be restored.
    why
        What stood in the way, "" if nothing.
    """

    path: Path
    done: bool
    failed: bool = False
    why: str = ""


@dataclass
class _Run:
    path: Path
    ended: bool = False
    done: bool = False
    failed: bool = False
    failures: int = 0
    not_before: float = 0.0
    why: str = ""


@dataclass
class _Child:
    run: _Run
    once: bool
    process: subprocess.Popen[bytes]
    kill_at: float | None = None


class Restorations:
    """The acquisitions of a session and the child process that restores them.

    Not safe for several threads at once.

    Parameters
    ----------
    options
        Of the command line, for every child.
    log
        The output of the children is appended to this file.
    command
        Another :func:`restoring_command`.
    """

    def __init__(self, options: Sequence[str], log: Path, command: Command | None = None) -> None:
        self._options = options
        self.log = log
        self._command = command or restoring_command
        self._runs: list[_Run] = []
        self._child: _Child | None = None

    def begin(self, path: Path) -> None:
        """An acquisition is being written to ``path``; one that had ended there goes on."""
        self._runs = [run for run in self._runs if run.path != path]
        self._runs.append(_Run(path))

    def end(self, path: Path | None = None) -> None:
        """Nothing more will be written to ``path`` (``None``: of any acquisition)."""
        for run in self._runs:
            if not run.ended and path in (None, run.path):
                run.ended, run.failures, run.not_before = True, 0, 0.0

    @property
    def busy(self) -> bool:
        """Whether an acquisition is not done with, or a child is alive."""
        return self._child is not None or any(not run.done for run in self._runs)

    def outcomes(self) -> list[Outcome]:
        """Return what has become of every acquisition so far, oldest first."""
        return [Outcome(run.path, run.done, run.failed, run.why) for run in self._runs]

    def step(self) -> None:
        """Start, stop or look after the child, whichever is due; returns at once."""
        self._reap()
        run = self._wanted()
        child = self._child
        if child is not None:
            if run is not child.run or run.ended != child.once:
                self._ask_to_stop(child)
        elif run is not None:
            self._start(run)

    def finish(self, limit_s: float | None, tick: Callable[[], None]) -> None:
        """End every acquisition and restore what is complete; give up after ``limit_s``.

        ``tick`` is called about ten times per second. Whatever ends this ends the child too.
        """
        deadline = None if limit_s is None else time.monotonic() + limit_s
        self.end()
        try:
            while self.busy and (deadline is None or time.monotonic() < deadline):
                self.step()
                tick()
                time.sleep(_LOOK_S)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Stop the child, by force if it does not obey, and leave the rest as it is."""
        if self._child is not None:
            end(self._child.process, _STOP_S)
        self._child = None

    def _wanted(self) -> _Run | None:
        """Return what to work on: the newest that is running, else the newest unfinished."""
        now = time.monotonic()
        open_runs = [run for run in self._runs if not run.done and run.not_before <= now]
        running = [run for run in open_runs if not run.ended]
        candidates = running or open_runs
        return candidates[-1] if candidates else None

    def _start(self, run: _Run) -> None:
        once = run.ended
        try:
            arguments = self._command(run.path, self._options, once=once)
            if arguments is None:
                run.not_before = math.inf  # until it has ended
                return
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as log:
                process = _spawn(arguments, log)
        except OSError as error:
            self._count_failure(run, f"could not be started ({error.strerror or error})")
            return
        except LiveRestoreError as error:
            self._count_failure(run, error.reason)
            return
        self._child = _Child(run, once, process)

    def _reap(self) -> None:
        child = self._child
        if child is None:
            return
        code = child.process.poll()
        if code is None:
            if child.kill_at is not None and time.monotonic() > child.kill_at:
                child.process.kill()
            return
        let_go(child.process)
        self._child = None
        run = child.run
        if child.kill_at is not None:
            return  # it was asked to stop
        if child.once and code in (0, 1):
            run.done, run.failed = True, code == 1
            run.why = f"some of it could not be restored; see {self.log}" if run.failed else ""
        else:
            # Code 2 is a mistake that the next attempt would make again.
            what = f"ended with code {code} ({self._last_line()})"
            self._count_failure(run, what, final=code == 2 and child.once)

    def _last_line(self) -> str:
        """Return the last line of the children's output: the reason, where there is one."""
        with suppress(OSError), self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LINE_BYTES))
            lines = log.read().decode(errors="backslashreplace").splitlines()
            return one_line(lines[-1]) if lines else "no output"
        return "its log cannot be read"

    def _count_failure(self, run: _Run, what: str, *, final: bool = False) -> None:
        run.failures += 1
        run.why = f"the restoring process {what}; see {self.log}"
        run.not_before = time.monotonic() + _RETRY_S[min(run.failures, len(_RETRY_S)) - 1]
        # While the acquisition goes on there is nothing to lose by trying again.
        if final or (run.ended and run.failures >= _MOST_FAILURES):
            run.done = run.failed = True

    def _ask_to_stop(self, child: _Child) -> None:
        if child.kill_at is None:
            child.kill_at = time.monotonic() + _STOP_S
            let_go(child.process)


def _spawn(arguments: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a child that yields to the acquisition wherever both want the processor."""
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW | subprocess.BELOW_NORMAL_PRIORITY_CLASS
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        # Ctrl-C in the script's terminal is the script's: it decides what becomes of the child.
        start_new_session=True,
        creationflags=flags,
    )
    if sys.platform != "win32":
        with suppress(psutil.Error):
            psutil.Process(process.pid).nice(max(_NICE, os.nice(0)))
    return process
