"""Reduced precision, converted offline in the graph, and the error that it costs, measured.

TensorRT takes the precision of a layer from the model and nothing else, and other providers do
the same where they can; so the precision is written into the file, where everybody sees it.

Kept in float32 in every precision: input and output, the intensity maps, and channel attention
from the means of rows on (means over a million voxels, and a sigmoid whose result scales a whole
channel). Row means are taken in the reduced type, so that no second copy of the image is written.
``mixed`` also keeps the first and the last convolution and the long skip, where the image itself
is rounded.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from live_restore.errors import ModelError
from live_restore.inference.model.card import ModelCard
from live_restore_export.onnx.graph import INPUT, OPSET, OPSET_BFLOAT16, OUTPUT, finish_model
from live_restore_export.onnx.network import RCANConfig
from live_restore_export.quality.evaluate import evaluate

Precision = Literal["fp32", "fp16", "bf16", "mixed"]

_TYPES: dict[str, int] = {
    "fp16": TensorProto.FLOAT16,
    "mixed": TensorProto.FLOAT16,
    "bf16": TensorProto.BFLOAT16,
}

# Largest accepted root-mean-square difference from fp32 on test stacks, over the standard
# deviation of the fp32 output. Half precision has 11 significant bits, bfloat16 8: a rounding of
# 2.4e-4 and 2e-3 each; the bounds allow it to grow by 20, and are far below the noise that is left
# in a restored image.
ERROR_BOUNDS: dict[str, float] = {"fp16": 5e-3, "mixed": 5e-3, "bf16": 4e-2}

_ALWAYS_WIDE = re.compile(
    r"doubled|standardised|halved|restored|unfold.*|.*\.attention\.(?!rows$).*"
)
_WIDE_IN_MIXED = re.compile(r"head|body\.sum|tail")


# A single voxel differs by more than the rms; measured on random and trained weights, the largest
# difference was never above twice the relative rms.
_LARGEST_OVER_RMS = 4.0


def reduced_tolerance(bound: float) -> float:
    """Return the largest difference (network units) to accept under a relative rms ``bound``."""
    return _LARGEST_OVER_RMS * bound


@dataclass(frozen=True)
class PrecisionError:
    """Difference between a reduced model and fp32 on test stacks."""

    relative_rms: float
    """Root mean square of the difference over the standard deviation of the fp32 output."""
    largest: float
    """Largest difference, network units."""
    bound: float
    stacks: int

    @property
    def accepted(self) -> bool:
        """Whether the relative error is within its bound; NaN and infinity are not."""
        return self.relative_rms <= self.bound


def convert(model: onnx.ModelProto, config: RCANConfig, precision: str) -> onnx.ModelProto:
    """Return ``model`` (ours, float32) with its types changed; metadata is not copied.

    Raises
    ------
    ModelError
        A weight is too large for the type.
    """
    if precision == "fp32":
        return model
    low = _TYPES[precision]
    converter = _Converter({t.name: t for t in model.graph.initializer}, low)
    for node in _with_row_means(model.graph.node):
        wide = bool(_ALWAYS_WIDE.fullmatch(node.name)) or (
            precision == "mixed" and bool(_WIDE_IN_MIXED.fullmatch(node.name))
        )
        converter.add(node, TensorProto.FLOAT if wide else low)
    opset = OPSET_BFLOAT16 if precision == "bf16" else OPSET
    return finish_model(converter.finish(), list(converter.constants.values()), config, opset)


def _with_row_means(nodes: Iterable[onnx.NodeProto]) -> Iterable[onnx.NodeProto]:
    """Cut every pool in two: means along X, then of those along Y and Z."""
    for node in nodes:
        if node.op_type != "ReduceMean":
            yield node
            continue
        rows = f"{node.name.removesuffix('.pool')}.rows"
        yield helper.make_node(
            "ReduceMean", [node.input[0], "row_axis"], [rows], name=rows, keepdims=1
        )
        yield helper.make_node(
            "ReduceMean", [rows, "column_axes"], list(node.output), name=node.name, keepdims=1
        )


class _Converter:
    """Retypes nodes in the order of computation, with casts where types meet."""

    def __init__(self, initialisers: dict[str, onnx.TensorProto], low: int) -> None:
        self.low = low
        self.initialisers = {
            **{n: t for n, t in initialisers.items() if n != "spatial_axes"},
            "row_axis": numpy_helper.from_array(np.array([4], np.int64), "row_axis"),
            "column_axes": numpy_helper.from_array(np.array([2, 3], np.int64), "column_axes"),
        }
        self.types: dict[str, int] = {INPUT: TensorProto.FLOAT}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._casts: dict[tuple[str, int], str] = {}

    def add(self, node: onnx.NodeProto, kind: int) -> None:
        """Append a node that computes in the type ``kind``."""
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        for i, name in enumerate(node.input):
            copied.input[i] = self._as(name, kind)
        self.nodes.append(copied)
        integer = node.op_type in ("Shape", "Concat")
        self.types[node.output[0]] = TensorProto.INT64 if integer else kind

    def finish(self) -> list[onnx.NodeProto]:
        """Return the nodes; the output is float32 (the last nodes are always wide but without
        intensity maps, which some networks do not have)."""
        if self.types[OUTPUT] != TensorProto.FLOAT:
            self.nodes[-1].output[0] = "narrow_output"
            self.nodes.append(
                helper.make_node(
                    "Cast", ["narrow_output"], [OUTPUT], name="wide_output", to=TensorProto.FLOAT
                )
            )
        return self.nodes

    def _as(self, name: str, kind: int) -> str:
        if name in self.initialisers:
            return self._constant(name, kind)
        if self.types[name] in (kind, TensorProto.INT64):
            return name
        key = (name, kind)
        if key not in self._casts:
            cast = f"{name}.as_{TensorProto.DataType.Name(kind).lower()}"
            self.nodes.append(helper.make_node("Cast", [name], [cast], name=cast, to=kind))
            self._casts[key] = cast
        return self._casts[key]

    def _constant(self, name: str, kind: int) -> str:
        tensor = self.initialisers[name]
        if tensor.data_type != TensorProto.FLOAT or kind == TensorProto.FLOAT:
            self.constants[name] = tensor
            return name
        array = numpy_helper.to_array(tensor)
        narrow_name = name if name not in self.constants else f"{name}.narrow"
        if kind == TensorProto.FLOAT16 and np.abs(array).max(initial=0) > np.finfo(np.float16).max:
            raise ModelError(f"{name} does not fit into half precision")
        self.constants[narrow_name] = numpy_helper.from_array(
            array.astype(helper.tensor_dtype_to_np_dtype(kind)), narrow_name
        )
        return narrow_name


@functools.cache
def simulated_stacks(channels: int, count: int = 3) -> tuple[NDArray[np.float32], ...]:
    """Return simulated low-light stacks (1, C, Z, Y, X) in network units, always the same ones."""
    from live_restore_export.simulator.simulate import SimulationConfig
    from live_restore_export.training.options import TrainingOptions
    from live_restore_export.training.sources import SimulatedSource

    options = TrainingOptions(patch_zyx=(8, 48, 48))
    simulation = SimulationConfig.model_validate({"shape_zyx": (16, 64, 64)})
    source = SimulatedSource(simulation, 2_000_000_000)
    stacks = []
    for i in range(count):
        scene = source.load(i)
        images = [
            scene.cut(options, 0.0, np.random.default_rng((i, c))).noisy for c in range(channels)
        ]
        stacks.append(np.stack(images)[np.newaxis])
    return tuple(stacks)


def measure(
    reduced: onnx.ModelProto, exact: onnx.ModelProto, config: RCANConfig, bound: float
) -> PrecisionError:
    """Compare a reduced model with its float32 original on test stacks."""
    squares, variances, largest = [], [], 0.0
    stacks = simulated_stacks(config.in_channels)
    for stack in stacks:
        want = evaluate(exact, stack).astype(np.float64)
        difference = evaluate(reduced, stack).astype(np.float64) - want
        squares.append(float(np.mean(difference**2)))
        variances.append(float(np.var(want)))
        largest = max(largest, float(np.abs(difference).max()))
    relative = float(np.sqrt(np.mean(squares) / np.mean(variances)))
    return PrecisionError(relative, largest, bound, len(stacks))


_STACKS = "simulated low-light stacks of 8 x 48 x 48"
_COMPUTED_BY = "torch on a CPU, each node rounded to its type, float32 sums inside"


def precision_errors(model: onnx.ModelProto, config: RCANConfig) -> dict[str, dict[str, Any]]:
    """Return what running a float32 model in less would cost, for ``metrics.precision_errors``.

    Devices that reduce precision themselves ask the card for it
    (``live_restore/inference/device/precision.py``).
    """
    errors: dict[str, dict[str, Any]] = {}
    for precision in ("bf16", "fp16"):
        try:
            reduced = convert(model, config, precision)
        except ModelError:  # a weight too large for the type: no device may try
            errors[precision] = {"relative_rms": None}
            continue
        error = measure(reduced, model, config, ERROR_BOUNDS[precision])
        errors[precision] = {
            "relative_rms": error.relative_rms,
            "largest_network_units": error.largest,
            "stacks": f"{error.stacks} {_STACKS}",
            "computed_by": _COMPUTED_BY,
        }
    return errors


def reduce_precision(
    model: onnx.ModelProto,
    card: ModelCard,
    config: RCANConfig,
    precision: Precision,
    bound: float | None = None,
) -> tuple[onnx.ModelProto, ModelCard, PrecisionError]:
    """Return the reduced model, its card with the measured error, and the error.

    Raises
    ------
    ModelError
        The error is above ``bound`` (``ERROR_BOUNDS`` where not given).
    """
    bound = ERROR_BOUNDS[precision] if bound is None else bound
    reduced = convert(model, config, precision)
    error = measure(reduced, model, config, bound)
    if not error.accepted:
        raise ModelError(
            f"{precision} differs by {error.relative_rms:.2g} (relative rms) from fp32 on test "
            f"stacks, more than {bound:g}",
            remedy="use --precision fp32, or mixed",
        )
    metrics = {
        **card.metrics,
        "precision_error": {
            "against": "fp32",
            "relative_rms": error.relative_rms,
            "largest_network_units": error.largest,
            "bound_relative_rms": bound,
            "stacks": f"{error.stacks} {_STACKS}",
            "computed_by": _COMPUTED_BY,
        },
    }
    return reduced, card.model_copy(update={"precision": precision, "metrics": metrics}), error
