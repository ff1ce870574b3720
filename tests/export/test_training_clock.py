"""Minutes are those in which the training had a processor, over all of its starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from live_restore_export.training import clock as work_clock

WORKS_FOR_S = 1.0
CHILD = f"""
import time
from live_restore_export.training import clock
clock._TICK_S, clock._LONGEST_TICKS = 0.05, 10
with clock.WorkClock() as counted:
    print("began", flush=True)
    began = time.thread_time()
    while time.thread_time() - began < {WORKS_FOR_S}:
        sum(range(1000))
    print(counted.seconds, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot stop a process with a signal")
def test_time_in_which_a_process_is_stopped_does_not_count() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "began\n"
        os.kill(child.pid, signal.SIGSTOP)
        time.sleep(1.5)
        os.kill(child.pid, signal.SIGCONT)
        counted = float(child.stdout.readline())
    assert WORKS_FOR_S * 0.8 < counted < WORKS_FOR_S + 1.2


def test_time_passes_and_never_backwards() -> None:
    with work_clock.WorkClock() as counted:
        seen = []
        until = time.thread_time() + 0.1
        while time.thread_time() < until:
            seen.append(counted.seconds)
    assert seen == sorted(seen)
    assert 0.05 < seen[-1] < 10
