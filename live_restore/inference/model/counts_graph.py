"""A model around which the stack's own grey values go in and come out. Pure.

::

    uint16 ── cast ── - low ── * factor ──> the network ──> * divisor ── + low ──┐
    uint16 <── cast ── clip ── round <───────────────────────────────────────────┤
    of each plane, how many voxels were clipped, and how many were not finite <──┘

Step by step what ``IntensityScale`` and ``finished_volume`` do on the processor, in the same order
and in float32, so that the voxels are equal to the bit. A GPU then has half the bytes to fetch and
to give back, and the processor nothing left to compute. Made from the file's bytes, since the
package ``onnx`` is no part of an installation.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import struct

from live_restore.inference.model.protobuf import NotProtobufError, field, fields, message, text

COUNTS, LOW, FACTOR, DIVISOR = "counts/in", "counts/low", "counts/factor", "counts/divisor"
"""Inputs: (1, 1, Z, Y, X) uint16, and the three numbers of the intensity scale, float32."""
RESTORED, OUTSIDE, BROKEN = "counts/out", "counts/outside", "counts/broken"
"""Outputs: (1, 1, Z, Y, X) uint16; of each plane, (1, 1, Z) float32, how many voxels were clipped,
and how many were not finite. A plane has fewer than 2**24, so that these are exact."""

_FLOAT, _UINT16, _INT64 = 1, 4, 7
_INTEGER_ATTRIBUTE = 2
# From here on ReduceSum takes its axes as an input, Clip its limits.
_OLDEST_OPERATORS = 13
_MOST = 65535.0


class UnsuitableModelError(Exception):
    """Why no such model can be made of one."""


def with_counts(content: bytes, shape: tuple[int, ...]) -> bytes:
    """Return an ONNX model that takes and gives grey values of 16 bits.

    Parameters
    ----------
    content
        A model of one (N, C, Z, Y, X) float tensor in and out.
    shape
        Of the tiles that it will get.

    Raises
    ------
    UnsuitableModelError
        It is another kind of model.
    """
    try:
        parts = list(fields(memoryview(content)))
        (graph,) = (value for number, value, _ in parts if number == 7)
        operators = [_version(value) for number, value, _ in parts if number == 8]
        # It may not be the first: a model may use operators of several makers.
        if max(operators, default=0) < _OLDEST_OPERATORS:
            raise UnsuitableModelError("its operators are too old")
        made = _around(message(graph), shape)
    except (NotProtobufError, ValueError, UnicodeDecodeError) as error:
        raise UnsuitableModelError("it is not one tensor in and one out") from error
    kept = b"".join(bytes(whole) for number, _, whole in parts if number != 7)
    return kept + field(7, made)


def _around(graph: memoryview, shape: tuple[int, ...]) -> bytes:
    """Return a graph with all before and after the network that is computed per voxel."""
    parts = list(fields(graph))
    (taken,) = (name_of(value) for number, value, _ in parts if number == 11)
    (given,) = (name_of(value) for number, value, _ in parts if number == 12)
    before = [
        node("Cast", [COUNTS], "counts/float", to=_FLOAT),
        node("Sub", ["counts/float", LOW], "counts/above"),
        node("Mul", ["counts/above", FACTOR], taken),
    ]
    after = [
        node("Mul", [given, DIVISOR], "counts/span"),
        node("Add", ["counts/span", LOW], "counts/adu"),
        node("IsNaN", ["counts/adu"], "counts/nan"),
        node("IsInf", ["counts/adu"], "counts/inf"),
        node("Or", ["counts/nan", "counts/inf"], "counts/not_finite"),
        *_number_of("counts/not_finite", BROKEN),
        node("Round", ["counts/adu"], "counts/whole"),
        node("Less", ["counts/whole", "counts/least"], "counts/below"),
        node("Greater", ["counts/whole", "counts/most"], "counts/over"),
        node("Or", ["counts/below", "counts/over"], "counts/is_outside"),
        *_number_of("counts/is_outside", OUTSIDE),
        node("Clip", ["counts/whole", "counts/least", "counts/most"], "counts/clipped"),
        node("Cast", ["counts/clipped"], RESTORED, to=_UINT16),
    ]
    numbers = [
        _constant("counts/least", _FLOAT, (), struct.pack("<f", 0.0)),
        _constant("counts/most", _FLOAT, (), struct.pack("<f", _MOST)),
        _constant("counts/plane", _INT64, (2,), struct.pack("<qq", 3, 4)),
    ]
    inputs = [
        _tensor(COUNTS, _UINT16, shape),
        *(_tensor(n, _FLOAT, ()) for n in (LOW, FACTOR, DIVISOR)),
    ]
    outputs = [
        _tensor(RESTORED, _UINT16, shape),
        *(_tensor(n, _FLOAT, shape[:3]) for n in (OUTSIDE, BROKEN)),
    ]
    nodes = [
        bytes(value) for number, value, _ in parts if number == 1 and not isinstance(value, int)
    ]
    kept = b"".join(bytes(whole) for number, _, whole in parts if number not in (1, 11, 12))
    return b"".join(
        [
            *(field(1, each) for each in (*before, *nodes, *after)),
            kept,
            *(field(5, each) for each in numbers),
            *(field(11, each) for each in inputs),
            *(field(12, each) for each in outputs),
        ]
    )


def _number_of(where: str, output: str) -> list[bytes]:
    """Return nodes that count, plane by plane, where something holds."""
    return [
        node("Cast", [where], f"{where}/float", to=_FLOAT),
        node("ReduceSum", [f"{where}/float", "counts/plane"], output, keepdims=0),
    ]


def node(operator: str, inputs: list[str], output: str, **attributes: int) -> bytes:
    """Return a node of a graph with one output, as bytes."""
    named = [
        field(1, name) + field(3, value) + field(20, _INTEGER_ATTRIBUTE)
        for name, value in attributes.items()
    ]
    return b"".join(
        [
            *(field(1, name) for name in inputs),
            field(2, output),
            field(4, operator),
            *(field(5, each) for each in named),
        ]
    )


def _constant(name: str, kind: int, sizes: tuple[int, ...], content: bytes) -> bytes:
    dimensions = b"".join(field(1, size) for size in sizes)
    return dimensions + field(2, kind) + field(8, name) + field(9, content)


def _tensor(name: str, kind: int, shape: tuple[int, ...]) -> bytes:
    dimensions = b"".join(field(1, field(1, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, dimensions)))


def name_of(tensor: int | memoryview) -> str:
    """Return the name of what a graph takes or gives; raises ``ValueError`` where it has none."""
    (name,) = (value for number, value, _ in fields(message(tensor)) if number == 1)
    return text(name)


def _version(operator_set: int | memoryview) -> int:
    """Return the version of ONNX's own operators in a set, 0 for those of other makers."""
    found = {number: value for number, value, _ in fields(message(operator_set))}
    own = bytes(found.get(1, b"")) in (b"", b"ai.onnx")
    version = found.get(2, 0)
    return version if own and isinstance(version, int) else 0
