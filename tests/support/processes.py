"""Real processes for tests: the daemon, and somebody who writes files slowly."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from live_restore.journal.location import journal_path
from live_restore.journal.states import State
from live_restore.journal.view import JournalView
from live_restore.settings.layers import FILE_VARIABLES
from tests.support.console_events import ConsoleEvent, send
from tests.support.nursery import CAN_FORK, ForkedProcess, nursery
from tests.support.systems import WINE, without_chatter

ON_THE_PROCESSOR = Path(__file__).with_name("on_the_processor.toml")
"""Settings of the computer, for tests that have written none."""
# A slow machine under load must not fail a test that is about being right.
PATIENCE_S = 120.0


def environment(state: Path) -> dict[str, str]:
    """Return an environment in which the user's state folder is ``state``.

    And in which the device is the processor where a test asks for nothing else: "auto" would
    compile and measure every model anew on every device, for every shape of every test.
    """
    computer = Path(os.environ.get(FILE_VARIABLES[0], ""))
    return {
        **os.environ,
        **({} if computer.exists() else {FILE_VARIABLES[0]: str(ON_THE_PROCESSOR)}),
        "LIVE_RESTORE_JOURNAL__FOLDER": str(state),
        "PYTHONWARNINGS": "error::ResourceWarning",
    }


def run_command(
    state: Path, *arguments: str | Path, before: Sequence[str] = (), real: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run ``live-restore`` to its end.

    ``before`` is a command that starts it; ``real`` starts an interpreter, as people do.
    """
    words = [str(argument) for argument in arguments]
    if before or real or not CAN_FORK:
        done = subprocess.run(
            [*before, sys.executable, "-m", "live_restore", *words],
            env=environment(state),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        done.stderr = without_chatter(done.stderr)
        return done
    process = nursery().start(words, environment(state))
    try:
        stdout, stderr = process.communicate(PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode is not None
    return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)


def status(state: Path, folder: Path) -> dict[str, Any]:
    """Return what ``live-restore status --json`` says."""
    done = run_command(state, "status", folder, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def counts(state: Path, folder: Path) -> dict[str, int]:
    """Return how many entries of a journal are in each state, 0 of each before it is made.

    For who asks again and again: a command takes a quarter of a second from what it waits for.
    """
    journal = journal_path(folder, state)
    if not journal.exists():
        return {state.value: 0 for state in State}
    with JournalView(journal, folder) as view:
        return {found.value: number for found, number in view.counts().items()}


@contextmanager
def watching(
    state: Path, folder: Path, *flags: str, real: bool = False
) -> Iterator[subprocess.Popen[str] | ForkedProcess]:
    """Run ``live-restore watch`` in a process; kill it if the test did not stop it."""
    process: subprocess.Popen[str] | ForkedProcess
    if real or not CAN_FORK:
        process = subprocess.Popen(
            [sys.executable, "-m", "live_restore", "watch", str(folder), *flags],
            env=environment(state),
            stderr=subprocess.PIPE,
            text=True,
        )
        if sys.platform == "win32":
            _read_meanwhile(process)
    else:
        process = nursery().start(["watch", str(folder), *flags], environment(state))
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _read_meanwhile(process: subprocess.Popen[str]) -> None:
    """Read what a process says while it runs: a pipe of Windows holds 4 KB, then its writer waits.

    That is what ``communicate`` does on Windows, in a thread that its next call asks for the rest.
    """
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=0)


def ask_to_stop(
    process: subprocess.Popen[Any] | ForkedProcess, number: int = signal.SIGTERM
) -> None:
    """Ask a daemon to stop.

    On Windows, where a signal from outside only kills, it is told of Ctrl-C or Ctrl-Break.
    """
    if sys.platform == "win32":
        # Of Ctrl-Break, Wine's C library makes no signal: the process ends at once, with code 0.
        ctrl_c = WINE or number == signal.SIGINT
        send(process.pid, ConsoleEvent.CTRL_C if ctrl_c else ConsoleEvent.CTRL_BREAK)
    else:
        process.send_signal(number)


def stop(
    process: subprocess.Popen[str] | ForkedProcess, number: int = signal.SIGTERM
) -> tuple[int, str]:
    """Ask a daemon to stop; return its exit code and what it logged."""
    ask_to_stop(process, number)
    _, log = process.communicate(timeout=PATIENCE_S)
    assert process.returncode is not None
    return process.returncode, log


def wait_for(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until ``condition`` holds."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience_s:g} s for {what}")
        time.sleep(0.1)


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file directly in ``folder``."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file()
    }


@dataclass(frozen=True)
class SlowCopy:
    """Copies files into a folder in irregular chunks, in a process of its own."""

    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, files: list[Path], folder: Path, seconds_each: float, seed: int = 1) -> SlowCopy:
        """Start copying ``files``, one after the other."""
        return cls(
            subprocess.Popen(
                [sys.executable, __file__, str(folder), str(seconds_each), str(seed),
                 *map(str, files)]
            )
        )  # fmt: skip

    def wait(self) -> None:
        """Wait until everything is copied."""
        assert self.process.wait(timeout=PATIENCE_S) == 0


def _copy_slowly(folder: Path, seconds_each: float, seed: int, files: list[Path]) -> None:
    import random

    rng = random.Random(seed)
    for source in files:
        content = source.read_bytes()
        cuts = sorted(rng.randrange(1, len(content)) for _ in range(12))
        pieces = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
        with (folder / source.name).open("wb") as target:
            for piece in pieces:
                # Before the piece: this process ends with its last byte, so that its end tells when
                # a result would be too early.
                time.sleep(seconds_each / len(pieces) * rng.uniform(0.2, 1.8))
                target.write(piece)
                target.flush()


if __name__ == "__main__":
    _copy_slowly(
        Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), [Path(p) for p in sys.argv[4:]]
    )
