"""A model's weights, read from its bytes and laid out as kernels take them. Pure.

Volumes are channels last, and a matrix product wants powers of two: channels that lack are zero.
Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from live_restore.inference.backends.kernels.plan import Weight
from live_restore.inference.model.protobuf import NotProtobufError, fields, message, text, varints

_TYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 10: np.dtype("<f2")}


class UnsuitableWeightsError(Exception):
    """Why a model's weights are not those that kernels were compiled for."""


def read_initialisers(content: bytes) -> dict[str, NDArray[Any]]:
    """Return the tensors of an ONNX model that are in float32 or float16, by name.

    Raises
    ------
    UnsuitableWeightsError
        It is no model, or one of them is torn.
    """
    found: dict[str, NDArray[Any]] = {}
    try:
        for number, graph, _ in fields(memoryview(content)):
            if number != 7:
                continue
            for inner, value, _ in fields(message(graph)):
                if inner == 5:
                    found.update(_tensor(message(value)))
    except (NotProtobufError, UnicodeDecodeError):
        raise UnsuitableWeightsError("it is no ONNX model") from None
    return found


def laid_out(weight: Weight, tensors: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """Return a weight as kernels take it: contiguous, in ``weight.shape``.

    Raises
    ------
    UnsuitableWeightsError
        The model has none of that name, of another shape, or with numbers too large for float16.
    """
    tensor = tensors.get(weight.initialiser)
    if tensor is None:
        raise UnsuitableWeightsError(f"it has no weights {weight.initialiser}")
    try:
        plain = _taps(tensor, weight.fold) if weight.layout == "taps" else _plain(weight, tensor)
    except ValueError:
        raise _unlike(weight, tensor) from None
    if plain.ndim != len(weight.shape) or any(
        small > large for small, large in zip(plain.shape, weight.shape, strict=True)
    ):
        raise _unlike(weight, tensor)
    made = np.zeros(weight.shape, np.float16 if weight.layout == "taps" else np.float32)
    with np.errstate(over="ignore"):
        made[tuple(slice(size) for size in plain.shape)] = plain
    if not np.isfinite(made).all():
        raise UnsuitableWeightsError(f"{weight.initialiser} does not fit into float16")
    return made


def _taps(tensor: NDArray[Any], fold: int) -> NDArray[Any]:
    """(O, I, 3, 3 * fold, 3 * fold) -> (27, I * fold**2, O).

    An exported model folds its first convolution into a stride (``onnx/graph.py`` of the workshop);
    kernels fold the image.
    """
    outputs, inputs = tensor.shape[:2]
    split = tensor.reshape(outputs, inputs, 3, 3, fold, 3, fold)
    return split.transpose(2, 3, 5, 1, 4, 6, 0).reshape(27, inputs * fold**2, outputs)


def _plain(weight: Weight, tensor: NDArray[Any]) -> NDArray[Any]:
    """(O, I, 1, 1, 1) -> (O, I); a vector stays."""
    return tensor.reshape(tensor.shape[:2]) if weight.layout == "matrix" else tensor


def _unlike(weight: Weight, tensor: NDArray[Any]) -> UnsuitableWeightsError:
    return UnsuitableWeightsError(
        f"{weight.initialiser} of {tensor.shape} does not go into {weight.shape}"
    )


def _tensor(held: memoryview) -> dict[str, NDArray[Any]]:
    dims: list[int] = []
    kind, name, raw = 0, "", memoryview(b"")
    for number, value, _ in fields(held):
        if number == 1:
            dims += [value] if isinstance(value, int) else varints(value)
        elif number == 2 and isinstance(value, int):
            kind = value
        elif number == 8:
            name = text(value)
        elif number == 9:
            raw = message(value)
    if kind not in _TYPES:
        return {}
    if math.prod(dims) * _TYPES[kind].itemsize != len(raw) or len(dims) > 8:
        raise UnsuitableWeightsError(f"its weights {name} are torn, or not in one piece")
    return {name: np.frombuffer(raw, _TYPES[kind]).reshape(dims)}
