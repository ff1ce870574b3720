"""Delay from a stack's last byte to its published result, with a real ``live-restore watch``.

    python benchmarks/delay.py [--stacks 12] [--interval 3]

Stacks of 16 x 256 x 256 uint16 are written plane by plane, one file each, by this process; the
delay is what each report states: publication of the report minus the raw file's last change.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from live_restore.inference.device.hardware import available_cores, cpu_name
from live_restore.simulation.microscope import record
from live_restore.simulation.scene import LivingCell


def measure(stacks: int, interval_s: float) -> list[dict[str, float]]:
    """Return the seconds that each report states."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "data"
        folder.mkdir()
        environment = {**os.environ, "LIVE_RESTORE_JOURNAL__FOLDER": str(Path(name) / "state")}
        daemon = subprocess.Popen(
            [sys.executable, "-m", "live_restore", "watch", str(folder), "--plain"],
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        try:
            time.sleep(3)  # let it load its model; the first stack of a day is not what is measured
            for number in range(stacks):
                began = time.monotonic()
                target = folder / f"{number}"
                target.mkdir()
                record(target, LivingCell(seed=number), 1, plane_interval_s=interval_s / 40)
                time.sleep(max(0.0, interval_s - (time.monotonic() - began)))
            deadline = time.monotonic() + 60
            while len(reports := list(folder.rglob("restored/*.json"))) < stacks:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"only {len(reports)} of {stacks} stacks came back")
                time.sleep(0.2)
            return [json.loads(path.read_text())["seconds"] for path in reports]
        finally:
            daemon.terminate()
            daemon.wait()


def main() -> None:
    """Print a line per figure: median, least and most over the stacks (s)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stacks", type=int, default=12)
    parser.add_argument("--interval", type=float, default=3.0, help="between two stacks (s)")
    arguments = parser.parse_args()
    seconds = measure(arguments.stacks, arguments.interval)
    print(f"{cpu_name()}, {available_cores()} cores, {len(seconds)} stacks of 16 x 256 x 256")
    for figure in ("delay", "network", "read", "normalise", "finish", "write", "publish"):
        values = [s[figure] for s in seconds]
        print(
            f"{figure:10s} median {statistics.median(values):.3f} s "
            f"(least {min(values):.3f}, most {max(values):.3f})"
        )


if __name__ == "__main__":
    main()
