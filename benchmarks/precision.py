"""What a reduced precision costs in accuracy and wins in speed, as a Markdown table.

    python benchmarks/precision.py [MODEL.onnx ...] [--seconds 10]

Without models: the bundled ones, and networks of the paper's sizes with random weights. The error
is measured node by node in each node's own type (``live_restore_export.quality.precision_error``),
the speed with ONNX Runtime's CPU provider.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from live_restore_export.network import RCAN, RCANConfig
from live_restore_export.onnx.export import load_model, read_card
from live_restore_export.onnx.graph import build_model, network_of
from live_restore_export.onnx.precision import convert
from live_restore_export.onnx.verify import cpu_session, run_session
from live_restore_export.quality.precision_error import measure

from live_restore.errors import ModelError

PRECISIONS = ("fp32", "mixed", "fp16", "bf16")
PAPER = {
    "G2 B3 C32, random weights": RCANConfig(groups=2, blocks=3),
    "G5 B3 C32, random weights": RCANConfig(),
}
TILE_ZYX = (16, 64, 64)


def speeds(models: Sequence[onnx.ModelProto], channels: int, seconds: float) -> list[str]:
    """Return Mvoxel per second of one core of each model, the best of runs in ``seconds`` each.

    Processor time is counted, not wall time, and the models take turns: other work on the machine
    then hardly matters, and where it does, it slows down all of them alike.
    """
    sessions = []
    for model in models:
        try:
            sessions.append(cpu_session(model))
        except ModelError:
            sessions.append(None)
    image = np.random.default_rng(0).random((1, channels, *TILE_ZYX), dtype=np.float32)
    best = [np.inf] * len(sessions)
    deadline = time.monotonic() + seconds * len(sessions)
    while time.monotonic() < deadline:
        for index, session in enumerate(sessions):
            if session is not None:
                started = time.process_time()
                run_session(session, image)
                best[index] = min(best[index], time.process_time() - started)
    rates = np.prod(TILE_ZYX) / np.array(best) / 1e6
    return [f"{rate:.3f}" if rate else "not possible" for rate in rates]


def rows(name: str, network: RCAN, seconds: float) -> list[str]:
    """Return the table's rows of one network."""
    exact, table = build_model(network), []
    models = [convert(exact, network.config, precision) for precision in PRECISIONS]
    rates = speeds(models, network.config.in_channels, seconds)
    for precision, model, rate in zip(PRECISIONS, models, rates, strict=True):
        size = f"{len(model.SerializeToString()) / 1e6:.2f}"
        errors = ["0", "0"]
        if precision != "fp32":
            error = measure(model, exact, network.config, bound=1)
            errors = [f"{error.relative_rms:.1e}", f"{error.largest:.1e}"]
        table.append("| " + " | ".join([name, precision, size, *errors, rate]) + " |")
    return table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL.onnx")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each speed")
    arguments = parser.parse_args()
    bundled = Path(__file__).parents[1] / "live_restore" / "models"
    networks = {}
    for path in arguments.models or sorted(bundled.glob("*.onnx")):
        model = load_model(path)
        networks[path.stem] = network_of(model, read_card(model).architecture)
    if not arguments.models:
        for name, config in PAPER.items():
            torch.manual_seed(0)
            networks[name] = RCAN(config).eval()
    print("| network | precision | MB | relative rms error | largest error | Mvoxel/s per core |")
    print("|---|---|---:|---:|---:|---:|")
    for name, network in networks.items():
        for row in rows(name, network, arguments.seconds):
            print(row, flush=True)


if __name__ == "__main__":
    main()
