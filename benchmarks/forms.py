"""The 3-D convolution in equal forms, and in 8 bits: which is the fastest on the processor?

    python benchmarks/forms.py [--channels 24 32 64] [--shape 16,64,64]

A chain of four convolutions of 3 x 3 x 3 with ReLU, random weights, as it is ("3-D"); as 2-D
convolutions over planes whose channels are the three z-taps side by side ("stacked"); as the sum of
three 2-D convolutions ("summed"); as four for two planes at once ("winograd": F(2, 3) along Z, two
thirds of the products); and with weights and features in 8 bits ("int8"). They take turns. Told is
the rate over that of "3-D", and how far the results differ; int8's features are rounded with one
step for all layers, so that its error is that of no calibrated network.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from turns import in_turns, times_as_fast

from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.session import Session, Shape5
from live_restore.inference.backends.table import make_backends
from live_restore.inference.device.check import relative_rms
from live_restore.inference.device.hardware import available_cores, cpu_name

_LAYERS = 4
FORMS = ("3-D", "stacked", "summed", "winograd", "int8")
_HIGHEST_FEATURE = 8.0
"""Of the chain's: its weights keep their variance."""
_BY_PLANES = ("stacked", "summed", "winograd")
_TAPS = ("before", "here", "after")


class _Graph:
    """Nodes and constants of a model with one input and one output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Add a constant; return its name."""
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def node(self, kind: str, inputs: list[str], name: str, **attributes: object) -> str:
        """Add a node of one output; return its name."""
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name


def taps(graph: _Graph, planes: str, name: str) -> list[str]:
    """Return planes (Z, C, Y, X) moved by one along Z, with zeros, unmoved, and moved back."""
    pads = graph.constant(f"{name}.pads", np.array([1, 0, 0, 0, 1, 0, 0, 0], np.int64))
    padded = graph.node("Pad", [planes, pads], f"{name}.padded")
    axis = graph.constant(f"{name}.axis", np.array([0], np.int64))
    found = []
    for start, (tap, end) in enumerate(zip(_TAPS, (-2, -1, 2**31), strict=True)):
        ends = [
            graph.constant(f"{name}.{tap}.{which}", np.array([value], np.int64))
            for which, value in (("from", start), ("to", end))
        ]
        found.append(graph.node("Slice", [padded, *ends, axis], f"{name}.{tap}"))
    return found


def winograd(graph: _Graph, planes: str, weight: NDArray[np.float32], name: str) -> str:
    """Return the convolution of planes (Z, C, Y, X), Z even, by two planes at a time."""
    pads = graph.constant(f"{name}.pads", np.array([1, 0, 0, 0, 1, 0, 0, 0], np.int64))
    padded = graph.node("Pad", [planes, pads], f"{name}.padded")
    axis = graph.constant(f"{name}.axis", np.array([0], np.int64))
    step = graph.constant(f"{name}.by", np.array([2], np.int64))
    d = []
    for first in range(4):
        bounds = (("from", first), ("to", first - 3 if first < 3 else 2**31))
        ends = [graph.constant(f"{name}.{first}.{k}", np.array([v], np.int64)) for k, v in bounds]
        d.append(graph.node("Slice", [padded, *ends, axis, step], f"{name}.d{first}"))
    g = np.moveaxis(weight, 2, 0)
    kernels = (g[0], (g[0] + g[1] + g[2]) / 2, (g[0] - g[1] + g[2]) / 2, g[2])
    pairs = (("Sub", d[0], d[2]), ("Add", d[1], d[2]), ("Sub", d[2], d[1]), ("Sub", d[1], d[3]))
    m = []
    for number, ((kind, one, other), kernel) in enumerate(zip(pairs, kernels, strict=True)):
        moved = graph.node(kind, [one, other], f"{name}.t{number}")
        w = graph.constant(f"{name}.w{number}", np.ascontiguousarray(kernel))
        m.append(graph.node("Conv", [moved, w], f"{name}.m{number}", pads=[1] * 4))
    even = graph.node("Sum", m[:3], f"{name}.even")
    odd = graph.node("Sub", [graph.node("Sub", m[1:3], f"{name}.odd0"), m[3]], f"{name}.odd")
    one = graph.constant(f"{name}.one", np.array([1], np.int64))
    both = [graph.node("Unsqueeze", [x, one], f"{x}.apart") for x in (even, odd)]
    together = graph.node("Concat", both, f"{name}.pairs", axis=1)
    shape = graph.node("Shape", [planes], f"{name}.shape")
    return graph.node("Reshape", [together, shape], f"{name}.conv")


def in_8_bits(graph: _Graph, x: str, weight: NDArray[np.float32], name: str, highest: float) -> str:
    """Return the convolution of features 0 to ``highest``, both sides rounded to 8 bits."""
    step = graph.constant(f"{name}.step", np.float32(highest / 255))
    zero = graph.constant(f"{name}.zero", np.uint8(0))
    x = graph.node("QuantizeLinear", [x, step, zero], f"{name}.q")
    x = graph.node("DequantizeLinear", [x, step, zero], f"{name}.dq")
    steps = np.abs(weight).max(axis=(1, 2, 3, 4)) / 127
    rounded = np.rint(weight / steps[:, None, None, None, None]).astype(np.int8)
    kernel = graph.node(
        "DequantizeLinear",
        [graph.constant(f"{name}.w", rounded), graph.constant(f"{name}.ws", steps),
         graph.constant(f"{name}.wz", np.zeros(len(steps), np.int8))],
        f"{name}.wdq",
        axis=0,
    )  # fmt: skip
    return graph.node("Conv", [x, kernel], f"{name}.conv", pads=[1] * 6)


def model(form: str, channels: int, shape: Shape5) -> bytes:
    """Return a chain of convolutions in one of the forms."""
    graph, rng = _Graph(), np.random.default_rng(0)
    x = "input"
    if form in _BY_PLANES:
        x = graph.node("Transpose", [x], "by_planes", perm=[0, 2, 1, 3, 4])
        sizes = np.array([shape[2], channels, *shape[3:]], np.int64)
        x = graph.node("Reshape", [x, graph.constant("planes", sizes)], "flat")
    for layer in range(_LAYERS):
        name = f"layer{layer}"
        weight = rng.normal(0, (27 * channels / 2) ** -0.5, (channels, channels, 3, 3, 3))
        weight = weight.astype(np.float32)
        if form == "3-D":
            kernel = graph.constant(f"{name}.w", weight)
            x = graph.node("Conv", [x, kernel], f"{name}.conv", pads=[1] * 6)
        elif form == "int8":
            x = in_8_bits(graph, x, weight, name, _HIGHEST_FEATURE if layer else 1.0)
        elif form == "winograd":
            x = winograd(graph, x, weight, name)
        elif form == "stacked":
            side_by_side = graph.node("Concat", taps(graph, x, name), f"{name}.stack", axis=1)
            kernel = graph.constant(f"{name}.w", np.concatenate(np.moveaxis(weight, 2, 0), axis=1))
            x = graph.node("Conv", [side_by_side, kernel], f"{name}.conv", pads=[1] * 4)
        else:
            parts = []
            for tap, moved in enumerate(taps(graph, x, name)):
                kernel = graph.constant(f"{name}.w{tap}", np.ascontiguousarray(weight[:, :, tap]))
                parts.append(graph.node("Conv", [moved, kernel], f"{name}.c{tap}", pads=[1] * 4))
            x = graph.node("Sum", parts, f"{name}.conv")
        x = graph.node("Relu", [x], f"{name}.relu")
    if form in _BY_PLANES:
        sizes = np.array([1, shape[2], channels, *shape[3:]], np.int64)
        x = graph.node("Reshape", [x, graph.constant("volume", sizes)], "whole")
        x = graph.node("Transpose", [x], "by_channels", perm=[0, 2, 1, 3, 4])
    graph.node("Identity", [x], "output")
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("input", "output")]
    made = helper.make_graph(graph.nodes, "forms", ends[:1], ends[1:], graph.constants)
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(made, opset_imports=opsets, ir_version=8).SerializeToString()


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, nargs="+", default=[24, 32, 64])
    parser.add_argument("--shape", default="16,64,64", metavar="Z,Y,X")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    z, y, x = map(int, arguments.shape.split(","))
    print(f"{cpu_name()}, {available_cores()} cores, {z} x {y} x {x}")
    print(f"| channels | runtime | 3-D, GFLOP/s | {' | '.join(FORMS[1:])} | difference | of int8 |")
    print("|---:|---|---:" + "|---:" * (len(FORMS) + 1) + "|")
    for channels in arguments.channels:
        shape: Shape5 = (1, channels, z, y, x)
        tile = np.random.default_rng(1).random(shape, np.float32)
        for backend in make_backends():
            if backend.obstacle() or not backend.on_cpu:
                continue
            for precision in backend.precisions():
                sessions: dict[str, Session] = {}
                for form in FORMS:
                    content = model(form, channels, shape)
                    source = ModelSource.of(Path("forms.onnx"), content)
                    sessions[form] = backend.open(source, shape, precision, 0, Limits())
                results = {form: session.run(tile).copy() for form, session in sessions.items()}
                taken = in_turns(sessions, tile, arguments.rounds)
                ratios = {form: times_as_fast(taken[form], taken["3-D"]) for form in FORMS[1:]}
                flop = 2.0 * 27 * channels**2 * _LAYERS * z * y * x
                rate = flop / min(taken["3-D"]) / 1e9
                *errors, of_int8 = (relative_rms(results[f], results["3-D"]) for f in FORMS[1:])
                shown = " | ".join(f"{ratios[form]:.2f} x" for form in FORMS[1:])
                print(
                    f"| {channels} | {backend.name} {precision} | {rate:.0f} | {shown} "
                    f"| {max(errors):.0e} | {of_int8:.0e} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
