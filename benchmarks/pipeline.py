"""How much of the network's rate is left in the restorer and in ``watch --once``.

    python benchmarks/pipeline.py [--stacks 64] [--shape 32,512,512] [--model fast]

Asked for: the restorer at 90 % of the network alone, the pipeline at 90 % of the restorer, on a
computer that does nothing else. Files are real; ``watch --once`` runs in a process of its own and
its start is counted out by a run over one stack.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from live_restore.demo.microscope import record
from live_restore.demo.scene import LivingCell
from live_restore.inference.hardware import available_cores, cpu_name
from live_restore.inference.model import find_model, load_model
from live_restore.inference.restorer import Restorer
from live_restore.inference.sessions import Shape5
from live_restore.settings import InferenceSettings


def alone(model_name: str, shape_zyx: tuple[int, int, int], rounds: int) -> tuple[float, float]:
    """Return the rates of the network and of the restorer (voxels per second), in turn."""
    model = load_model(find_model(model_name))
    restorer = Restorer(model, InferenceSettings())
    stack = LivingCell(shape_zyx=shape_zyx).exposed(0)
    tile_zyx = restorer.restore(stack).tile_zyx
    shape: Shape5 = (1, 1, *tile_zyx)
    tile = np.random.default_rng(0).random(shape, np.float32)
    print(f"{model.session.device.name} {model.session.device.precision}, tiles of {tile_zyx}")
    network_s, restorer_s = np.inf, np.inf
    for _ in range(rounds):
        started = time.perf_counter()
        model.session.run(tile)
        between = time.perf_counter()
        restorer.restore(stack)
        network_s = min(network_s, between - started)
        restorer_s = min(restorer_s, time.perf_counter() - between)
    return tile.size / network_s, stack.size / restorer_s


def watched(model_name: str, shape_zyx: tuple[int, int, int], stacks: int) -> float:
    """Return the time that ``watch --once`` takes for ``stacks`` files (s)."""
    with tempfile.TemporaryDirectory() as name:
        folder, config = Path(name) / "data", Path(name) / "config.toml"
        folder.mkdir()
        record(folder, LivingCell(shape_zyx=shape_zyx), stacks, plane_interval_s=0.0)
        config.write_text(
            f'[journal]\nfolder = "{(Path(name) / "state").as_posix()}"\n'
            f'[[models]]\nmodel = "{model_name}"\n'
        )
        command = [sys.executable, "-m", "live_restore.cli", "watch", str(folder), "--once",
                   "--config", str(config)]  # fmt: skip
        started = time.perf_counter()
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        return time.perf_counter() - started


def main() -> None:
    """Print the three rates and the two shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stacks", type=int, default=64)
    parser.add_argument("--shape", default="32,512,512", metavar="Z,Y,X")
    parser.add_argument("--model", default="fast")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.stacks < 2:
        parser.error("--stacks must be at least 2: the start is counted out by a run over one")
    z, y, x = map(int, arguments.shape.split(","))
    print(f"{cpu_name()}, {available_cores()} cores; {arguments.stacks} stacks of {z} x {y} x {x}")
    network, restorer = alone(arguments.model, (z, y, x), arguments.rounds)
    one = watched(arguments.model, (z, y, x), 1)
    many = watched(arguments.model, (z, y, x), arguments.stacks)
    pipeline = z * y * x * (arguments.stacks - 1) / (many - one)
    for name, rate in (("network", network), ("restorer", restorer), ("pipeline", pipeline)):
        print(f"{name:9s} {rate / 1e6:7.2f} Mvoxel/s")
    print(f"restorer / network   {restorer / network:.0%}")
    print(f"pipeline / restorer  {pipeline / restorer:.0%}")


if __name__ == "__main__":
    main()
