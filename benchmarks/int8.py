"""A model in 8 bits, calibrated per layer: how fast, and how far from float32 on real stacks?

    python benchmarks/int8.py STACK.tif ... [--model fast] [--shape 16,256,256]

ONNX Runtime's tool quantises convolutions: weights per channel, features per layer, with the range
that they had on simulated stacks. Which of them, is tried in four ways: all but the first and the
last, which see the image itself; those of blocks; the first one of each block, whose features are
the sum of all before; the second one, whose features come from a ReLU. The rest runs in float32 or
bfloat16. All take turns on a tile; the error is the rms difference from float32 over the standard
deviation of its result, and may be 2.5 % (docs/explanation/speed.md). It is told of the middle of
each stack, and of the first one with ten spots on it that are far brighter than its 99.9th
percentile, as debris and dead cells are: 8 bits clip what was not calibrated. The last model was
calibrated on such spots, too.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import tifffile
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from turns import in_turns, times_as_fast

from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.session import Floats, Session, Shape5
from live_restore.inference.backends.table import make_backends
from live_restore.inference.device.check import known_tile, relative_rms
from live_restore.inference.device.hardware import available_cores, cpu_name
from live_restore.inference.image.intensity import scale_from_percentiles
from live_restore.inference.load import find_model, load_model
from live_restore.simulation.scene import LivingCell

_CALIBRATED_ON = 3
_SPOTS = (5.0, 20.0)


class Simulated(CalibrationDataReader):
    """Simulated stacks in network units, one after the other."""

    def __init__(self, name: str, stacks: list[Floats]) -> None:
        self._left: Iterator[dict[str, Floats]] = iter([{name: stack} for stack in stacks])

    def get_next(self) -> dict[str, Floats] | None:
        """Return the next one."""
        return next(self._left, None)


def in_network_units(raw: Floats, shape_zyx: tuple[int, ...]) -> Floats:
    """Return the middle of a stack as a tile (1, 1, Z, Y, X), with sides that fold."""
    scaled = scale_from_percentiles(raw, 2.0, 99.9).normalise(raw)
    sizes = [min(have, want) // 2 * 2 for have, want in zip(raw.shape, shape_zyx, strict=True)]
    cut = [
        slice((have - n) // 2, (have + n) // 2) for have, n in zip(raw.shape, sizes, strict=True)
    ]
    return np.ascontiguousarray(scaled[tuple(cut)][None, None])


def with_spots(tile: Floats, peak: float) -> Floats:
    """Return a tile with ten blurred spots more (network units)."""
    rng = np.random.default_rng(0)
    axes = [np.arange(size) for size in tile.shape[2:]]
    spotted = tile.copy()
    for _ in range(10):
        profiles = [np.exp(-(((axis - rng.choice(axis)) / 1.5) ** 2) / 2) for axis in axes]
        spotted[0, 0] += peak * np.einsum("i,j,k->ijk", *profiles).astype(np.float32)
    return spotted


def quantised(path: Path, folder: Path, stacks: list[Floats], names: list[str]) -> bytes:
    """Return the model with these convolutions in 8 bits."""
    made = folder / "int8.onnx"
    quantize_static(
        path,
        made,
        Simulated(onnx.load(path).graph.input[0].name, stacks),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        nodes_to_quantize=names,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        # Else a sum over channels is rounded where it comes and where it goes.
        extra_options={"OpTypesToExcludeOutputQuantization": ["Conv"]},
    )
    return made.read_bytes()


def ways(path: Path) -> dict[str, list[str]]:
    """Return the names of the convolutions that are quantised, by the name of the way."""
    every = [node.name for node in onnx.load(path).graph.node if node.op_type == "Conv"]
    volumes = [name for name in every if "attention" not in name]
    return {
        "all but the first and last": volumes[1:-1],
        "both of blocks": [name for name in volumes if "blocks" in name],
        "first of blocks": [name for name in volumes if "conv1" in name],
        "second of blocks": [name for name in volumes if "conv2" in name],
    }


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stacks", nargs="+", type=Path, metavar="STACK.tif")
    parser.add_argument("--model", default="fast")
    parser.add_argument("--shape", default="16,256,256", metavar="Z,Y,X")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="a folder for the models, to look at")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # of the tool, which advises what was done at export
    path = find_model(arguments.model)
    card = load_model(path, "cpu").card
    z, y, x = map(int, arguments.shape.split(","))
    real = {p.stem: in_network_units(tifffile.imread(p), (16, 128, 128)) for p in arguments.stacks}
    first, middle = next(iter(real.items()))
    for peak in _SPOTS:
        real[f"{first} with spots of {peak:g}"] = with_spots(middle, peak)
    sources: dict[str, bytes] = {"as it is": path.read_bytes()}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        cell = LivingCell(shape_zyx=(16, 96, 96))
        simulated = [in_network_units(cell.exposed(t), (16, 96, 96)) for t in range(_CALIBRATED_ON)]
        for way, names in ways(path).items():
            sources[f"int8, {way}"] = quantised(path, folder, simulated, names)
        spotted = [*simulated, with_spots(simulated[0], max(_SPOTS))]
        sources[f"int8, {way}, for spots"] = quantised(path, folder, spotted, names)
    if arguments.keep is not None:
        for name, content in sources.items():
            (arguments.keep / f"{name}.onnx").write_bytes(content)

    def opened(name: str, device: str, precision: str, shape: Shape5) -> Session:
        source = ModelSource.of(path, sources[name])
        backend = next(each for each in make_backends() if each.name == device)
        return backend.open(source, shape, precision, 0, Limits())

    right = {
        name: opened("as it is", "cpu", "fp32", tile.shape).run(tile) for name, tile in real.items()
    }
    shape: Shape5 = (1, card.input_channels, z, y, x)
    tile = known_tile(shape, card)
    print(f"{cpu_name()}, {available_cores()} cores, {z} x {y} x {x}; error on {', '.join(real)}")
    print("| model | device | Mvoxel/s | over float32 as it is | errors |")
    print("|---|---|---:|---:|---|")
    for backend in make_backends():
        if backend.obstacle() or not backend.on_cpu:
            continue
        variants = [(n, p) for n in sources for p in backend.precisions()]
        sessions = {each: opened(each[0], backend.name, each[1], shape) for each in variants}
        taken = in_turns(sessions, tile, arguments.rounds)
        first = taken["as it is", "fp32"]
        for each in variants:
            ratio = times_as_fast(taken[each], first)
            rate = tile.size / statistics.median(taken[each]) / 1e6
            errors = (
                relative_rms(opened(each[0], backend.name, each[1], t.shape).run(t), right[name])
                for name, t in real.items()
            )
            shown = f"{ratio:.2f} x | " + ", ".join(f"{error:.1%}" for error in errors)
            print(f"| {each[0]} | {backend.name} {each[1]} | {rate:.3f} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
