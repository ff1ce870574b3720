"""TerminateProcess at random moments: every stack is restored once, none is partial."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.faults.daemons import DaemonProcess, Place
from tests.faults.kills import run_kills
from tests.faults.player import raw_stack
from tests.support.processes import ask_to_stop, environment

pytestmark = pytest.mark.skipif(
    sys.platform != "win32", reason="tests/faults kills more thoroughly on other systems"
)
_STACKS_PER_KILL = 3
# Large enough that reading, restoring and writing each take a while.
_SHAPE_ZYX = (16, 256, 256)
_START_S = 20.0
_LONG = [pytest.mark.slow, pytest.mark.timeout(3600)]


class Terminated(DaemonProcess):
    """A daemon that TerminateProcess ends; what it says goes through a pipe into the log."""

    def __init__(self, place: Place) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "live_restore", *place.arguments],
            env=environment(place.state),
            stderr=subprocess.PIPE,
        )
        super().__init__(self._process.pid, self._process.poll)
        self._reader = threading.Thread(target=self._read, args=(place.log,), name="log")
        self._reader.start()

    def kill(self) -> None:
        """Kill it at once."""
        self._process.kill()
        self.wait()
        self._reader.join()

    def stop(self) -> int:
        """Ask it to stop; return the exit code."""
        ask_to_stop(self._process)
        return self.wait()

    def _read(self, log: Path) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as said, log.open("ab") as file:
            for line in said:
                file.write(line)
                file.flush()


def at_work(place: Place) -> Terminated:
    """Start a daemon, and wait until it has found or restored a stack, if there is any left.

    In Wine that takes seconds from the moment at which it has opened the journal: of 50 kills up to
    1.5 s after it none met a stack.
    """
    before = len(place.told())
    daemon = Terminated(place)
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and daemon.poll() is None:
        if re.search(r" (complete|restored) ", place.told()[before:]):
            break
        time.sleep(0.05)
    return daemon


@pytest.mark.parametrize(("kills", "seed"), [(2, 0), pytest.param(100, 1, marks=_LONG)])
def test_nothing_is_lost_doubled_or_partial(
    tmp_path: Path, kills: int, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    # What dies so often in the midst of a stack is not that stack's fault. Restoring does not wait
    # for stacks that arrive, so that the kills meet it.
    place = Place(
        tmp_path,
        {"journal": {"max_attempts": 10_000}, "process": {"while_acquiring": "full"}},
    )
    stacks = [raw_stack(f"s{n:03d}.tif", n, _SHAPE_ZYX) for n in range(kills * _STACKS_PER_KILL)]
    figures = run_kills(place, stacks, kills, at_work, longest_life_s=1.5, seed=seed)
    with capsys.disabled():
        print(json.dumps(asdict(figures)))
    assert (figures.kills, figures.restored) == (kills, len(stacks))
    # Else the kills show little.
    assert kills < 10 or figures.killed_with_work_in_hand > kills / 4
