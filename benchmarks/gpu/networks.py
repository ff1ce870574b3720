"""Networks of the paper's sizes on an NVIDIA GPU: our sessions against PyTorch, as a table.

    python benchmarks/gpu/networks.py [--json gpu.json] [--rounds 5] [--only "G5 B5.*cuda"] [--tiny]

``--tiny`` goes the same way on the processor with small networks and volumes, to see that it works;
its numbers mean nothing.

Random weights, whole volumes, tensors already on the GPU for PyTorch, copied in and out by our
sessions (as they are in use). The ceiling is a matrix product of 8192 x 8192 in the same type. A
method that fails says why in its row.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import re
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from live_restore_export.network import RCAN, RCANConfig
from live_restore_export.onnx.export import export_network, make_card
from live_restore_export.onnx.precision import convert
from torch import Tensor

from live_restore.bench.work import flop_per_voxel
from live_restore.errors import LiveRestoreError
from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.session import Shape5
from live_restore.inference.backends.table import make_backends
from live_restore.inference.device.hardware import cpu_name

Work = Callable[[], object]


@dataclass(frozen=True)
class Suite:
    """What is measured where. ``methods``: name, precision, and whether PyTorch compiles it."""

    device: str
    networks: dict[str, RCANConfig]
    volumes: tuple[tuple[int, int, int], ...]
    matrix: int
    eager: tuple[str, ...]
    compiled: tuple[str, ...]
    sessions: tuple[tuple[str, str], ...]


FULL = Suite(
    "cuda",
    {"G5 B5 C32": RCANConfig(blocks=5), "G3 B3 C32": RCANConfig(groups=3)},
    ((12, 1550, 1920), (318, 275, 425)),
    8192,
    ("fp32", "tf32", "fp16"),
    ("tf32", "fp16"),
    (*(("cuda", p) for p in ("fp32", "tf32", "fp16", "bf16")),
     *(("tensorrt", p) for p in ("fp32", "fp16"))),
)  # fmt: skip
TINY = Suite(
    "cpu",
    {"G2 B1 C8": RCANConfig(groups=2, blocks=1, channels=8)},
    ((4, 24, 32),),
    256,
    ("fp32", "bf16"),
    ("fp32",),
    (("cpu", "fp32"), ("cpu", "fp16"), ("openvino", "fp32"), ("cuda", "fp32")),
)
_TYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16,
          "bf16": torch.bfloat16}  # fmt: skip


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


def wait() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def best(work: Work, rounds: int) -> float:
    """Return the least time (s), after a warm-up that may compile and search."""
    work()
    wait()
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        wait()
        taken.append(time.perf_counter() - started)
    return min(taken)


def allow_tf32(allowed: bool) -> None:
    """Let float32 products be rounded to 10 bits, or not."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def ceilings(suite: Suite, rounds: int) -> dict[str, float]:
    """Return FLOP/s of matrix products per precision."""
    found = {}
    for precision, dtype in _TYPES.items():
        allow_tf32(precision == "tf32")
        left = torch.rand(suite.matrix, suite.matrix, device=suite.device).to(dtype)

        def product(matrix: Tensor = left) -> Tensor:
            return matrix @ matrix

        found[precision] = 2.0 * suite.matrix**3 / best(product, rounds)
    return found


def torch_work(network: RCAN, volume: Tensor, device: str, precision: str, compiled: bool) -> Work:
    """Return what runs the network in PyTorch, channels last."""
    allow_tf32(precision == "tf32")
    dtype = _TYPES[precision]
    moved = network.to(device, dtype, memory_format=torch.channels_last_3d)
    image = volume.to(device, dtype, memory_format=torch.channels_last_3d)
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
    in_file = precision if precision in ("fp16", "bf16") else "fp32"
    source = ModelSource.of(Path("bench.onnx"), model.SerializeToString(), in_file)
    backend = next(b for b in make_backends() if b.name == backend_name)
    if why_not := backend.obstacle():
        raise LiveRestoreError(why_not)
    tile = np.ascontiguousarray(volume.numpy())
    n, c, z, y, x = tile.shape
    shape: Shape5 = (n, c, z, y, x)
    session = backend.open(source, shape, in_session, 0, Limits(build=True))
    return lambda: session.run(tile)


def methods(
    suite: Suite, config: RCANConfig, volume: Tensor
) -> list[tuple[str, str, Callable[[], Work]]]:
    """Return name, precision and maker of everything that is compared."""

    def in_torch(precision: str, compiled: bool) -> Callable[[], Work]:
        def make() -> Work:
            torch.manual_seed(0)
            return torch_work(RCAN(config).eval(), volume, suite.device, precision, compiled)

        return make

    def ours(backend: str, precision: str) -> Callable[[], Work]:
        return lambda: session_work(config, volume, backend, precision)

    return [
        *(("torch eager", p, in_torch(p, False)) for p in suite.eager),
        *(("torch.compile", p, in_torch(p, True)) for p in suite.compiled),
        *((name, p, ours(name, p)) for name, p in suite.sessions),
    ]


def measure(
    name: str,
    shape: tuple[int, int, int],
    method: tuple[str, str, Callable[[], Work]],
    flop: float,
    ceiling: dict[str, float],
    rounds: int,
) -> Row:
    """Measure one method on one network and volume; print its line."""
    kind, precision, make = method
    start = f"| {name} | {shape} | {kind} | {precision} |"
    try:
        taken = best(make(), rounds)
    except (LiveRestoreError, RuntimeError) as error:  # torch raises RuntimeError
        told = (str(error).strip() or type(error).__name__).splitlines()[0]
        print(f"{start} {told} ||||", flush=True)
        return Row(name, shape, kind, precision, error=told)
    rate = math.prod(shape) / taken
    share = rate * flop / ceiling[precision]
    print(
        f"{start} {taken:.2f} | {rate / 1e6:.1f} | {rate * flop / 1e12:.1f} | {share:.0%} |",
        flush=True,
    )
    return Row(name, shape, kind, precision, taken, rate / 1e6, rate * flop / 1e12, share)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"not a regular expression: {error}") from error


def main() -> int:
    """Print a Markdown table; return 1 where no method of a network and volume worked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the rows, too, after each of them")
    parser.add_argument("--minutes", type=float, default=math.inf, help="no row begins later")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--only",
        type=_pattern,
        default="",
        help="pattern of the rows: network, volume, method and precision",
    )
    parser.add_argument("--tiny", action="store_true", help="a rehearsal on the processor")
    arguments = parser.parse_args()
    until = time.monotonic() + 60 * arguments.minutes
    suite = TINY if arguments.tiny else FULL
    if suite.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("PyTorch finds no CUDA device (--tiny rehearses on the processor)")
    hardware = torch.cuda.get_device_name() if suite.device == "cuda" else cpu_name()
    print(f"{hardware}, torch {torch.__version__}, {datetime.date.today()}")
    ceiling = ceilings(suite, arguments.rounds)
    for precision, rate in ceiling.items():
        print(f"ceiling {precision}: {rate / 1e12:.3g} TFLOP/s")
    rows = []
    print("\n| network | volume | method | precision | s | Mvoxel/s | TFLOP/s | of ceiling |")
    print("|---|---|---|---|---:|---:|---:|---:|")
    for name, config in suite.networks.items():
        flop = flop_per_voxel(make_card(config, "bench"))
        assert flop is not None
        for shape in suite.volumes:
            volume = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(0))
            for method in methods(suite, config, volume):
                kind, precision, _ = method
                if not arguments.only.search(f"{name} {shape} {kind} {precision}"):
                    continue
                if time.monotonic() > until:
                    rows.append(Row(name, shape, kind, precision, error="the time was over"))
                else:
                    rows.append(measure(name, shape, method, flop, ceiling, arguments.rounds))
                if arguments.json:
                    arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
                if suite.device == "cuda":
                    torch.cuda.empty_cache()
    return int(all(row.error for row in rows))


if __name__ == "__main__":
    sys.exit(main())
