"""Mutations of ONNX files, field by field of their protocol buffers."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from tests.fuzz.mutate import TEXTS, damage, number
from tests.support import protobuf
from tests.support.protobuf import varint

Field = tuple[int, int, bytes]
"""Number, wire type, and the raw value (a varint's bytes, or what stands behind a length)."""

_METADATA, _CARD_KEY = 14, b"live_restore_card"
_DEEPEST = 8


def fields_of(data: bytes) -> list[Field] | None:
    """Return the fields of a message, ``None`` where it is none."""
    found: list[Field] = []
    at = 0
    try:
        while at < len(data):
            key, at = _varint_at(data, at)
            field, wire = key >> 3, key & 7
            if not field:
                return None
            if wire == 0:
                value, after = _varint_at(data, at)
                found.append((field, 0, varint(value)))
                at = after
            elif wire in (1, 5):
                width = 8 if wire == 1 else 4
                if at + width > len(data):
                    return None
                found.append((field, wire, data[at : at + width]))
                at += width
            elif wire == 2:
                length, at = _varint_at(data, at)
                if at + length > len(data):
                    return None
                found.append((field, 2, data[at : at + length]))
                at += length
            else:
                return None
    except IndexError:
        return None
    return found


def _varint_at(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise IndexError


def joined(fields: list[Field]) -> bytes:
    """Return the message of these fields."""
    raw = b""
    for field, wire, value in fields:
        raw += varint(field << 3 | wire)
        raw += varint(len(value)) + value if wire == 2 else value
    return raw


def with_card(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Return a model whose card is changed."""
    fields = fields_of(data) or []
    for place, (field, wire, value) in enumerate(fields):
        if field == _METADATA and _CARD_KEY in value:
            inner = fields_of(value) or []
            text = change({f: v for f, _, v in inner}[2])
            fields[place] = (field, wire, protobuf.message((1, _CARD_KEY), (2, text)))
    return joined(fields)


def _extra(rng: random.Random) -> bytes:
    """Return a graph's field that a reader should not take as it comes."""
    location = rng.choice(
        ("../../etc/passwd", "/etc/passwd", "/dev/zero", "tiny.onnx", *TEXTS[:20])
    )
    location = location.encode(errors="replace").decode()
    which = rng.randrange(5)
    if which == 0:
        spread = protobuf.external("two", (), location, offset=number(rng) % 2**63, length=4)
        return protobuf.message((5, spread))
    if which == 1:
        dims = tuple(number(rng) % 2**63 for _ in range(rng.randrange(1, 5)))
        return protobuf.message((5, protobuf.tensor("big", dims, b"\0" * 16)))
    if which == 2:  # a constant that unfolds when the graph is made ready
        shape = struct.pack("<3q", *(rng.choice((1, 1000, 10**6, 2**40)) for _ in range(3)))
        sizes = protobuf.message((1, 3), (2, 7), (8, "s"), (9, shape))
        return protobuf.message((5, sizes), (1, protobuf.node("ConstantOfShape", ("s",), "c")))
    if which == 3:
        return protobuf.message((1, protobuf.node("Strange", ("in",), "q", (7, "com.attacker"))))
    return protobuf.message((1, protobuf.node("Identity", ("out",), "in")))


def mutate_onnx(rng: random.Random, data: bytes, depth: int = 0) -> bytes:
    """Return a model after one change somewhere in its tree of messages."""
    fields = fields_of(data)
    if fields is None or not fields or (depth == 0 and rng.random() < 0.1):
        return damage(rng, data)
    place = rng.randrange(len(fields))
    field, wire, value = fields[place]
    if depth == 0 and rng.random() < 0.2:
        return joined([(f, w, v + _extra(rng) if f == 7 else v) for f, w, v in fields])
    inner = fields_of(value) if wire == 2 else None
    if inner and depth < _DEEPEST and rng.random() < 0.85:
        fields[place] = (field, 2, mutate_onnx(rng, value, depth + 1))
        return joined(fields)
    what = rng.randrange(6)
    if what == 0:
        del fields[place]
    elif what == 1:
        fields += [fields[place]] * rng.choice((1, 2, 300))
    elif what == 2:
        fields[place] = (number(rng) % 100 + 1, wire, value)
    elif what == 3 and depth < _DEEPEST:  # itself within itself
        fields[place] = (field, 2, data)
    elif wire == 0:
        fields[place] = (field, 0, varint(number(rng)))
    elif wire == 2:
        odd = rng.choice(TEXTS).encode(errors="surrogatepass")
        fields[place] = (field, 2, odd if rng.random() < 0.5 else damage(rng, value))
    return joined(fields)
