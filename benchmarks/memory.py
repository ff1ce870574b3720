"""Memory of ``watch --once``: stacks of many shapes, then a time-lapse larger than memory.

    python benchmarks/memory.py [--only shapes] [--stacks 500] [--gigabytes 4] [--light]

Each is told beside what one stack of the largest shape takes alone: the model's own need, with the
interpreter and the libraries. Growth is the most memory in the last fifth of the stacks, less the
most in the second fifth. Exit code 1 where more than ``--limit-gb`` beyond the model's need was
taken, or where it grew by more than ``--growth-mb``. ``--light`` takes a network of next to no work
(needs the workshop): what is looked for is in the pipeline, and 4 GB are then a matter of minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import tifffile

from live_restore.inference.device.hardware import available_cores, cpu_name

_PLANES_YX = (16, 512, 512)
_SMALLEST_ZYX, _LARGEST_ZYX = (4, 48, 48), (16, 192, 192)
_LOOK_S = 0.05


@dataclass(frozen=True)
class Seen:
    """Memory of a process (GB), seen every 50 ms from its start to its end."""

    gigabytes: list[float]

    @property
    def peak(self) -> float:
        """The most."""
        return max(self.gigabytes)

    @property
    def fifths(self) -> list[float]:
        """The most in each fifth of the time."""
        parts = np.array_split(np.array(self.gigabytes), 5)
        return [float(part.max()) if part.size else 0.0 for part in parts]


def many_shapes(folder: Path, stacks: int) -> None:
    """Write small stacks, each of another shape."""
    rng = np.random.default_rng(0)
    for number in range(stacks):
        shape = tuple(
            int(rng.integers(low, high))
            for low, high in zip(_SMALLEST_ZYX, _LARGEST_ZYX, strict=True)
        )
        write(folder / f"{number:04d}.ome.tif", rng.poisson(200, shape).astype(np.uint16))


def write(path: Path, stack: np.ndarray) -> None:
    """Write one stack as OME-TIFF."""
    tifffile.imwrite(path, stack, ome=True, photometric="minisblack", metadata={"axes": "ZYX"})


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


def light_network(folder: Path) -> Path:
    """Write a very small network with random weights; return its file."""
    import torch
    from live_restore_export.network import RCAN, RCANConfig
    from live_restore_export.onnx.export import export_network, make_card

    torch.manual_seed(0)
    config = RCANConfig(groups=1, blocks=1, channels=8, reduction=2, lateral_shuffle=2)
    model = export_network(RCAN(config).eval(), make_card(config, "light"))
    path = folder / "light.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def watched(fill: Callable[[Path], None], model: str) -> Seen:
    """Restore a folder that ``fill`` fills, by a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "data"
        folder.mkdir()
        fill(folder)
        process = psutil.Popen(
            [sys.executable, "-m", "live_restore", "watch", str(folder), "--once"],
            env={
                **os.environ,
                "LIVE_RESTORE_JOURNAL__FOLDER": f"{place}/state",
                "LIVE_RESTORE_MODELS": json.dumps([{"model": model}]),
            },
            stderr=subprocess.DEVNULL,
        )
        seen = []
        while process.poll() is None:
            try:
                seen.append(process.memory_info().rss / 1e9)
            except psutil.NoSuchProcess:
                break
            time.sleep(_LOOK_S)
        if process.wait() != 0:
            raise SystemExit(f"watch --once failed in {folder}")
        return Seen(seen)


def main() -> int:
    """Print what was seen; return an exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["shapes", "time-lapse"])
    parser.add_argument("--stacks", type=int, default=500)
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--limit-gb", type=float, default=2.0)
    parser.add_argument("--growth-mb", type=float, default=100.0)
    parser.add_argument("--light", action="store_true")
    arguments = parser.parse_args()
    print(f"{cpu_name()}, {available_cores()} cores")
    with tempfile.TemporaryDirectory() as place:
        model = str(light_network(Path(place))) if arguments.light else "fast"
        return int(not measure(arguments, model))


def measure(arguments: argparse.Namespace, model: str) -> bool:
    """Print a line per kind; return whether all stayed within the limits."""
    good = True
    fills: dict[str, tuple[tuple[int, ...], Callable[[Path], None]]] = {
        "shapes": (_LARGEST_ZYX, lambda folder: many_shapes(folder, arguments.stacks)),
        "time-lapse": (_PLANES_YX, lambda folder: time_lapse(folder, arguments.gigabytes)),
    }
    for name, (shape, fill) in fills.items():
        if arguments.only not in (None, name):
            continue
        one = np.random.default_rng(0).poisson(200, shape).astype(np.uint16)
        alone = watched(lambda folder, one=one: write(folder / "one.ome.tif", one), model)  # type: ignore[misc]
        seen = watched(fill, model)
        beyond, growth = seen.peak - alone.peak, seen.fifths[-1] - seen.fifths[1]
        print(
            f"{name:10s} peak {seen.peak:.2f} GB, one stack alone {alone.peak:.2f} GB, "
            f"beyond it {beyond:.2f} GB; growth {growth * 1e3:.0f} MB "
            f"(fifths: {', '.join(f'{fifth:.3f}' for fifth in seen.fifths)})",
            flush=True,
        )
        good &= beyond < arguments.limit_gb and growth * 1e3 < arguments.growth_mb
    return good


if __name__ == "__main__":
    sys.exit(main())
