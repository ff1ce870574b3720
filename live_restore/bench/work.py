"""How much arithmetic a network takes, and a model that does nothing but arithmetic."""

from __future__ import annotations

import numpy as np

from live_restore.inference.model.card import ModelCard

_TAPS = 27  # 3 x 3 x 3
_FLOAT = 1  # TensorProto.FLOAT
CHAIN = 8
"""Products in a row in :func:`matrix_product_model`: copying in and out then hardly counts."""


def flop_per_voxel(card: ModelCard) -> float | None:
    """Return the multiplications and additions of the convolutions per voxel.

    Two per weight of each 3 x 3 x 3 convolution (Chen et al. 2021, fig. 1: two per block, one per
    group, one at the end of the body, head and tail). Channel attention and element-wise steps are
    less than a hundredth of it. ``None`` where the card does not tell the architecture.

    Examples
    --------
    >>> paper = {"groups": 5, "blocks": 5, "channels": 32}
    >>> round(flop_per_voxel(ModelCard(name="paper", architecture=paper)) / 1e6, 1)
    3.1
    """
    shape = card.architecture
    try:
        groups, blocks, channels = (int(shape[key]) for key in ("groups", "blocks", "channels"))
        fold = int(shape.get("lateral_shuffle", 1))
    except (KeyError, TypeError, ValueError):
        return None
    tails = groups if groups > 1 or shape.get("single_group_tail") else 0
    inside = (2 * groups * blocks + tails + 1) * channels**2
    ends = (card.input_channels + card.output_channels) * fold**2 * channels
    return 2.0 * _TAPS * (inside + ends) / fold**2


def matrix_product_model(side: int) -> bytes:
    """Return an ONNX model that multiplies a matrix by a constant one, :data:`CHAIN` times.

    The constant, like a network's weights, may be brought into the layout that the library likes
    best when the model is loaded: bfloat16 on AMX reached 1.0 TFLOP/s so, and 0.6 to 0.8 where both
    factors arrive at run time (one core, 2026-11-24). Its entries are all 1 / N, which keeps
    products from growing. Input and output are (1, 1, 1, N, N), so that every backend takes it for
    a network. Written byte by byte: the daemon does without the package ``onnx`` (field numbers
    from ``onnx.proto``, IR version 8).

    Parameters
    ----------
    side
        N.
    """
    constant = np.full((side, side), 1 / side, np.float32)
    weight = _number(1, side) + _number(1, side) + _number(2, _FLOAT)
    weight += _text(8, "constant") + _message(9, constant.tobytes())
    nodes = b""
    before = "input"
    for step in range(CHAIN):
        after = "output" if step == CHAIN - 1 else f"product{step}"
        node = _text(1, before) + _text(1, "constant") + _text(2, after) + _text(4, "MatMul")
        nodes += _message(1, node)
        before = after
    graph = nodes + _text(2, "product") + _message(5, weight)
    graph += _value(11, "input", side) + _value(12, "output", side)
    opset = _text(1, "") + _number(2, 18)
    return _number(1, 8) + _message(7, graph) + _message(8, opset)


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())


def _value(field: int, name: str, side: int) -> bytes:
    """Return a float tensor (1, 1, 1, N, N)."""
    sizes = b"".join(_message(1, _number(1, size)) for size in (1, 1, 1, side, side))
    tensor = _number(1, _FLOAT) + _message(2, sizes)
    return _message(field, _text(1, name) + _message(2, _message(1, tensor)))
