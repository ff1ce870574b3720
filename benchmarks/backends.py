"""Two backends on the same tile in turn: the paired ratio of their rates.

    python benchmarks/backends.py [--model MODEL.onnx] [--shape 16,128,128]

Without a model: C 32, G 2, B 3 with random weights, made by the workshop. The backends take turns,
so that other work on the computer slows down both; the median of the ratios is what counts. Last
comes what "auto" chooses for that tile.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from turns import in_turns, times_as_fast

from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.session import Session, Shape5
from live_restore.inference.backends.table import make_backends
from live_restore.inference.device.check import known_tile, relative_rms
from live_restore.inference.device.hardware import available_cores, cpu_name
from live_restore.inference.load import load_model, model_bytes


def random_network(folder: Path) -> Path:
    """Write C 32, G 2, B 3 with random weights; return its file."""
    import torch
    from live_restore_export.network import RCAN, RCANConfig
    from live_restore_export.onnx.export import export_network, make_card

    torch.manual_seed(0)
    config = RCANConfig(groups=2, blocks=3)
    model = export_network(RCAN(config).eval(), make_card(config, "random-c32-g2-b3"))
    path = folder / "random.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def compare(path: Path, shape_zyx: tuple[int, int, int], rounds: int, threads: int) -> None:
    """Print a line per backend and precision."""
    source = ModelSource.of(path, model_bytes(path))
    card = load_model(path, "cpu", threads).card
    shape: Shape5 = (1, card.input_channels, *shape_zyx)
    tile = known_tile(shape, card)
    sessions: dict[str, Session] = {}
    for backend in make_backends():
        if not backend.obstacle():
            for precision in backend.precisions():
                sessions[f"{backend.name} {precision}"] = backend.open(
                    source, shape, precision, 0, Limits(threads)
                )
    right = sessions["cpu fp32"].run(tile)
    errors = {name: relative_rms(each.run(tile), right) for name, each in sessions.items()}
    times = in_turns(sessions, tile, rounds)
    for name, taken in times.items():
        ratio = times_as_fast(taken, times["cpu fp32"])
        rate = tile.size / min(taken) / 1e6
        print(f"{name:18s} {rate:7.3f} Mvoxel/s  {ratio:5.1f} x cpu  error {errors[name]:.1e}")
    chosen = load_model(path, "auto", threads).session
    chosen.run(tile)
    print(f"auto: {chosen.device.name} {chosen.device.precision}: {chosen.device.reason}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--shape", default="16,128,128", metavar="Z,Y,X")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    arguments = parser.parse_args()
    z, y, x = map(int, arguments.shape.split(","))
    threads = arguments.threads or available_cores()
    print(f"{cpu_name()}, {threads} threads, tiles of {z} x {y} x {x}")
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.model or random_network(Path(folder))
        compare(path, (z, y, x), arguments.rounds, arguments.threads)


if __name__ == "__main__":
    main()
