"""What another process costs: the same device here and behind a loopback Dask, by turns.

    python -m benchmarks.cluster --pairs 7                   # a stack alone
    python -m benchmarks.cluster --pairs 7 --stacks 3        # in a row, as a watcher sends them
    python -m benchmarks.cluster --pairs 7 --stacks 16 --rate 100   # with a fast device

Prints the ratio of the times of each pair, and the bytes that loopback carried over those of raw
stacks and results. Nothing else may use the cores meanwhile, nor loopback; on Linux a network of
its own gives it one (as root, or with ``--map-root-user``)::

    unshare --net sh -c 'ip link set lo up; python -m benchmarks.cluster'

``--rate`` takes a device that does so many million voxels per second and costs the processor
nothing (``fake_device.py``): what another computer with a GPU would be, but that client, scheduler
and worker share these cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.host import fake_device, identity_model
from live_restore.cluster.models import load_models
from live_restore.cluster.remote import RemoteRestorer
from live_restore.engine.priority import give_way
from live_restore.inference.restored import Restored
from live_restore.inference.stack_restorer import StackRestorer
from live_restore.settings.load import load_settings
from live_restore.simulation.scene import LivingCell
from live_restore.stack import Volume
from tests.support.cluster import Started, a_scheduler, ended, free_address


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--stacks", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--shape", type=int, nargs=3, default=(32, 512, 512))
    given = parser.parse_args()
    give_way(load_settings().process)  # as watchers and workers do
    raw = LivingCell(shape_zyx=tuple(given.shape)).exposed(0)
    address = free_address()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        device, model = "cpu", "fast"
        if given.rate:
            device, model = _fast_device(folder, given.rate)
        words = ("worker", "--scheduler", address, "--device", device, "--model", model)
        worker = Started(folder / "w", *words)
        with ended(a_scheduler(folder / "s", address), worker):
            worker.wait_for("restores with")
            (here, here_at_once), (there, there_at_once) = (
                _restorer(each, model) for each in (device, address)
            )
            assert isinstance(there, RemoteRestorer)
            assert np.array_equal(here.restore(raw).volume, there.restore(raw).volume)
            ratios, carried, transfer = [], [], []
            for _ in range(given.pairs):
                alone_s, _ = _timed(here, raw, given.stacks, here_at_once)
                before = _carried()
                there_s, last = _timed(there, raw, given.stacks, there_at_once)
                ratios.append(there_s / alone_s)
                transfer.append(last.seconds["transfer"])
                useful = given.stacks * (raw.nbytes + last.volume.nbytes)
                carried.append((_carried() - before) / useful)
                print(f"here {alone_s:.3f} s, there {there_s:.3f} s", flush=True)
            there.close()
    print(f"time there / here: {' '.join(f'{r:.3f}' for r in ratios)}; "
          f"median {statistics.median(ratios):.3f}")  # fmt: skip
    print(f"of it beside the restoration (s): {' '.join(f'{t:.3f}' for t in transfer)}")
    print(f"bytes carried / (raw + result): {' '.join(f'{c:.4f}' for c in carried)}")
    return 0


def _restorer(device: str, model: str) -> tuple[StackRestorer, int]:
    """Return what restores there, and how many stacks a watcher gives it at once."""
    given: dict[str, Any] = {"inference": {"device": device}, "models": [{"model": model}]}
    model_set = load_models(load_settings(None, given), print)
    found = model_set.rules[0][1]
    assert found is not None
    return found, len(model_set.workers)


def _timed(
    restorer: StackRestorer, raw: Volume, stacks: int, at_once: int
) -> tuple[float, Restored]:
    """Restore a stack so often; return how long all took (s), and the last."""
    began = time.perf_counter()
    with ThreadPoolExecutor(min(at_once, stacks)) as pool:
        last = list(pool.map(lambda _: restorer.restore(raw), range(stacks)))[-1]
    return time.perf_counter() - began, last


def _fast_device(folder: Path, rate: float) -> tuple[str, str]:
    """Install a fake device for this process and those that it starts; return it and its model."""
    packages = folder / "packages"
    fake_device(packages)
    sys.path.append(str(packages))
    os.environ["PYTHONPATH"] = os.pathsep.join((os.environ.get("PYTHONPATH", ""), str(packages)))
    os.environ["HOST_RATE"] = str(rate)
    return "fake", str(identity_model(folder))


def _carried() -> int:
    return int(psutil.net_io_counters(pernic=True)["lo"].bytes_recv)


if __name__ == "__main__":
    raise SystemExit(main())
