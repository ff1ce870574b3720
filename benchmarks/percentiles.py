"""Percentiles of a large uint16 stack against ``numpy.percentile``: same numbers, how much faster.

    python benchmarks/percentiles.py [--mvoxel 100]

Both take turns on the same data; the ratio of the best of each is printed, which other work on the
computer hardly changes.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from live_restore.inference.device.hardware import cpu_name
from live_restore.inference.image.intensity import percentiles

RANKS = (2.0, 99.9)


def main() -> None:
    """Print both times, their ratio and whether the numbers are equal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mvoxel", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    size = arguments.mvoxel * 10**6
    rng = np.random.default_rng(0)
    kinds = {
        "low light (Poisson 30 + 100)": np.resize(rng.poisson(30, 10**7) + 100, size),
        "every grey value": np.resize(rng.integers(0, 65536, 10**7), size),
    }
    print(f"{cpu_name()}; {arguments.mvoxel} Mvoxel of uint16, percentiles {RANKS}")
    for name, values in kinds.items():
        stack = values.astype(np.uint16)
        best = {"numpy": np.inf, "histogram": np.inf}
        for _ in range(arguments.rounds):
            started = time.perf_counter()
            expected = tuple(np.percentile(stack, RANKS).tolist())
            between = time.perf_counter()
            found = percentiles(stack, RANKS)
            ended = time.perf_counter()
            best["numpy"] = min(best["numpy"], between - started)
            best["histogram"] = min(best["histogram"], ended - between)
        print(
            f"{name:30s} numpy {best['numpy']:.3f} s, histogram {best['histogram']:.3f} s: "
            f"{best['numpy'] / best['histogram']:.1f} times as fast, "
            f"{'equal' if found == expected else f'DIFFERENT: {found} {expected}'}"
        )


if __name__ == "__main__":
    main()
