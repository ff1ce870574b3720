"""A Keras ``model_config`` (JSON) as a small graph of operations, without running any of it.

Keras has written the same network in many ways: TF1 and TF2, layers and operators, activations
inside convolutions or behind them. Here they all become the same few kinds of node. Code that
Keras stores in Lambda layers stays bytes: it is searched for constants and never unmarshalled.
"""

from __future__ import annotations

import base64
import binascii
import graphlib
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

# Keras has two ways to write a reference to another layer's output, and two for a number.
Argument = str | float

_ADD = {"add", "addv2", "__operators__.add", "math.add", "tf.math.add", "tf.__operators__.add"}
_SUBTRACT = {"sub", "subtract", "math.subtract", "tf.math.subtract"}
_MULTIPLY = {"mul", "multiply", "math.multiply", "tf.math.multiply"}
_DIVIDE = {"realdiv", "truediv", "divide", "math.divide", "math.truediv", "tf.math.divide"}
_MEAN = {"mean", "math.reduce_mean", "reduce_mean", "tf.math.reduce_mean"}
_CAST = {"cast", "tf.cast", "identity", "tf.identity"}
_RESHAPE = {"reshape", "expanddims", "expand_dims", "tf.reshape", "tf.expand_dims"}


class NotThisNetwork(ValueError):  # noqa: N818 - raised to be caught: its text names the layer
    """The configuration has something in it that a 3D RCAN does not have."""


@dataclass(frozen=True)
class Node:
    """One operation.

    Parameters
    ----------
    kind
        ``input conv relu sigmoid pool multiply add affine lambda``.
    name
        Keras' name of the layer.
    inputs
        Names of the nodes that it reads.
    size
        Of a convolution: kernel size, the same along z, y, x.
    scale, offset
        Of an affine map.
    numbers
        Of a Lambda: what it was given beside its code (closure, defaults, arguments).
    code_numbers
        Of a Lambda: constants in its code.
    names_scaling
        Of a Lambda: whether a name in its code speaks of scaling.
    shape
        Of an input: Z, Y, X, C, ``None`` where free.
    """

    kind: str
    name: str
    inputs: tuple[str, ...] = ()
    size: int = 0
    scale: float = 1.0
    offset: float = 0.0
    numbers: tuple[float, ...] = ()
    code_numbers: tuple[float, ...] = ()
    names_scaling: bool = False
    shape: tuple[int | None, ...] = ()


@dataclass
class KerasGraph:
    """Nodes by name and the name of the one that is the network's output."""

    nodes: dict[str, Node] = field(default_factory=dict)
    output: str = ""

    def put(self, node: Node) -> None:
        """Add a node; a name that is taken is an error of the file."""
        if node.name in self.nodes:
            raise NotThisNetwork(f"two layers are called {node.name!r}")
        self.nodes[node.name] = node


def parse_config(config: Mapping[str, Any]) -> KerasGraph:
    """Return the graph of a functional Keras model.

    Raises
    ------
    NotThisNetwork
        Not a functional model, or one with layers that no 3D RCAN has.
    """
    body = _functional(config)
    graph = KerasGraph()
    alias: dict[str, str] = {}
    layers = body.get("layers")
    if not isinstance(layers, list) or len(layers) > 20_000:
        raise NotThisNetwork("its list of layers cannot be read")
    for layer in layers:
        _add_layer(layer, graph, alias)
    try:
        graphlib.TopologicalSorter({n.name: n.inputs for n in graph.nodes.values()}).prepare()
    except graphlib.CycleError as error:
        raise NotThisNetwork("its layers run in a circle") from error
    outputs = body.get("output_layers")
    names = [a for a in _arguments(outputs) if isinstance(a, str)]
    if len(names) != 1:
        raise NotThisNetwork(f"it has {len(names)} outputs")
    graph.output = alias.get(names[0], names[0])
    return graph


def _functional(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the innermost functional model: multi-GPU training wraps the network in another."""
    kind, body = config.get("class_name"), config.get("config")
    if kind not in ("Model", "Functional") or not isinstance(body, dict):
        raise NotThisNetwork(f"it is a Keras {kind}, not a functional model")
    inner = [
        layer
        for layer in body.get("layers", [])
        if isinstance(layer, dict) and layer.get("class_name") in ("Model", "Functional")
    ]
    if len(inner) == 1 and not any(
        layer.get("class_name", "").startswith("Conv") for layer in body["layers"]
    ):
        return _functional(inner[0])
    return body


def _arguments(value: Any) -> Iterator[Argument]:
    """Yield layer names and numbers of an ``inbound_nodes`` entry, in order, old style or new."""
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            yield str(value["config"]["keras_history"][0])
            return
        for key, entry in value.items():
            if key not in ("name", "axis", "keepdims", "shape", "training", "mask"):
                yield from _arguments(entry)
    elif isinstance(value, list):
        reference = len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], int)
        if not reference:
            for entry in value:
                yield from _arguments(entry)
            return
        # A number in the place of a tensor is written as a reference to no layer.
        yield from _arguments(value[2]) if value[0] == "_CONSTANT_VALUE" else [value[0]]
        yield from _arguments(value[3:])
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield float(value)


def _add_layer(layer: Any, graph: KerasGraph, alias: dict[str, str]) -> None:
    kind, config = layer["class_name"], layer["config"]
    name = str(layer.get("name") or config["name"])
    inbound = layer.get("inbound_nodes", [])
    arguments = list(_arguments(inbound))
    if kind == "TensorFlowOpLayer":
        for place, number in sorted((int(k), v) for k, v in config.get("constants", {}).items()):
            if isinstance(number, (int, float)):
                arguments.insert(place, float(number))
    arguments = [alias.get(a, a) if isinstance(a, str) else a for a in arguments]
    tensors = tuple(a for a in arguments if isinstance(a, str))

    def put(node_kind: str, **facts: Any) -> None:
        graph.put(Node(node_kind, name, tensors, **facts))

    operation = _operation(kind, config)
    if kind == "InputLayer":
        shape = config.get("batch_input_shape") or config.get("batch_shape") or []
        graph.put(Node("input", name, shape=tuple(shape[1:])))
    elif kind == "Conv3D":
        _add_convolution(name, config, tensors, graph, alias)
    elif kind in ("Reshape", "Dropout") or operation in _RESHAPE or _is_cast(kind, config):
        # Only ever (C) -> (1, 1, 1, C) in this network; Dropout does nothing after training.
        alias[name] = tensors[0]
    elif kind in ("Activation", "ReLU"):
        put(_activation(config["activation"] if kind == "Activation" else _relu(config), name))
    elif kind == "GlobalAveragePooling3D" or operation in _MEAN:
        put("pool")
    elif kind == "Rescaling":
        put("affine", scale=float(config["scale"]), offset=float(config.get("offset", 0.0)))
    elif kind == "Lambda":
        put("lambda", **_lambda_facts(config))
    elif operation is not None:
        _add_arithmetic(operation, name, arguments, graph)
    else:
        raise NotThisNetwork(f"it has a {kind} layer ({name!r})")


def _is_cast(kind: str, config: Mapping[str, Any]) -> bool:
    """Whether a layer changes only the number type, as half-precision policies need it."""
    if kind == "Activation":
        return config.get("activation") == "linear"
    return _operation(kind, config) in _CAST


def _operation(kind: str, config: Mapping[str, Any]) -> str | None:
    """Return the lower-case name of an arithmetic operation, or ``None``."""
    if kind == "TFOpLambda":
        return str(config.get("function", "")).lower()
    if kind == "TensorFlowOpLayer":
        definition = config.get("node_def", {})
        if isinstance(definition, str):
            found = re.search(r'"op"\s*:\s*"(\w+)"', definition)
            return found[1].lower() if found else None
        return str(definition.get("op", "")).lower()
    lowered = kind.lower()
    known = _ADD | _SUBTRACT | _MULTIPLY | _DIVIDE | _MEAN | _RESHAPE | _CAST
    return lowered if lowered in known else None


def _add_arithmetic(
    operation: str, name: str, arguments: list[Argument], graph: KerasGraph
) -> None:
    """Add a sum or product of two tensors, or of a tensor and a number."""
    tensors = tuple(a for a in arguments if isinstance(a, str))
    numbers = [a for a in arguments if not isinstance(a, str)]
    if len(tensors) == 2 and not numbers and operation in _ADD | _MULTIPLY:
        graph.put(Node("add" if operation in _ADD else "multiply", name, tensors))
        return
    if len(tensors) != 1 or len(numbers) != 1:
        raise NotThisNetwork(f"it has an operation {operation!r} ({name!r}) of unknown operands")
    number, number_first = numbers[0], not isinstance(arguments[0], str)
    if operation in _ADD:
        scale, offset = 1.0, number
    elif operation in _SUBTRACT:
        scale, offset = (-1.0, number) if number_first else (1.0, -number)
    elif operation in _MULTIPLY:
        scale, offset = number, 0.0
    elif operation in _DIVIDE and not number_first and number != 0:
        scale, offset = 1.0 / number, 0.0
    else:
        raise NotThisNetwork(f"it has an operation {operation!r} ({name!r})")
    graph.put(Node("affine", name, tensors, scale=scale, offset=offset))


def _add_convolution(
    name: str,
    config: Mapping[str, Any],
    tensors: tuple[str, ...],
    graph: KerasGraph,
    alias: dict[str, str],
) -> None:
    size = [int(n) for n in config["kernel_size"]]
    usual = (
        len(set(size)) == 1
        and size[0] in (1, 3)
        and set(config.get("strides", [1])) == {1}
        and set(config.get("dilation_rate", [1])) == {1}
        and config.get("groups", 1) == 1
        and (config.get("padding") == "same" or size[0] == 1)
        and config.get("data_format", "channels_last") == "channels_last"
    )
    if not usual:
        raise NotThisNetwork(f"its convolution {name!r} has an unusual size, stride or padding")
    graph.put(Node("conv", name, tensors, size=size[0]))
    activation = config.get("activation", "linear")
    if activation not in ("linear", None):
        behind = f"{name}/activation"
        graph.put(Node(_activation(activation, name), behind, (name,)))
        alias[name] = behind


def _activation(activation: Any, name: str) -> str:
    if activation not in ("relu", "sigmoid"):
        raise NotThisNetwork(f"its layer {name!r} has the activation {activation!r}")
    return str(activation)


def _relu(config: Mapping[str, Any]) -> str:
    """Return the activation of a ReLU layer, which can be clipped, leaky or shifted."""
    plain = config.get("max_value") is None and not any(
        config.get(option) for option in ("negative_slope", "threshold")
    )
    return "relu" if plain else "clipped, leaky or shifted relu"


def _lambda_facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a Lambda was given: numbers beside its code, and constants and names inside it.

    ``function`` is ``[code, defaults, closure]`` (Keras 2), a dictionary of the same (Keras 3) or
    the name of a function.
    """
    function = config.get("function")
    if isinstance(function, dict):
        inner = function.get("config", {})
        function = [inner.get("code"), inner.get("defaults"), inner.get("closure")]
    if not isinstance(function, list) or len(function) != 3:
        function = [None, None, None]
    code, defaults, closure = function
    given = [defaults, closure, config.get("arguments")]
    try:
        data = base64.b64decode(code) if isinstance(code, str) else b""
    except (binascii.Error, ValueError):
        data = b""
    return {
        "numbers": tuple(a for a in _arguments(given) if isinstance(a, float)),
        "code_numbers": _code_numbers(data),
        "names_scaling": b"scaling" in data,
    }


def _code_numbers(data: bytes) -> tuple[float, ...]:
    """Return the numbers that marshalled code carries as constants.

    Looks for marshal's type bytes: ``g`` and a double, ``i`` and a 32-bit integer, each with or
    without its reference flag 0x80 (CPython, Python/marshal.c). Text that happens to look so
    gives absurd values, which are left out.
    """
    found = []
    for match in re.finditer(rb"(?=[g\xe7](.{8})|[i\xe9](.{4}))", data, re.DOTALL):
        if match[1] is not None:
            value = struct.unpack("<d", match[1])[0]
            plausible = 1e-6 < abs(value) < 1e6
        else:
            value = float(struct.unpack("<i", match[2])[0])
            plausible = abs(value) < 256
        if plausible:
            found.append(value)
    return tuple(found)
