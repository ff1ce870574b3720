"""Run one of our ONNX graphs node by node in torch, rounding to the graph's own types.

What ONNX Runtime's CPU provider does with half precision hides its error: without kernels for it
the provider computes whole chains in float32. Here every node computes in float32 (as tensor
cores accumulate) and its result is rounded to the type that the graph gives it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torch.nn import functional

from live_restore.errors import ModelError
from live_restore_export.onnx.graph import INPUT, OUTPUT

TORCH_TYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
}


def _convolve(
    x: Tensor, weight: Tensor, bias: Tensor, *, strides: list[int], pads: list[int]
) -> Tensor:
    return functional.conv3d(x, weight, bias, stride=strides, padding=pads[:3])


def _reshape(x: Tensor, shape: Tensor) -> Tensor:
    sizes = [x.shape[i] if size == 0 else int(size) for i, size in enumerate(shape)]
    return x.reshape(sizes)


_OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "ReduceMean": lambda x, axes, keepdims: x.mean(dim=axes.tolist(), keepdim=bool(keepdims)),
    "Shape": lambda x, start, end: torch.tensor(x.shape[start:end]),
    "Concat": lambda *parts, axis: torch.cat(parts, dim=axis),
    "Reshape": _reshape,
    "DepthToSpace": lambda x, blocksize, mode: functional.pixel_shuffle(x, blocksize),  # noqa: ARG005
    "Conv": lambda x, w, b, strides, pads, kernel_shape: _convolve(  # noqa: ARG005
        x, w, b, strides=strides, pads=pads
    ),
}


def _widen(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _constant(tensor: onnx.TensorProto) -> Tensor:
    array = numpy_helper.to_array(tensor)
    if tensor.data_type in TORCH_TYPES:
        exact = torch.from_numpy(array.astype(np.float32))
        return exact.to(TORCH_TYPES[tensor.data_type])
    return torch.from_numpy(array.copy())


def evaluate(model: onnx.ModelProto, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the output of ``model`` for one (N, C, Z, Y, X) image.

    Raises
    ------
    ModelError
        The graph has an operation that our models do not use, or one that fails.
    """
    values: dict[str, Tensor] = {t.name: _constant(t) for t in model.graph.initializer}
    values[INPUT] = torch.from_numpy(np.ascontiguousarray(image, np.float32))
    last_use = {name: i for i, node in enumerate(model.graph.node) for name in node.input}
    with torch.inference_mode():
        for index, node in enumerate(model.graph.node):
            inputs = [values[name] for name in node.input]
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Cast":
                result = inputs[0].to(TORCH_TYPES[attributes["to"]])
            elif node.op_type in _OPERATIONS:
                try:
                    wide = _OPERATIONS[node.op_type](*map(_widen, inputs), **attributes)
                except (RuntimeError, TypeError, ValueError, IndexError) as error:
                    raise ModelError(f"its node {node.name} cannot be computed: {error}") from error
                result = wide.to(inputs[0].dtype) if wide.is_floating_point() else wide
            else:
                raise ModelError(f"has an operation {node.op_type} that our models do not use")
            values[node.output[0]] = result
            for name in node.input:
                if last_use[name] == index:
                    values.pop(name, None)
    return np.asarray(values[OUTPUT].float().numpy())
