"""How much of the network's rate is left in the restorer and in ``watch --once``.

    python benchmarks/pipeline.py [--stacks 64] [--shape 32,512,512] [--model fast]

Asked for: the restorer at 90 % of the network alone, the pipeline at 90 % of the restorer, on a
computer that does nothing else. Files are real; ``watch --once`` runs in a process of its own and
its start is counted out by a run over one stack. Busy is the share of that time in which the
restorer worked, as the reports tell: what is missing is waiting for the disk.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from live_restore.inference.backends.session import Shape5
from live_restore.inference.device.hardware import available_cores, cpu_name
from live_restore.inference.load import find_model, load_model
from live_restore.inference.restorer import Restorer
from live_restore.settings.model import InferenceSettings
from live_restore.simulation.microscope import record
from live_restore.simulation.scene import LivingCell


class Alone:
    """Network and restorer without files, in turn."""

    def __init__(self, model_name: str, shape_zyx: tuple[int, int, int]) -> None:
        model = load_model(find_model(model_name))
        self._session, self._restorer = model.session, Restorer(model, InferenceSettings())
        self._stack = LivingCell(shape_zyx=shape_zyx).exposed(0)
        tile_zyx = self._restorer.restore(self._stack).tile_zyx  # the first of a shape is checked
        shape: Shape5 = (1, 1, *tile_zyx)
        self._tile = np.random.default_rng(0).random(shape, np.float32)
        self.network: list[float] = []
        self.restorer: list[float] = []
        device = model.session.device
        print(f"{device.name} {device.precision}, tiles of {tile_zyx}: {device.reason}")

    def measure(self, rounds: int) -> None:
        """Add rates (voxels per second)."""
        for _ in range(rounds):
            started = time.perf_counter()
            self._session.run(self._tile)
            between = time.perf_counter()
            self._restorer.restore(self._stack)
            self.network.append(self._tile.size / (between - started))
            self.restorer.append(self._stack.size / (time.perf_counter() - between))


def watched(model_name: str, shape_zyx: tuple[int, int, int], stacks: int) -> tuple[float, float]:
    """Return the time of ``watch --once`` for ``stacks`` files, and of the restorer in it (s)."""
    with tempfile.TemporaryDirectory() as name:
        folder, config = Path(name) / "data", Path(name) / "config.toml"
        folder.mkdir()
        record(folder, LivingCell(shape_zyx=shape_zyx), stacks, plane_interval_s=0.0)
        config.write_text(
            f'[journal]\nfolder = "{(Path(name) / "state").as_posix()}"\n'
            f'[[models]]\nmodel = "{model_name}"\n'
        )
        command = [sys.executable, "-m", "live_restore", "watch", str(folder), "--once",
                   "--config", str(config)]  # fmt: skip
        started = time.perf_counter()
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        taken = time.perf_counter() - started
        reports = [json.loads(path.read_text()) for path in folder.glob("restored/*.json")]
        assert len(reports) == stacks
        inside = sum(r["seconds"][k] for r in reports for k in ("normalise", "network", "finish"))
        return taken, inside


def main() -> None:
    """Print the three rates and the two shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stacks", type=int, default=64)
    parser.add_argument("--shape", default="32,512,512", metavar="Z,Y,X")
    parser.add_argument("--model", default="fast")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.stacks < 2:
        parser.error("--stacks must be at least 2: the start is counted out by a run over one")
    z, y, x = map(int, arguments.shape.split(","))
    print(f"{cpu_name()}, {available_cores()} cores; {arguments.stacks} stacks of {z} x {y} x {x}")
    alone = Alone(arguments.model, (z, y, x))
    alone.measure(arguments.rounds)
    one, one_inside = watched(arguments.model, (z, y, x), 1)
    many, inside = watched(arguments.model, (z, y, x), arguments.stacks)
    alone.measure(arguments.rounds)  # again: computers are slower now and then
    network, restorer = map(statistics.median, (alone.network, alone.restorer))
    pipeline = z * y * x * (arguments.stacks - 1) / (many - one)
    for name, rate in (("network", network), ("restorer", restorer), ("pipeline", pipeline)):
        print(f"{name:9s} {rate / 1e6:7.2f} Mvoxel/s")
    print(f"restorer / network   {restorer / network:.0%}")
    print(f"pipeline / restorer  {pipeline / restorer:.0%}")
    print(f"busy: {(inside - one_inside) / (many - one):.1%} of the pipeline's time")
    print(f"all: {many:.0f} s, {z * y * x * arguments.stacks / many / 1e6:.2f} Mvoxel/s with start")


if __name__ == "__main__":
    main()
