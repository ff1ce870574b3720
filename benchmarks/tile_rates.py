"""How large a tile is the fastest on the processor? Rates over stacks, overlaps counted, in turns.

    python benchmarks/tile_rates.py [--run fast:32,512,512:openvino-bf16 ...] [--rounds 3]

One tile of each size is run per round; with the number of such tiles that cover the stack, and what
cutting and blending them takes, that is the rate over the stack. "random" is C 32, G 2, B 3 with
random weights. The first column is the whole stack as one tile; ratios are over that, the median of
those of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from backends import random_network
from turns import times_as_fast

from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.session import Floats, Session, Shape5
from live_restore.inference.backends.table import make_backends
from live_restore.inference.device.check import known_tile
from live_restore.inference.device.hardware import available_cores, cpu_name
from live_restore.inference.image.tiling import TilePlan, plan_tiles, run_tiled
from live_restore.inference.load import find_model, load_model, model_bytes

_SIZES = (8.4, 4.2, 2.1, 1.05, 0.5, 0.25, 0.15)
"""Million voxels at most, as powers of two are; the smallest that "auto" takes anywhere is 0.5."""
_RUNS = tuple(
    f"{model}:{shape}:{device}"
    for model, shape in (
        ("fast", "32,512,512"),
        ("fast", "16,256,256"),
        ("standard", "16,256,256"),
        ("random", "16,256,256"),
    )
    for device in ("openvino-bf16", "openvino-fp32", "cpu-fp32")
)


def seconds(work: Callable[..., object], *given: object) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    work(*given)
    return time.perf_counter() - began


def blending_s(stack: Floats, plan: TilePlan) -> float:
    """Return what cutting, scaling and blending of a stack's tiles takes (s)."""
    return seconds(run_tiled, stack, plan, lambda raw: raw * np.float32(0.01), lambda tile: tile)


def measure(path: Path, asked: str, rounds: int, sizes: tuple[float, ...]) -> None:
    """Print a line per tile size."""
    name, shape, device = asked.split(":")
    z, y, x = map(int, shape.split(","))
    backend_name, _, precision = device.rpartition("-")
    source = ModelSource.of(path, model_bytes(path))
    card = load_model(path, "cpu").card
    backend = next(each for each in make_backends() if each.name == backend_name)
    if why_not := backend.obstacle():
        raise SystemExit(why_not)
    stack = np.zeros((z, y, x), np.float32)
    plans: dict[tuple[int, int, int], TilePlan] = {}
    for most in (stack.size / 1e6, *sizes):
        plan = plan_tiles((z, y, x), int(most * 1e6), card.overlap_zyx, card.shape_multiple_zyx)
        plans.setdefault(plan.tile_zyx, plan)
    sessions: dict[tuple[int, int, int], Session] = {}
    tiles: dict[tuple[int, int, int], Floats] = {}
    for tile_zyx in plans:
        whole: Shape5 = (1, card.input_channels, *tile_zyx)
        tiles[tile_zyx] = known_tile(whole, card)
        sessions[tile_zyx] = backend.open(source, whole, precision, 0, Limits())
        sessions[tile_zyx].run(tiles[tile_zyx])
    around = {tile_zyx: blending_s(stack, plan) for tile_zyx, plan in plans.items()}
    taken: dict[tuple[int, int, int], list[float]] = {tile_zyx: [] for tile_zyx in plans}
    for _ in range(rounds):
        for tile_zyx, plan in plans.items():
            one = seconds(sessions[tile_zyx].run, tiles[tile_zyx])
            taken[tile_zyx].append(plan.tile_count * one + around[tile_zyx])
    first = next(iter(taken.values()))
    for tile_zyx, plan in plans.items():
        rate = stack.size / statistics.median(taken[tile_zyx]) / 1e6
        ratio = times_as_fast(taken[tile_zyx], first)
        shown = " x ".join(map(str, tile_zyx))
        print(
            f"| {name} {z} x {y} x {x} | {backend_name} {precision} | {plan.tile_count} of {shown} "
            f"| {rate:.3f} | {ratio:.2f} x |",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", action="append", default=[], metavar="MODEL:Z,Y,X:DEVICE")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=float, nargs="+", default=list(_SIZES), metavar="MVOXEL")
    arguments = parser.parse_args()
    print(f"{cpu_name()}, {available_cores()} cores")
    print("| stack | device | tiles | Mvoxel/s | over whole |")
    print("|---|---|---|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        made: Path | None = None
        for asked in arguments.run or _RUNS:
            name = asked.partition(":")[0]
            if name == "random":
                made = made or random_network(Path(folder))
            path = made if name == "random" and made else find_model(name)
            measure(path, asked, arguments.rounds, tuple(arguments.sizes))


if __name__ == "__main__":
    main()
