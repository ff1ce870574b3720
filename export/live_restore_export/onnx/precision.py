"""Reduced precision, converted offline in the graph; ``quality.precision_error`` measures its cost.

TensorRT takes the precision of a layer from the model and nothing else, and other providers do
the same where they can; so the precision is written into the file, where everybody sees it.

Kept in float32 in every precision: input and output, the intensity maps, and channel attention
from the means of rows on (means over a million voxels, and a sigmoid whose result scales a whole
channel). Row means are taken in the reduced type, so that no second copy of the image is written.
``mixed`` also keeps the first and the last convolution and the long skip, where the image itself
is rounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from live_restore.errors import ModelError
from live_restore_export.network import RCANConfig
from live_restore_export.onnx.graph import INPUT, OPSET, OPSET_BFLOAT16, OUTPUT, finish_model

Precision = Literal["fp32", "fp16", "bf16", "mixed"]

_TYPES: dict[str, int] = {
    "fp16": TensorProto.FLOAT16,
    "mixed": TensorProto.FLOAT16,
    "bf16": TensorProto.BFLOAT16,
}

_ALWAYS_WIDE = re.compile(
    r"doubled|standardised|halved|restored|unfold.*|.*\.attention\.(?!rows$).*"
)
_WIDE_IN_MIXED = re.compile(r"head|body\.sum|tail")


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
