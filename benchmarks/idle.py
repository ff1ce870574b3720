"""What watching costs when nothing happens: share of one core over a folder of many files.

    python benchmarks/idle.py [--files 100000] [--seconds 60]

The files are text, spread over folders of a thousand: what a data disk holds beside stacks. The
first scan is not counted. Exit code 1 above one per cent of a core.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

_MOST = 0.01
_IN_A_FOLDER = 1000


def cpu_seconds(process: psutil.Popen) -> float:
    """Return the processor time that a process has used (s)."""
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> int:
    """Print the share of a core; return an exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--settle", type=float, default=30.0, help="for start and first scan (s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "data"
        for number in range(arguments.files):
            inside = folder / f"{number // _IN_A_FOLDER:04d}"
            if number % _IN_A_FOLDER == 0:
                inside.mkdir(parents=True)
            (inside / f"{number}.txt").touch()
        environment = {**os.environ, "LIVE_RESTORE_JOURNAL__FOLDER": f"{place}/state"}
        process = psutil.Popen(
            [sys.executable, "-m", "live_restore", "watch", str(folder), "--plain"],
            env=environment, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            time.sleep(arguments.settle)
            before, began = cpu_seconds(process), time.perf_counter()
            time.sleep(arguments.seconds)
            share = (cpu_seconds(process) - before) / (time.perf_counter() - began)
        finally:
            process.terminate()
            process.wait()
    print(f"{arguments.files} files: {share:.2%} of one core")
    return int(share > _MOST)


if __name__ == "__main__":
    sys.exit(main())
