"""What does the host cost beside a fast device? ``watch --once`` with one that takes no time.

    python benchmarks/host.py [--old ../before] [--stacks 16] [--shape 32,512,512] [--rates 0,150]

Files are real, and so are results, journal and process; only the device is not: an identity that
takes the time of one of so many million voxels per second (0: none at all), and no processor time
(``fake_device.py``). What a run over one stack takes is counted out, and with it the start. Told
are, for each rate: the pipeline's rate; its processor time per voxel, kernel included; of that the
stages, each without those inside it; and the busiest thread, at whose inverse the pipeline stops
however many cores there are. ``--old`` measures another checkout in turns with this one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from live_restore.inference.device.hardware import available_cores, cpu_name
from live_restore.inference.model.card import CARD_KEY, ModelCard
from live_restore.simulation.microscope import record
from live_restore.simulation.scene import LivingCell

_HERE = Path(__file__).parent
_DIFFERENT = 2  # of the stacks; making them takes longer than restoring them


@dataclass(frozen=True)
class Run:
    """What a process took: seconds of the clock and of the processor, and those of its stages."""

    wall_s: float
    cpu_s: float
    stages: dict[str, float]
    threads: dict[str, float]


@dataclass(frozen=True)
class Cost:
    """Nanoseconds per voxel: of the clock, of the processor, of stages and of threads in them."""

    wall: float
    cpu: float
    stages: dict[str, float]
    threads: dict[str, float]

    @classmethod
    def between(cls, one: Run, many: Run, voxels: int) -> Cost:
        """Return what the stacks cost that ``many`` has and ``one`` has not."""

        def each(a: dict[str, float], b: dict[str, float]) -> dict[str, float]:
            return {key: (b[key] - a.get(key, 0.0)) / voxels * 1e9 for key in b}

        wall, cpu = many.wall_s - one.wall_s, many.cpu_s - one.cpu_s
        stages, threads = each(one.stages, many.stages), each(one.threads, many.threads)
        stages["other"] = cpu / voxels * 1e9 - sum(stages.values())
        return cls(wall / voxels * 1e9, cpu / voxels * 1e9, stages, threads)


class Bench:
    """Stacks, a model that changes nothing, and the fake device as an installed package."""

    def __init__(self, place: Path, shape_zyx: tuple[int, int, int], stacks: int) -> None:
        self._place = place
        self._stacks = stacks
        self._warm: set[Path] = set()
        self._voxels = shape_zyx[0] * shape_zyx[1] * shape_zyx[2]
        self._model = identity_model(place)
        fake_device(place / "packages")
        (place / "made").mkdir()
        record(place / "made", LivingCell(shape_zyx=shape_zyx), min(stacks, _DIFFERENT), 0.0)

    def cost(self, checkout: Path, rate: float) -> Cost:
        """Return what a stack more costs in a checkout."""
        if checkout not in self._warm:  # it keeps the right known answers
            self._run(checkout, rate, 1)
            self._warm.add(checkout)
        one, many = self._run(checkout, rate, 1), self._run(checkout, rate, self._stacks)
        return Cost.between(one, many, self._voxels * (self._stacks - 1))

    def _run(self, checkout: Path, rate: float, stacks: int) -> Run:
        base = Path(tempfile.mkdtemp(dir=self._place))
        folder, clock = base / "data", base / "clock.json"
        folder.mkdir()
        made = sorted((self._place / "made").iterdir())
        for number in range(stacks):
            shutil.copy(made[number % len(made)], folder / f"cell_{number:03d}.ome.tif")
        os.sync()  # what the copies cost is not the pipeline's
        paths = (checkout, checkout / "export", self._place / "packages")
        command = [sys.executable, "-m", "live_restore", "watch", str(folder), "--once"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        subprocess.run(
            [*command, "--device", "fake", "--model", str(self._model)],
            check=True,
            cwd=base,
            stderr=subprocess.DEVNULL,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(map(str, paths)),
                "LIVE_RESTORE_JOURNAL__FOLDER": str(base / "state"),
                "XDG_STATE_HOME": str(self._place / "state"),  # known answers, kept between runs
                "HOST_RATE": str(rate),
                "HOST_CLOCK": str(clock),
            },
        )
        wall = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert len(list(folder.glob("restored/*.json"))) == stacks
        stages: dict[str, float] = defaultdict(float)
        threads: dict[str, float] = defaultdict(float)
        for stage, thread, seconds in json.loads(clock.read_text())["stages"]:
            stages[stage] += seconds
            threads[thread] += seconds
        shutil.rmtree(base)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Run(wall, cpu, stages, threads)


def fake_device(packages: Path) -> None:
    """Install the fake device as a package there."""
    metadata = packages / "fake_device-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-device\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[live_restore.backends]\nfake = fake_device:FakeDevice\n"
    )
    shutil.copy(_HERE / "fake_device.py", packages)


def identity_model(folder: Path) -> Path:
    """Write a model that returns what it is given."""
    from onnx import TensorProto, helper

    axes: list[str | int | None] = ["n", 1, "z", "y", "x"]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name in ("i", "o")]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["i"], ["o"])], "identity", infos[:1], infos[1:]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {CARD_KEY: ModelCard(name="identity").model_dump_json()})
    path = folder / "identity.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def median_cost(costs: list[Cost]) -> Cost:
    """Return the median of each number."""

    def each(dicts: list[dict[str, float]]) -> dict[str, float]:
        keys = dict.fromkeys(key for one in dicts for key in one)
        return {key: statistics.median(one.get(key, 0.0) for one in dicts) for key in keys}

    return Cost(
        statistics.median(cost.wall for cost in costs),
        statistics.median(cost.cpu for cost in costs),
        each([cost.stages for cost in costs]),
        each([cost.threads for cost in costs]),
    )


def show(rate: float, found: dict[str, Cost]) -> None:
    """Print what a rate gave."""
    print(f"\ndevice: {f'{rate:g} Mvoxel/s' if rate else 'takes no time'}")
    print(f"  {'':28s}" + "".join(f"{name:>9s}" for name in found))
    lines = {
        "pipeline, Mvoxel/s": [1e3 / cost.wall for cost in found.values()],
        "processor, ns per voxel": [cost.cpu for cost in found.values()],
    }
    for stage in dict.fromkeys(stage for cost in found.values() for stage in cost.stages):
        lines[f"  {stage}"] = [cost.stages.get(stage, 0.0) for cost in found.values()]
    for thread in dict.fromkeys(thread for cost in found.values() for thread in cost.threads):
        lines[f"in the thread {thread}"] = [c.threads.get(thread, 0.0) for c in found.values()]
    for name, values in lines.items():
        print(f"  {name:28s}" + "".join(f"{value:9.2f}" for value in values))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", type=Path, help="another checkout, measured in turns")
    parser.add_argument("--stacks", type=int, default=16)
    parser.add_argument("--shape", default="32,512,512", metavar="Z,Y,X")
    parser.add_argument("--rates", default="0,150,300,1000", help="Mvoxel/s; 0: takes no time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also written there")
    arguments = parser.parse_args()
    if arguments.stacks < 2:
        parser.error("--stacks must be at least 2: the start is counted out by a run over one")
    z, y, x = map(int, arguments.shape.split(","))
    checkouts = {"new": _HERE.parent}
    if arguments.old is not None:
        checkouts = {"old": arguments.old.resolve(), **checkouts}
    print(f"{cpu_name()}, {available_cores()} cores; {arguments.stacks} stacks of {z} x {y} x {x}")
    kept = {}
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(Path(place), (z, y, x), arguments.stacks)
        for rate in map(float, arguments.rates.split(",")):
            costs: dict[str, list[Cost]] = {name: [] for name in checkouts}
            for _ in range(arguments.rounds):
                for name, checkout in checkouts.items():
                    costs[name].append(bench.cost(checkout, rate))
            found = {name: median_cost(each) for name, each in costs.items()}
            show(rate, found)
            kept[f"{rate:g}"] = {name: vars(cost) for name, cost in found.items()}
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
