"""Tiny ONNX models, right and wrong; needs the package ``onnx``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from live_restore.inference.model.card import CARD_KEY

CARD: dict[str, Any] = {"name": "tiny", "shape_multiple_zyx": [1, 2, 2]}
FIVE = ("n", 1, "z", "y", "x")


def write_model(
    path: Path,
    *,
    card: str | dict[str, Any] | None = CARD,
    operator: str = "Identity",
    shape: tuple[Any, ...] = FIVE,
    kind: str = "FLOAT",
    inputs: int = 1,
) -> Path:
    """Write a model of one operator with the given signature; skip the test without onnx."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    element = getattr(onnx.TensorProto, kind)
    names = ["in", "more"][:inputs]
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["out"])],
        "tiny",
        [helper.make_tensor_value_info(name, element, shape) for name in names],
        [helper.make_tensor_value_info("out", element, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if card is not None:
        text = card if isinstance(card, str) else json.dumps(card)
        helper.set_model_props(model, {CARD_KEY: text})
    path.write_bytes(model.SerializeToString())
    return path
