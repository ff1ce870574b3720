"""One network on one stack in several programs, in turns: what is our choice of runtime worth?

    python benchmarks/programs.py STACK.tif [--tensorflow PYTHON] [--rounds 3] [--groups 2]

The network is the published graph (3-D RCAN, C 32, B 3, no folding) with the same random weights
everywhere. Each program is a process of its own that stays warm and runs the whole stack when its
turn comes, so that other work slows all of them alike; the median of the ratios of each round
counts. The published program is written in TensorFlow; ``--tensorflow`` names a Python that has it
(``pip install tensorflow-cpu`` in an environment of its own), in which the same graph is built of
Keras layers (``programs_keras.py``). The rms difference from PyTorch in float32 is printed, too.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HERE = Path(__file__).parent
PROGRAMS = ("torch eager", "torch.compile", "cpu fp32", "openvino fp32", "openvino bf16", "auto")
_REFERENCE = "TensorFlow (Keras)"
# Threads of the one before spin on for a while.
_REST_S = 0.5


def network(groups: int) -> Any:
    """Return the network, the same in every process."""
    import torch
    from live_restore_export.network import RCAN, RCANConfig

    torch.manual_seed(0)
    return RCAN(RCANConfig(groups=groups)).eval()


def keep(folder: Path, stack: Path, groups: int) -> None:
    """Write the stack in network units, the weights and the ONNX model where all find them."""
    import tifffile
    from live_restore_export.onnx.export import export_network, make_card

    from live_restore.inference.image.intensity import scale_from_percentiles

    raw = tifffile.imread(stack)
    np.save(folder / "tile.npy", scale_from_percentiles(raw, 2.0, 99.9).normalise(raw)[None, None])
    model = network(groups)
    np.savez(folder / "weights.npz", **{k: v.numpy() for k, v in model.state_dict().items()})
    content = export_network(model, make_card(model.config, "programs")).SerializeToString()
    (folder / "model.onnx").write_bytes(content)


def program(name: str, folder: Path, groups: int) -> Callable[[NDArray[np.float32]], Any]:
    """Return what runs the network on a tile (1, 1, Z, Y, X)."""
    if name.startswith("torch"):
        import torch

        model = network(groups)
        run = torch.compile(model) if name == "torch.compile" else model

        def in_torch(tile: NDArray[np.float32]) -> Any:
            with torch.inference_mode():
                return run(torch.from_numpy(tile)).numpy()

        return in_torch
    from live_restore.inference.load import load_model

    path = folder / "model.onnx"
    if name == "auto":
        return load_model(path, "auto").session.run

    from live_restore.inference.backends.backend import Limits, ModelSource
    from live_restore.inference.backends.table import make_backends

    device, precision = name.split()
    content = path.read_bytes()
    source = ModelSource.of(path, content)
    backend = next(each for each in make_backends() if each.name == device)
    if why_not := backend.obstacle():
        raise SystemExit(why_not)
    shape = np.load(folder / "tile.npy", mmap_mode="r").shape
    return backend.open(source, shape, precision, 0, Limits()).run


class Process:
    """A program that waits for its turns."""

    def __init__(
        self, name: str, command: list[str], environment: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self.seconds: list[float] = []
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.told = self._line().strip()  # it is warm
        self.runs = bool(self.told)

    def turn(self) -> None:
        """Let it run the stack once."""
        time.sleep(_REST_S)
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.seconds.append(float(self._line()))

    def end(self) -> str:
        """End it; return the last line that it complained with."""
        _, complaints = self._process.communicate()
        return (complaints.strip().splitlines() or [""])[-1]

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def serve(run: Callable[[NDArray[np.float32]], Any], folder: Path, name: str) -> None:
    """Be such a process: run once, keep what came of it, then once per line on standard input."""
    tile = np.load(folder / "tile.npy")
    np.save(folder / f"{name}.npy", np.asarray(run(tile)))
    print("warm", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        run(tile)
        print(time.perf_counter() - began, flush=True)


def compare(folder: Path, python: str, rounds: int, groups: int) -> None:
    """Print the table."""
    common = [str(folder), str(groups)]
    commands = {name: [sys.executable, __file__, "--serve", name, *common] for name in PROGRAMS}
    if python:
        commands = {
            _REFERENCE: [python, str(_HERE / "programs_keras.py"), *common, _REFERENCE],
            **commands,
        }
    every = [Process(name, command) for name, command in commands.items()]
    running = [each for each in every if each.runs]
    for _ in range(rounds):
        for each in running:
            each.turn()
    first = running[0]
    right = np.load(folder / "torch eager.npy")
    print(f"| program | s | Mvoxel/s | over {first.name} | rms difference |")
    print("|---|---:|---:|---:|---:|")
    for each in every:
        complaint = each.end()
        if not each.runs:
            print(f"| {each.name} | {complaint} ||||")
            continue
        ratios = (a / b for a, b in zip(first.seconds, each.seconds, strict=True))
        ratio, least = statistics.median(ratios), min(each.seconds)
        off = np.load(folder / f"{each.name}.npy") - right
        error = float(np.sqrt(np.mean(off**2)) / right.std())
        rate = right.size / least / 1e6
        print(f"| {each.name} | {least:.2f} | {rate:.3f} | {ratio:.2f} x | {error:.1e} |")


def main() -> None:
    """Compare; or, as a process of that, serve."""
    if sys.argv[1:2] == ["--serve"]:
        name, folder, groups = sys.argv[2:]
        serve(program(name, Path(folder), int(groups)), Path(folder), name)
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stack", type=Path, help="a TIFF of (Z, Y, X)")
    parser.add_argument("--tensorflow", default="", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--groups", type=int, default=2, help="of the network; the paper: 5")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        keep(folder, arguments.stack, arguments.groups)
        compare(folder, arguments.tensorflow, arguments.rounds, arguments.groups)


if __name__ == "__main__":
    main()
