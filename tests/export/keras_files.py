"""Keras HDF5 files of a 3D RCAN as TF1 and TF2 write them, and what such a network computes.

Written from the description of the graph and of the format; the forward pass works on the arrays
as they stand in the file (channels last, kernels (z, y, x, in, out)) and knows nothing of the
project's network.
"""

from __future__ import annotations

import base64
import json
import marshal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate

Array = NDArray[Any]


def _lambda(function: Any, closure: list[float] | None = None) -> dict[str, Any]:
    code = base64.b64encode(marshal.dumps(function.__code__)).decode()
    return {"function": [code, None, closure], "function_type": "lambda", "arguments": {}}


def _as_keras3(layer: dict[str, Any]) -> dict[str, Any]:
    """Return a layer with its references and its Lambda as Keras 3 writes them."""

    def tensor(reference: list[Any]) -> dict[str, Any]:
        config = {"shape": [None, 8, 32, 32, 8], "dtype": "float32", "keras_history": reference[:3]}
        return {"class_name": "__keras_tensor__", "config": config}

    config = dict(layer["config"])
    if "batch_input_shape" in config:
        config["batch_shape"] = config.pop("batch_input_shape")
    if layer["class_name"] == "Lambda":
        code, defaults, closure = config["function"]
        inner = {"code": code, "defaults": defaults, "closure": closure}
        config["function"] = {"class_name": "__lambda__", "config": inner}
    nodes = []
    for node in layer["inbound_nodes"]:
        tensors = [tensor(reference) for reference in node]
        several = layer["class_name"] in ("Add", "Multiply")
        nodes.append({"args": [tensors] if several else tensors, "kwargs": {}})
    return {**layer, "config": config, "inbound_nodes": nodes}


@dataclass
class KerasRCAN:
    """A network with random weights, built layer by layer as Keras would.

    Parameters
    ----------
    scaling_as
        How a residual scaling stands in the file: ``closure`` (a Lambda over an argument of the
        builder), ``constant`` (a number in a Lambda's code), ``global`` (a Lambda over a name, so
        that the file does not tell), ``operator`` (TF2: ``x * 0.1``), ``tensor operator`` (TF1:
        the same), ``defaults``, ``rescaling``.
    pool_as
        ``layer`` or ``lambda``.
    tf1
        Bytes for text, ``Model`` for the class, no ``groups`` in convolutions.
    keras3
        References to layers as Keras 3 writes them into HDF5.
    """

    groups: int = 2
    blocks: int = 2
    channels: int = 8
    reduction: int = 2
    inputs: int = 1
    outputs: int = 1
    scaling: float | None = None
    scaling_as: str = "closure"
    pool_as: str = "layer"
    tf1: bool = False
    keras3: bool = False
    tile: tuple[int | None, ...] = (8, 32, 32)
    seed: int = 0
    layers: list[dict[str, Any]] = field(default_factory=list)
    weights: dict[str, tuple[Array, Array]] = field(default_factory=dict)
    convolutions: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._counts: dict[str, int] = {}
        x = self._layer("InputLayer", {"batch_input_shape": [None, *self.tile, self.inputs]}, [])
        x = self._layer("Lambda", _lambda(lambda x: 2.0 * x - 1.0), [x])
        head = y = self._conv(x, self.channels, self.inputs)
        for _ in range(self.groups):
            group_input = y
            for _ in range(self.blocks):
                y = self._block(y)
            if self.groups > 1:
                y = self._layer("Add", {}, [self._conv(y, self.channels), group_input])
        y = self._layer("Add", {}, [self._conv(y, self.channels), head])
        y = self._conv(y, self.outputs)
        self.output = self._layer("Lambda", _lambda(lambda x: 0.5 * x + 0.5), [y])

    def _name(self, stem: str) -> str:
        count = self._counts[stem] = self._counts.get(stem, -1) + 1
        return f"{stem}_{count}" if count else stem

    def _layer(self, kind: str, config: dict[str, Any], inputs: list[str], **call: Any) -> str:
        name = self._name(
            {"InputLayer": "input_1", "TFOpLambda": "tf.math.multiply"}.get(kind, kind.lower())
        )
        nodes = [[[i, 0, 0, call] for i in inputs]] if inputs else []
        if kind == "TFOpLambda":
            nodes = nodes[0]  # an operator of one tensor is written one level flatter
        config = {"name": name, "trainable": True, "dtype": "float32", **config}
        self.layers.append(
            {"class_name": kind, "config": config, "name": name, "inbound_nodes": nodes}
        )
        return name

    def _conv(
        self, x: str, filters: int, inputs: int = 0, size: int = 3, act: str = "linear"
    ) -> str:
        inputs = inputs or self.channels
        config = {
            "filters": filters,
            "kernel_size": [size] * 3,
            "strides": [1, 1, 1],
            "padding": "same",
            "data_format": "channels_last",
            "dilation_rate": [1, 1, 1],
            "activation": act,
            "use_bias": True,
        }
        if not self.tf1:
            config["groups"] = 1
        name = self._layer("Conv3D", config, [x])
        scale = 0.7 / (inputs * size**3) ** 0.5
        kernel = self._rng.normal(0, scale, (size, size, size, inputs, filters))
        bias = self._rng.normal(0, 0.2, filters)
        self.weights[name] = (kernel.astype("f4"), bias.astype("f4"))
        self.convolutions.append(name)
        return name

    def _block(self, x: str) -> str:
        y = self._conv(x, self.channels, act="relu")
        features = self._conv(y, self.channels)
        if self.pool_as == "layer":
            a = self._layer("GlobalAveragePooling3D", {"data_format": "channels_last"}, [features])
            a = self._layer("Reshape", {"target_shape": [1, 1, 1, self.channels]}, [a])
        else:
            a = self._layer(
                "Lambda", _lambda(lambda x: x.mean((1, 2, 3), keepdims=True)), [features]
            )
        squeezed = self.channels // self.reduction
        a = self._conv(a, squeezed, size=1, act="relu")
        a = self._conv(a, self.channels, squeezed, size=1, act="sigmoid")
        y = self._layer("Multiply", {}, [features, a])
        if self.scaling is not None:
            y = self._scale(y)
        return self._layer("Add", {}, [y, x])

    def _scale(self, y: str) -> str:
        factor = self.scaling
        if self.scaling_as == "closure":
            return self._layer("Lambda", _lambda(lambda x: x * factor, [factor]), [y])
        if self.scaling_as == "constant":
            code = compile(f"lambda x: x * {factor!r}", "model.py", "eval").co_consts[0]
            config = {"function": [base64.b64encode(marshal.dumps(code)).decode(), None, None]}
            return self._layer("Lambda", config, [y])
        if self.scaling_as == "global":
            return self._layer("Lambda", _lambda(lambda x: x * UNKNOWN), [y])  # noqa: F821
        if self.scaling_as == "defaults":
            return self._layer("Lambda", {"function": ["", [factor], None]}, [y])
        if self.scaling_as == "operator":
            return self._layer(
                "TFOpLambda", {"function": "math.multiply"}, [y], y=factor, name=None
            )
        if self.scaling_as == "tensor operator":
            definition = {"name": "mul", "op": "Mul", "input": [y, "mul/y"], "attr": {}}
            config = {"node_def": definition, "constants": {"1": factor}}
            return self._layer("TensorFlowOpLayer", config, [y])
        return self._layer("Rescaling", {"scale": factor, "offset": 0.0}, [y])

    def config(self) -> dict[str, Any]:
        """Return ``model_config``."""
        body = {
            "name": "model_1",
            "layers": [_as_keras3(layer) for layer in self.layers] if self.keras3 else self.layers,
            "input_layers": [["input_1", 0, 0]],
            "output_layers": [[self.output, 0, 0]],
        }
        return {"class_name": "Model" if self.tf1 else "Functional", "config": body}

    def write(self, path: Path, *, full: bool = True, chunked: bool = False) -> Path:
        """Write the file; ``chunked`` splits lists of names as Keras does above 64 KB."""

        def text(value: str) -> Any:
            return value.encode() if self.tf1 else value

        def put_names(group: h5py.Group, attribute: str, names: list[str]) -> None:
            encoded = np.array([n.encode() for n in names]) if self.tf1 else names
            if chunked and len(names) > 3:
                for i, part in enumerate(np.array_split(np.array(encoded, dtype="S"), 3)):
                    group.attrs[f"{attribute}{i}"] = part
            else:
                group.attrs[attribute] = encoded if len(names) else np.array([], "S1")

        with h5py.File(path, "w") as file:
            file.attrs["keras_version"] = text("2.2.5" if self.tf1 else "2.11.0")
            file.attrs["backend"] = text("tensorflow")
            if full:
                file.attrs["model_config"] = text(json.dumps(self.config()))
            root = file.create_group("model_weights") if full else file
            put_names(root, "layer_names", [layer["name"] for layer in self.layers])
            for layer in self.layers:
                name = layer["name"]
                group = root.create_group(name)
                own = [f"{name}/kernel:0", f"{name}/bias:0"] if name in self.weights else []
                put_names(group, "weight_names", own)
                for key, array in zip(own, self.weights.get(name, ()), strict=False):
                    group.create_dataset(key, data=array)
        return path

    def run(self, image: Array) -> Array:
        """Return the network's output; ``image`` and result are (Z, Y, X, C) float64."""
        convolutions = iter(self.convolutions)

        def conv(x: Array) -> Array:
            kernel, bias = (a.astype("f8") for a in self.weights[next(convolutions)])
            out = np.zeros((*x.shape[:3], kernel.shape[4])) + bias
            for i in range(kernel.shape[3]):
                for o in range(kernel.shape[4]):
                    out[..., o] += correlate(x[..., i], kernel[..., i, o], mode="constant")
            return out

        x = head = conv(2 * image - 1)
        for _ in range(self.groups):
            group_input = x
            for _ in range(self.blocks):
                y = conv(np.maximum(conv(x), 0))
                a = conv(np.maximum(conv(y.mean((0, 1, 2), keepdims=True)), 0))
                y = y / (1 + np.exp(-a))
                x = x + (1.0 if self.scaling is None else self.scaling) * y
            if self.groups > 1:
                x = group_input + conv(x)
        return 0.5 * conv(head + conv(x)) + 0.5
