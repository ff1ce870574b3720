"""ONNX files written field by field: what the package ``onnx`` would refuse to write, too."""

from __future__ import annotations

import json
import struct
from typing import Any

Field = tuple[int, Any]

IMAGE = ("n", 1, "z", "y", "x")


def varint(value: int) -> bytes:
    """Return a number as protocol buffers store it (64 bits, negative ones in ten bytes)."""
    value %= 1 << 64
    raw = bytearray()
    while value > 0x7F:
        raw.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*raw, value])


def message(*fields: Field) -> bytes:
    """Return a message: whole numbers, text and bytes by their field numbers."""
    raw = b""
    for number, value in fields:
        if isinstance(value, int):
            raw += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            raw += varint(number << 3 | 2) + varint(len(data)) + data
    return raw


def tensor(name: str, dims: tuple[int, ...], raw: bytes, *more: Field) -> bytes:
    """Return a float32 ``TensorProto``."""
    return message(*((1, n) for n in dims), (2, 1), (8, name), (9, raw), *more)


def external(name: str, dims: tuple[int, ...], location: str, **options: int) -> bytes:
    """Return a float32 ``TensorProto`` whose numbers are said to lie in another file."""
    said = [message((1, "location"), (2, location))]
    said += [message((1, key), (2, str(value))) for key, value in options.items()]
    return message(
        *((1, n) for n in dims), (2, 1), (8, name), *((13, each) for each in said), (14, 1)
    )


def value_info(name: str, shape: tuple[Any, ...] = IMAGE, kind: int = 1) -> bytes:
    """Return a ``ValueInfoProto``; sizes are numbers or names."""
    sizes = b"".join(message((1, message((1, n) if isinstance(n, int) else (2, n)))) for n in shape)
    return message((1, name), (2, message((1, message((1, kind), (2, sizes))))))


def node(operator: str, inputs: tuple[str, ...], output: str, *more: Field) -> bytes:
    """Return a ``NodeProto``."""
    return message(*((1, name) for name in inputs), (2, output), (4, operator), *more)


def model(
    *nodes: bytes,
    initializers: tuple[bytes, ...] = (),
    card: Any = None,
    more: tuple[Field, ...] = (),
) -> bytes:
    """Return a ``ModelProto`` from "in" to "out"; ``card`` is text, or what becomes JSON."""
    graph = message(
        *((1, each) for each in nodes), (2, "tiny"), *((5, each) for each in initializers),
        (11, value_info("in")), (12, value_info("out")),
    )  # fmt: skip
    fields: list[Field] = [(1, 8), (8, message((1, ""), (2, 17))), (7, graph), *more]
    if card is not None:
        text = card if isinstance(card, (str, bytes)) else json.dumps(card)
        fields.append((14, message((1, "live_restore_card"), (2, text))))
    return message(*fields)


def doubling(card: Any) -> bytes:
    """Return a model that gives twice its input."""
    two = tensor("two", (), struct.pack("<f", 2.0))
    return model(node("Mul", ("in", "two"), "out"), initializers=(two,), card=card)
