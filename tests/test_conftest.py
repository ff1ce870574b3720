"""The guard against leaks is tested too: a guard that never fails is none."""

from __future__ import annotations

import subprocess
import sys
import threading

import psutil

from tests.conftest import leaked


def test_a_thread_and_a_process_are_seen() -> None:
    processes = set(psutil.pids())
    done = threading.Event()
    thread = threading.Thread(target=done.wait, name="forgotten")
    thread.start()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        try:
            before = set(threading.enumerate()) - {thread}
            assert leaked(before, processes) == ["forgotten", f"process {process.pid}"]
        finally:
            done.set()
            thread.join()
            process.communicate()
    assert leaked(before, processes) == []
