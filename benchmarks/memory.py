"""Peak memory of ``watch --once``: stacks of many shapes, then a time-lapse larger than memory.

    python benchmarks/memory.py [--stacks 500] [--gigabytes 4] [--limit-gb 2]

Exit code 1 where the process ever had more than the limit.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import tifffile

_PLANES_YX = (16, 512, 512)


def many_shapes(folder: Path, stacks: int) -> None:
    """Write small stacks, each of another shape."""
    rng = np.random.default_rng(0)
    for number in range(stacks):
        shape = (int(rng.integers(4, 24)), *(int(n) for n in rng.integers(48, 256, 2)))
        stack = rng.poisson(200, shape).astype(np.uint16)
        tifffile.imwrite(
            folder / f"{number:04d}.ome.tif", stack, ome=True, photometric="minisblack",
            metadata={"axes": "ZYX"},
        )  # fmt: skip


def time_lapse(folder: Path, gigabytes: float) -> None:
    """Write one OME-TIFF of many times, plane by plane."""
    z, y, x = _PLANES_YX
    times = max(1, round(gigabytes * 1e9 / (2 * z * y * x)))
    plane = np.random.default_rng(0).poisson(200, (y, x)).astype(np.uint16)
    tifffile.imwrite(
        folder / "time-lapse.ome.tif",
        (np.roll(plane, t * 7 + i, axis=1) for t in range(times) for i in range(z)),
        shape=(times, z, y, x), dtype=np.uint16, ome=True, bigtiff=True,
        photometric="minisblack", metadata={"axes": "TZYX"},
    )  # fmt: skip


def peak_gb(folder: Path, state: Path) -> float:
    """Restore a folder; return the most memory that the process had (GB), seen every 50 ms."""
    environment = {**os.environ, "LIVE_RESTORE_JOURNAL__FOLDER": str(state)}
    process = psutil.Popen(
        [sys.executable, "-m", "live_restore.cli", "watch", str(folder), "--once"],
        env=environment, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    peak = 0
    while process.poll() is None:
        try:
            peak = max(peak, process.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    if process.wait() != 0:
        raise SystemExit(f"watch --once failed in {folder}")
    return peak / 1e9


def main() -> int:
    """Print both peaks; return an exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stacks", type=int, default=500)
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--limit-gb", type=float, default=2.0)
    arguments = parser.parse_args()
    peaks = []
    for name in ("shapes", "time-lapse"):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "data"
            folder.mkdir()
            if name == "shapes":
                many_shapes(folder, arguments.stacks)
            else:
                time_lapse(folder, arguments.gigabytes)
            peaks.append(peak_gb(folder, Path(place) / "state"))
        print(f"{name:10s} peak {peaks[-1]:.2f} GB", flush=True)
    return int(max(peaks) > arguments.limit_gb)


if __name__ == "__main__":
    sys.exit(main())
