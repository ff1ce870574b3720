"""The ONNX graph of a 3D RCAN, node by node, and back: pure functions on ``onnx.ModelProto``.

Written by hand and not traced from torch: the graph has some 20 kinds of line, its N, Z, Y and X
are free without a word of shape arithmetic (a traced one fixes or recomputes them), nodes carry
the network's own names, and comparing it with torch compares two independent definitions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import live_restore
from live_restore.errors import ModelError
from live_restore_export.network import RCAN, RCANConfig, parameter_shapes

INPUT, OUTPUT = "input", "output"

# Opset 18 has everything that the graph needs and is understood by every ONNX Runtime since 1.14,
# TensorRT 10 and OpenVINO 2023; convolutions in bfloat16 exist from opset 22 on.
OPSET, OPSET_BFLOAT16 = 18, 22
_IR_VERSION = {OPSET: 8, OPSET_BFLOAT16: 10}


@dataclass
class _Graph:
    """Nodes and initialisers in the order in which they are computed."""

    half_weights: bool = False
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initialisers: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.initialisers[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def conv(self, x: str, name: str, weight: NDArray[Any], bias: NDArray[Any], fold: int) -> str:
        """Add a convolution that keeps Z and divides Y and X by ``fold``."""
        depth, height, width = weight.shape[2:]
        pads = [depth // 2, *(fold * (size // fold // 2) for size in (height, width))]
        return self.node(
            "Conv",
            [x, self._weight(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)],
            name,
            kernel_shape=[depth, height, width],
            strides=[1, fold, fold],
            pads=pads * 2,
        )

    def _weight(self, name: str, value: NDArray[Any]) -> str:
        if not self.half_weights:
            return self.constant(name, value)
        half = self.constant(name, value.astype(np.float16))
        # Runtimes do this once, when they load the model.
        return self.node("Cast", [half], f"{name}.float32", to=TensorProto.FLOAT)


def _float32(value: float) -> NDArray[np.float32]:
    return np.array([value], np.float32)


def folded_head(weight: NDArray[Any], fold: int) -> NDArray[Any]:
    """(O, C * fold**2, 3, 3, 3) -> (O, C, 3, 3 * fold, 3 * fold): fold and convolve in one stride.

    A 3 x 3 x 3 convolution over an image whose ``fold`` x ``fold`` neighbourhoods stand in its
    channels is a convolution of the unfolded image with stride ``fold``; only the order of the
    weights changes.
    """
    outputs, inputs = weight.shape[0], weight.shape[1] // fold**2
    split = weight.reshape(outputs, inputs, fold, fold, 3, 3, 3)
    return split.transpose(0, 1, 4, 5, 2, 6, 3).reshape(outputs, inputs, 3, 3 * fold, 3 * fold)


def unfolded_head(weight: NDArray[Any], fold: int) -> NDArray[Any]:
    """Undo :func:`folded_head`."""
    outputs, inputs = weight.shape[:2]
    split = weight.reshape(outputs, inputs, 3, 3, fold, 3, fold)
    return split.transpose(0, 1, 4, 6, 2, 3, 5).reshape(outputs, inputs * fold**2, 3, 3, 3)


def _unfold(graph: _Graph, x: str, fold: int) -> str:
    """(N, C * fold**2, Z, Y, X) -> (N, C, Z, Y * fold, X * fold).

    ``DepthToSpace`` knows images only; planes stacked under each other are one tall image, and
    each plane's rows stay together in it.
    """
    same2 = graph.constant("unfold.same2", np.array([0, 0], np.int64))
    infer = graph.constant("unfold.infer", np.array([-1], np.int64))
    depth = graph.node("Shape", [x], "unfold.z", start=2, end=3)
    width = graph.node("Shape", [x], "unfold.x", start=4, end=5)
    tall_shape = graph.node("Concat", [same2, infer, width], "unfold.tall_shape", axis=0)
    tall = graph.node("Reshape", [x, tall_shape], "unfold.tall")
    wide = graph.node("DepthToSpace", [tall], "unfold.wide", blocksize=fold, mode="CRD")
    width = graph.node("Shape", [wide], "unfold.wide_x", start=3, end=4)
    shape = graph.node("Concat", [same2, depth, infer, width], "unfold.shape", axis=0)
    return graph.node("Reshape", [wide, shape], "unfold")


def round_to_half(network: RCAN) -> None:
    """Round the weights of all convolutions to half precision, in place; biases stay.

    Raises
    ------
    ModelError
        A weight is too large for it.
    """
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith(".weight"):
                rounded = value.half().float()
                if not torch.isfinite(rounded).all():
                    raise ModelError(f"{name} holds a weight too large for half precision")
                value.copy_(rounded)


def has_half_weights(model: onnx.ModelProto) -> bool:
    """Return whether any weight is stored in half precision."""
    return any(t.data_type == TensorProto.FLOAT16 for t in model.graph.initializer)


def build_model(network: RCAN, *, half_weights: bool = False) -> onnx.ModelProto:
    """Return the checked ONNX model of ``network``: float32, N, Z, Y, X free.

    Input ``input`` and output ``output`` are (N, C, Z, Y, X) in network units. Initialisers have
    the names of the torch parameters. ``half_weights`` stores weights in half precision, which is
    exact after :func:`round_to_half`; all is computed in float32 nevertheless.
    """
    config, graph = network.config, _Graph(half_weights)
    state = {
        k: v.detach().cpu().numpy().astype(np.float32) for k, v in network.state_dict().items()
    }
    fold = config.lateral_shuffle

    def conv(x: str, name: str) -> str:
        return graph.conv(x, name, state[f"{name}.weight"], state[f"{name}.bias"], 1)

    x = INPUT
    if config.standardise:
        x = graph.node("Mul", [x, graph.constant("two", _float32(2))], "doubled")
        x = graph.node("Sub", [x, graph.constant("one", _float32(1))], "standardised")
    head_weight = folded_head(state["head.weight"], fold)
    y = head = graph.conv(x, "head", head_weight, state["head.bias"], fold)
    axes = graph.constant("spatial_axes", np.array([2, 3, 4], np.int64))
    for g in range(config.groups):
        group_input = y
        for b in range(config.blocks):
            block, block_input = f"groups.{g}.blocks.{b}", y
            y = graph.node("Relu", [conv(y, f"{block}.conv1")], f"{block}.relu")
            features = conv(y, f"{block}.conv2")
            a = graph.node("ReduceMean", [features, axes], f"{block}.attention.pool", keepdims=1)
            a = conv(a, f"{block}.attention.squeeze")
            a = graph.node("Relu", [a], f"{block}.attention.relu")
            a = conv(a, f"{block}.attention.excite")
            a = graph.node("Sigmoid", [a], f"{block}.attention.sigmoid")
            if config.residual_scaling is not None:
                # Scaling the few attention weights costs nothing; scaling the image would.
                scale = graph.constant("residual_scaling", _float32(config.residual_scaling))
                a = graph.node("Mul", [a, scale], f"{block}.attention.scaled")
            y = graph.node("Mul", [features, a], f"{block}.attended")
            if config.block_skip == "every" or b == config.blocks - 1:
                y = graph.node("Add", [block_input, y], f"{block}.sum")
        if config.has_group_tails:
            y = graph.node("Add", [group_input, conv(y, f"groups.{g}.tail")], f"groups.{g}.sum")
    y = graph.node("Add", [head, conv(y, "body")], "body.sum")
    y = conv(y, "tail")
    if fold > 1:
        y = _unfold(graph, y, fold)
    if config.standardise:
        half = graph.constant("half", _float32(0.5))
        y = graph.node("Add", [graph.node("Mul", [y, half], "halved"), half], "restored")
    graph.nodes[-1].output[0] = OUTPUT
    return finish_model(graph.nodes, list(graph.initialisers.values()), config)


def finish_model(
    nodes: list[onnx.NodeProto],
    initialisers: list[onnx.TensorProto],
    config: RCANConfig,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """Wrap nodes into a model with float32 input and output, and check it."""
    free = ["Z", "Y", "X"]
    graph = helper.make_graph(
        nodes,
        "rcan3d",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", config.in_channels, *free])],
        [
            helper.make_tensor_value_info(
                OUTPUT, TensorProto.FLOAT, ["N", config.out_channels, *free]
            )
        ],
        initialisers,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=_IR_VERSION[opset],
        producer_name="live-restore-export",
        producer_version=live_restore.__version__,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def network_of(model: onnx.ModelProto, architecture: dict[str, Any]) -> RCAN:
    """Rebuild the torch network (float32, evaluation mode) from a model that we wrote.

    Raises
    ------
    ModelError
        The model's initialisers are not those of ``architecture``.
    """
    try:
        config = RCANConfig(**architecture)
    except (TypeError, ValueError) as error:
        raise ModelError(f"the card's architecture is not one of ours: {error}") from error
    arrays = {t.name: numpy_helper.to_array(t).astype(np.float32) for t in model.graph.initializer}
    expected = parameter_shapes(config)  # before any memory: a card may claim anything
    missing = [name for name in expected if name not in arrays]
    if missing:
        raise ModelError(f"the graph has no weights named {missing[0]!r}: not written by this tool")
    if config.lateral_shuffle > 1:
        if arrays["head.weight"].shape[3:] != (3 * config.lateral_shuffle,) * 2:
            raise ModelError("its first convolution does not fold as the card says")
        arrays["head.weight"] = unfolded_head(arrays["head.weight"], config.lateral_shuffle)
    for name, wanted in expected.items():
        if arrays[name].shape != wanted:
            raise ModelError(f"{name} has the shape {arrays[name].shape}, but by its card {wanted}")
    network = RCAN(config)
    network.load_state_dict({k: torch.from_numpy(arrays[k].copy()) for k in expected})
    return network.eval()
