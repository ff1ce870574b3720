"""Few wide layers or many narrow ones? Whole networks side by side, random weights, 2 x 2 folded.

    python benchmarks/widths.py [--networks 24,2,2 32,1,3] [--shape 16,256,256]

A network is its channels, groups and blocks. All take turns on the same tile; ratios are over the
first one, which is that of the bundled model ``fast``. Nothing is said about images: that takes
training.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch
from live_restore_export.network import RCAN, RCANConfig
from live_restore_export.onnx.export import export_network, make_card
from turns import in_turns, times_as_fast

from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.session import Shape5
from live_restore.inference.backends.table import make_backends
from live_restore.inference.device.check import known_tile
from live_restore.inference.device.hardware import available_cores, cpu_name

# As many products: 24,2,2 and between 32,1,2 and 32,1,3.
_NETWORKS = ("24,2,2", "32,2,2", "32,1,3", "32,2,1", "32,1,2", "48,1,1")


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(_NETWORKS), metavar="C,G,B")
    parser.add_argument("--shape", default="16,256,256", metavar="Z,Y,X")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    z, y, x = map(int, arguments.shape.split(","))
    shape: Shape5 = (1, 1, z, y, x)
    sources, flop = {}, {}
    for asked in arguments.networks:
        channels, groups, blocks = map(int, asked.split(","))
        config = RCANConfig(groups, blocks, channels, reduction=4, lateral_shuffle=2)
        torch.manual_seed(0)
        network = RCAN(config).eval()
        card = make_card(config, "widths")
        content = export_network(network, card).SerializeToString()
        source = ModelSource.of(Path("widths.onnx"), content)
        name = f"C {channels}, G {groups}, B {blocks}"
        sources[name] = source
        weights = (p for p in network.parameters() if p.shape[2:] == (3, 3, 3))
        flop[name] = 2 * sum(p.numel() for p in weights) / config.lateral_shuffle**2
    tile = known_tile(shape, card)
    print(f"{cpu_name()}, {available_cores()} cores, {z} x {y} x {x}")
    print("| network | FLOP per voxel | device | Mvoxel/s | over the first | GFLOP/s |")
    print("|---|---:|---|---:|---:|---:|")
    for backend in make_backends():
        if backend.obstacle() or not backend.on_cpu:
            continue
        for precision in backend.precisions():
            sessions = {
                name: backend.open(source, shape, precision, 0, Limits())
                for name, source in sources.items()
            }
            taken = in_turns(sessions, tile, arguments.rounds)
            first = next(iter(taken.values()))
            for name, each in taken.items():
                ratio = times_as_fast(each, first)
                rate = tile.size / statistics.median(each)
                print(
                    f"| {name} | {flop[name]:.0f} | {backend.name} {precision} | {rate / 1e6:.3f} "
                    f"| {ratio:.2f} x | {rate * flop[name] / 1e9:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
