"""Restores the acquisitions that a person starts in Micro-Manager's window.

Two kinds of child processes, one of each at most: a bridge that looks into Micro-Manager, killed
when it falls silent and started again; and what restores. Nothing that Micro-Manager does, or fails
to do, can hold this process up.
"""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from live_restore.engine.progress import WAITING
from live_restore.engine.signals import stopping_on_signals
from live_restore.files.user_folders import unsaved_folder
from live_restore.hooks.account import Account, read_account
from live_restore.hooks.child import Restorations, fresh_log
from live_restore.hooks.leash import PYTHON
from live_restore.hooks.log_tail import LogTail
from live_restore.hooks.window_runs import RunReports, SeenRuns
from live_restore.settings.model import Settings

# Measured: another client's blocking call held an answer up for 2.65 s.
SILENCE_S = 15.0
_LOOK_S = 0.1
_RETRY_S = (1.0, 2.0, 5.0, 10.0)
_KILLED_S = 2.0
_LONGEST_LINE = 2**16
_LONGEST_PATH = 4096

BridgeCommand = Callable[[int, Path, float, float], Sequence[str]]


def bridge_command(port: int, folder: Path, since: float, unsaved_since: float) -> list[str]:
    """Return the command that looks into Micro-Manager; see ``micromanager_bridge.py``."""
    arguments = (port, folder, since, unsaved_since)
    return [*PYTHON, "live_restore.hooks.micromanager_bridge", *map(str, arguments)]


def usable_path(named: str) -> Path | None:
    """Return the path that a server named, ``None`` where it cannot be an acquisition's.

    Whatever answers on the port is taken for Micro-Manager: it may name any folder that the person
    may read. Only what a child process would take for another path, or for none, is ignored.

    Examples
    --------
    >>> usable_path("run_1"), usable_path("-o"), usable_path("/data/a\\0b")
    (None, None, None)
    """
    path = Path(named)
    if not path.is_absolute() or not named.isprintable() or len(named) > _LONGEST_PATH:
        return None
    return path


class _Bridge:
    """The child process and the lines that it has sent."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # the client's own chatter; what matters is a line on stdout
            start_new_session=True,
        )
        self.lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.heard_at = time.monotonic()
        self._reader = threading.Thread(target=self._read, name="bridge reader", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline(_LONGEST_LINE):
            self.heard_at = time.monotonic()
            if line.endswith(b"\n"):  # else it was killed in the middle of a line
                self.lines.put(line)
            elif len(line) == _LONGEST_LINE:
                self._process.kill()  # no line of ours is so long

    @property
    def ended(self) -> bool:
        """Whether the process is gone and every line of it has been read."""
        return self._process.poll() is not None and not self._reader.is_alive()

    def kill(self) -> None:
        """End it; it holds nothing that is not on disk."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILLED_S)
        self._reader.join(_KILLED_S)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


class _Restart:
    """When to start a bridge: at once, and after each failure later than after the one before."""

    def __init__(self) -> None:
        self._failures = 0
        self._at = 0.0

    def due(self, now: float) -> bool:
        """Return whether it is time (``now``: s, monotonic)."""
        return now >= self._at

    def failed(self, now: float) -> None:
        """A bridge has ended."""
        self._at = now + _RETRY_S[min(self._failures, len(_RETRY_S) - 1)]
        self._failures += 1

    def worked(self) -> None:
        """A bridge has found Micro-Manager."""
        self._failures = 0


def _without_repeating(say: Callable[[str], None]) -> Callable[[str], None]:
    """Return what shows a line unless it was the last one shown."""
    last = ""

    def say_once(what: str) -> None:
        nonlocal last
        if what != last:
            last = what
            say(what)

    return say_once


class WindowWatch:
    """Watches one Micro-Manager.

    Parameters
    ----------
    port
        Of its server (Tools > Options > Run server on port).
    restorations
        Get the acquisitions that are found.
    folder
        Where planes of acquisitions that are not saved go.
    say
        Shows the person one line.
    account
        Tells what became of an acquisition whose restoration has ended.
    since
        Acquisitions that were over by then are left alone (s since 1970); 0: none is.
    silence_s
        A bridge that is silent for so long is taken as hung (s).
    command
        See :func:`bridge_command`.
    """

    def __init__(
        self,
        port: int,
        restorations: Restorations,
        folder: Path,
        say: Callable[[str], None],
        *,
        account: Callable[[Path], Account],
        since: float,
        silence_s: float = SILENCE_S,
        command: BridgeCommand = bridge_command,
    ) -> None:
        self._port = port
        self._restorations = restorations
        self._say = _without_repeating(say)
        self._silence_s = silence_s
        self._command = partial(command, port, folder, since)
        self._bridge: _Bridge | None = None
        self._restart = _Restart()
        self._log = LogTail(restorations.log)
        self._seen = SeenRuns(since)
        self._reports = RunReports(account, self._say)
        self._stop = threading.Event()

    def stop(self) -> None:
        """Ask :meth:`run` to return; from any thread or signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Watch until :meth:`stop`; what is unfinished then is left to ``watch``."""
        try:
            while not self._stop.wait(_LOOK_S):
                self.step()
        finally:
            if self._bridge is not None:
                self._bridge.kill()
                self._bridge = None
            self._restorations.abandon()

    def step(self) -> None:
        """Do what is due; returns at once."""
        now = time.monotonic()
        bridge = self._bridge
        if bridge is None:
            if self._restart.due(now):
                self._start()
        else:
            ended = bridge.ended
            while not bridge.lines.empty():
                line = _understood(bridge.lines.get())
                if line is not None:
                    self._hear(line)
            if ended:
                self._let_go("")
            elif now - bridge.heard_at > self._silence_s:
                self._let_go("Micro-Manager does not respond")
        self._restorations.step()
        for outcome in self._restorations.outcomes():
            self._reports.report(outcome)
        if any(WAITING in line for line in self._log.new_lines()):
            self._say(f"{WAITING}: stacks are restored in its pauses, and afterwards")

    def _start(self) -> None:
        try:
            self._bridge = _Bridge(self._command(self._seen.unsaved_since))
        except OSError as error:
            self._let_go(f"no process can be started ({error.strerror or error})")

    def _hear(self, line: dict[str, Any]) -> None:
        if line["say"] in ("run", "ended"):
            path = usable_path(line["path"])
            if path is None:
                named = repr(line["path"][:100])
                self._say(f"an acquisition at {named} is ignored: that is no absolute path")
            elif line["say"] == "run":
                self._begin(path, line.get("started"), over=bool(line.get("over")))
            else:
                self._end(path, line)
        elif line["say"] == "connected":
            self._restart.worked()
            self._say(f"connected to Micro-Manager on port {self._port}")
            self._look_again()
        elif line["say"] == "note":
            self._say(line["what"])
        elif line["say"] == "lost":
            self._say(
                f"no connection to Micro-Manager on port {self._port} ({line['why']}); trying "
                "again: start it, and tick Tools > Options > Run server on port"
            )

    def _begin(self, path: Path, started: object, *, over: bool) -> None:
        if over and self._seen.is_known(path, started):
            return  # each bridge finds anew what windows show
        self._seen.begin(path, started)
        self._reports.begin(path)
        self._restorations.begin(path)
        what = "was recorded while nobody looked" if over else "has begun"
        self._say(f"{path}: an acquisition {what}")

    def _end(self, path: Path, line: dict[str, Any]) -> None:
        unsaved = line.get("unsaved")
        self._seen.end(path, unsaved if isinstance(unsaved, int | float) else None)
        if line.get("left_out"):
            self._reports.leave_out(path, str(line["left_out"]))
        self._restorations.end(path)

    def _let_go(self, why: str) -> None:
        """End the bridge, and restore what is there of an acquisition whose end goes unreported."""
        if self._bridge is not None:
            self._bridge.kill()
            self._bridge = None
        if why:
            self._say(f"{why}; trying again")
        self._restorations.end()
        self._seen.lose()
        self._restart.failed(time.monotonic())

    def _look_again(self) -> None:
        """Look again into acquisitions that may have gone on while nobody was looking."""
        for path in self._seen.take_cut():
            self._reports.begin(path)
            self._restorations.begin(path)
            self._restorations.end(path)


def _understood(line: bytes) -> dict[str, Any] | None:
    """Return a line of the bridge, ``None`` for what a library of its process printed."""
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) and "say" in message else None


def watch_micromanager(
    port: int,
    options: Sequence[str],
    settings: Settings,
    say: Callable[[str], None],
    *,
    previous: bool = False,
) -> None:
    """Run ``live-restore watch --micromanager`` until Ctrl-C.

    Parameters
    ----------
    port
        Of Micro-Manager's server.
    options
        Of the command line, for what restores, such as ``--config FILE``.
    settings
        All settings.
    say
        Shows the person one line.
    previous
        Restore also what was over before, as far as Micro-Manager still shows it.
    """
    watch = WindowWatch(
        port,
        Restorations(options, fresh_log()),
        unsaved_folder(),
        say,
        account=lambda path: read_account(path, settings.journal.folder),
        since=0.0 if previous else time.time(),
    )
    say(f"waiting for acquisitions of Micro-Manager on port {port}; Ctrl-C stops")
    with stopping_on_signals(lambda _: watch.stop()):
        watch.run()
