"""Networks of the paper's sizes on an NVIDIA GPU: our sessions against PyTorch, as a table.

    python benchmarks/gpu.py [--json gpu.json] [--rounds 5]

Not run yet: written for a machine that nobody had. Random weights, whole volumes, tensors already
on the GPU for PyTorch, copied in and out by our sessions (as they are in use). The ceiling is a
matrix product of 8192 x 8192 in the same type. A method that fails says why in its row.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from export.network import RCAN, RCANConfig
from export.onnx import export_network, make_card
from export.precision import convert
from live_restore.bench.work import flop_per_voxel
from live_restore.errors import LiveRestoreError
from live_restore.inference.backends.base import Limits, ModelSource
from live_restore.inference.backends.table import make_backends
from live_restore.inference.sessions import Shape5

NETWORKS = {"G5 B5 C32": RCANConfig(blocks=5), "G3 B3 C32": RCANConfig(groups=3)}
VOLUMES = ((12, 1550, 1920), (318, 275, 425))
_MATRIX = 8192
_TYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16,
          "bf16": torch.bfloat16}  # fmt: skip
Work = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One method on one network and volume."""

    network: str
    volume_zyx: tuple[int, int, int]
    method: str
    precision: str
    seconds: float = 0.0
    mvoxel_per_s: float = 0.0
    tflops: float = 0.0
    share_of_ceiling: float = 0.0
    error: str = ""


def best(work: Work, rounds: int) -> float:
    """Return the least time (s), after a warm-up that may compile and search."""
    work()
    torch.cuda.synchronize()
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return min(taken)


def allow_tf32(allowed: bool) -> None:
    """Let float32 products be rounded to 10 bits, or not."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def ceilings(rounds: int) -> dict[str, float]:
    """Return FLOP/s of matrix products per precision."""
    found = {}
    for precision, dtype in _TYPES.items():
        allow_tf32(precision == "tf32")
        left = torch.rand(_MATRIX, _MATRIX, dtype=dtype, device="cuda")

        def product(matrix: Tensor = left) -> Tensor:
            return matrix @ matrix

        found[precision] = 2.0 * _MATRIX**3 / best(product, rounds)
    return found


def torch_work(network: RCAN, volume: Tensor, precision: str, compiled: bool) -> Work:
    """Return what runs the network in PyTorch, channels last."""
    allow_tf32(precision == "tf32")
    dtype = _TYPES[precision]
    moved = network.to("cuda", dtype, memory_format=torch.channels_last_3d)
    image = volume.to("cuda", dtype, memory_format=torch.channels_last_3d)
    run = torch.compile(moved) if compiled else moved

    def work() -> object:
        with torch.inference_mode():
            return run(image)

    return work


def session_work(config: RCANConfig, volume: Tensor, backend_name: str, precision: str) -> Work:
    """Return what runs the network in one of our sessions; fp16 and bf16 are in the model."""
    torch.manual_seed(0)
    model = export_network(RCAN(config).eval(), make_card(config, "bench"))
    in_session = precision if precision == "tf32" else "fp32"
    if precision in ("fp16", "bf16"):
        model = convert(model, config, precision)
    content = model.SerializeToString()
    source = ModelSource(Path("bench.onnx"), content, hashlib.sha256(content).hexdigest())
    backend = next(b for b in make_backends() if b.name == backend_name)
    if why_not := backend.obstacle():
        raise LiveRestoreError(why_not)
    tile = np.ascontiguousarray(volume.numpy())
    n, c, z, y, x = tile.shape
    shape: Shape5 = (n, c, z, y, x)
    session = backend.open(source, shape, in_session, 0, Limits(build=True))
    return lambda: session.run(tile)


def methods(config: RCANConfig, volume: Tensor) -> list[tuple[str, str, Callable[[], Work]]]:
    """Return name, precision and maker of everything that is compared."""

    def eager(precision: str, compiled: bool) -> Callable[[], Work]:
        def make() -> Work:
            torch.manual_seed(0)
            return torch_work(RCAN(config).eval(), volume, precision, compiled)

        return make

    def ours(backend: str, precision: str) -> Callable[[], Work]:
        return lambda: session_work(config, volume, backend, precision)

    return [
        *(("torch eager", p, eager(p, False)) for p in ("fp32", "tf32", "fp16")),
        *(("torch.compile", p, eager(p, True)) for p in ("tf32", "fp16")),
        *(("cuda", p, ours("cuda", p)) for p in ("fp32", "tf32", "fp16", "bf16")),
        *(("tensorrt", p, ours("tensorrt", p)) for p in ("fp32", "fp16")),
    ]


def main() -> None:
    """Print a Markdown table; with ``--json`` write the rows, too."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("PyTorch finds no CUDA device")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    ceiling = ceilings(arguments.rounds)
    for precision, rate in ceiling.items():
        print(f"ceiling {precision}: {rate / 1e12:.1f} TFLOP/s")
    rows = []
    print("| network | volume | method | precision | s | Mvoxel/s | TFLOP/s | of ceiling |")
    print("|---|---|---|---|---:|---:|---:|---:|")
    for name, config in NETWORKS.items():
        flop = flop_per_voxel(make_card(config, "bench"))
        assert flop is not None
        for shape in VOLUMES:
            volume = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(0))
            for method, precision, make in methods(config, volume):
                try:
                    taken = best(make(), arguments.rounds)
                except (LiveRestoreError, RuntimeError) as error:  # torch raises RuntimeError
                    row = Row(name, shape, method, precision, error=str(error).splitlines()[0])
                    print(f"| {name} | {shape} | {method} | {precision} | {row.error} ||||")
                else:
                    rate = volume.numel() / taken
                    row = Row(
                        name, shape, method, precision, taken, rate / 1e6, rate * flop / 1e12,
                        rate * flop / ceiling[precision],
                    )  # fmt: skip
                    print(
                        f"| {name} | {shape} | {method} | {precision} | {taken:.2f} "
                        f"| {row.mvoxel_per_s:.1f} | {row.tflops:.1f} "
                        f"| {row.share_of_ceiling:.0%} |",
                        flush=True,
                    )
                rows.append(row)
                torch.cuda.empty_cache()
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
