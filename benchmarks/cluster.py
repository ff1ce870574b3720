"""What another process costs: the same device here and behind a loopback Dask, by turns.

    python -m benchmarks.cluster --pairs 5

Prints the ratio of the times of each pair, and the bytes that loopback carried per stack over those
of the raw stack and its result. Nothing else may use the cores, nor loopback, meanwhile.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from live_restore.cluster.models import load_models
from live_restore.cluster.remote import RemoteRestorer
from live_restore.settings.load import load_settings
from live_restore.simulation.scene import LivingCell
from tests.support.cluster import a_scheduler, a_worker, ended, free_address


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--shape", type=int, nargs=3, default=(32, 512, 512))
    given = parser.parse_args()
    raw = LivingCell(shape_zyx=tuple(given.shape)).exposed(0)
    address = free_address()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with ended(a_scheduler(folder / "s", address), a_worker(folder / "w", address)):
            here = load_models(load_settings(None, {"inference": {"device": "cpu"}})).rules[0][1]
            there = load_models(
                load_settings(None, {"inference": {"device": address}}), print
            ).rules[0][1]
            assert here is not None
            assert isinstance(there, RemoteRestorer)
            assert np.array_equal(here.restore(raw).volume, there.restore(raw).volume)
            ratios, carried, transfer = [], [], []
            for _ in range(given.pairs):
                began = time.perf_counter()
                here.restore(raw)
                alone_s = time.perf_counter() - began
                before, began = _carried(), time.perf_counter()
                restored = there.restore(raw)
                ratios.append((time.perf_counter() - began) / alone_s)
                transfer.append(restored.seconds["transfer"])
                carried.append((_carried() - before) / (raw.nbytes + restored.volume.nbytes))
            there.close()
    print(f"time there / here: {' '.join(f'{r:.3f}' for r in ratios)}; "
          f"median {statistics.median(ratios):.3f}")  # fmt: skip
    print(f"transfer and proof (s): {' '.join(f'{t:.2f}' for t in transfer)}")
    print(f"bytes carried / (raw + result): {' '.join(f'{c:.3f}' for c in carried)}")
    return 0


def _carried() -> int:
    return int(psutil.net_io_counters(pernic=True)["lo"].bytes_recv)


if __name__ == "__main__":
    raise SystemExit(main())
