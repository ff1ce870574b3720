"""A float32 model in float16, made from its bytes: for devices that are fast in it. Pure.

What stays in float32: all before the first convolution and after the last one, where the image
itself is rounded; channel attention, from the means on (means over a million voxels, and a sigmoid
that scales a whole channel); and every operator that is not known here. Casts stand where types
meet; those of weights are computed by the runtime when it loads the model. A weight that float16
does not hold becomes infinite, and the known answer tells.

``live_restore_export.onnx.precision`` writes nearly the same into a file when a model is exported;
this one needs no package ``onnx``, which is no part of an installation.
"""

from __future__ import annotations

from dataclasses import dataclass

from live_restore.inference.model.counts_graph import UnsuitableModelError, name_of, node
from live_restore.inference.model.protobuf import NotProtobufError, field, fields, message, text

_FLOAT, _HALF = 1, 10
_NARROWED = "half/"
_NONE = memoryview(b"")

# Operators whose result has the type of the tensors that they are computed from.
_VOXEL_BY_VOXEL = frozenset({"Relu", "LeakyRelu", "PRelu", "Add", "Sub", "Mul"})
# Those that only move voxels: their other inputs are shapes.
_MOVING = frozenset({"Reshape", "DepthToSpace", "SpaceToDepth", "Transpose"})
# Of whose inputs the first tells the type.
_OF_THE_FIRST = _MOVING | {"Cast", "Conv"}


def with_half(content: bytes) -> bytes:
    """Return an ONNX model whose large convolutions compute in float16.

    Its input and output are those of the model.

    Parameters
    ----------
    content
        A model in float32; weights may be stored in less.

    Raises
    ------
    UnsuitableModelError
        It is none, or has no convolution.
    """
    try:
        parts = list(fields(memoryview(content)))
        (graph,) = (value for number, value, _ in parts if number == 7)
        if isinstance(graph, int):
            raise UnsuitableModelError("it has no graph")
        made = _narrowed(graph)
    except (NotProtobufError, ValueError, UnicodeDecodeError) as error:
        raise UnsuitableModelError("it is no model of one graph") from error
    kept = b"".join(bytes(whole) for number, _, whole in parts if number != 7)
    return kept + field(7, made)


@dataclass(frozen=True)
class _Node:
    """A node as it is in the file.

    ``parts`` are all of its fields but inputs and outputs; ``kind`` is the type of what a ``Cast``
    or a ``Constant`` gives.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parts: bytes
    kind: int = 0

    def with_names(self, inputs: list[str], outputs: list[str]) -> bytes:
        """Return it with other tensors in and out, as bytes."""
        named = (*(field(1, name) for name in inputs), *(field(2, name) for name in outputs))
        return b"".join(named) + self.parts


def _narrowed(graph: memoryview) -> bytes:
    parts = list(fields(graph))
    nodes = [_read_node(value) for number, value, _ in parts if number == 1]
    narrowing = _Narrowing(
        constants=dict(_type_of_constant(value) for number, value, _ in parts if number == 5),
        inputs=[name_of(value) for number, value, _ in parts if number == 11],
        outputs={name_of(value) for number, value, _ in parts if number == 12},
    )
    small = _of_means(nodes)
    large = [i for i, each in enumerate(nodes) if each.operator == "Conv" and i not in small]
    if not large:
        raise UnsuitableModelError("it has no convolution")
    for i, each in enumerate(nodes):
        narrowing.add(each, narrow=i not in small and large[0] <= i <= large[-1])
    # Types of tensors between nodes (13) would contradict the new ones; runtimes infer them.
    kept = b"".join(bytes(whole) for number, _, whole in parts if number not in (1, 13))
    return b"".join(field(1, each) for each in narrowing.made) + kept


def _of_means(nodes: list[_Node]) -> set[int]:
    """Return the nodes, by number, that see nothing of the image but means over it."""
    small: set[int] = set()
    means: set[str] = set()
    computed: set[str] = set()
    for i, each in enumerate(nodes):
        seen = {name for name in each.inputs if name in computed}
        if each.operator in ("ReduceMean", "GlobalAveragePool") or (seen and seen <= means):
            small.add(i)
            means |= set(each.outputs)
        if each.operator not in ("Cast", "Constant") or seen:  # else it is a weight
            computed |= set(each.outputs)
    return small


class _Narrowing:
    """Nodes in the order of computation, with casts where types meet."""

    def __init__(self, constants: dict[str, int], inputs: list[str], outputs: set[str]) -> None:
        self.made: list[bytes] = []
        self._types = {**dict.fromkeys(inputs, _FLOAT), **constants}
        self._constants = set(constants)
        self._outputs = outputs
        self._casts: dict[tuple[str, int], str] = {}

    def add(self, each: _Node, *, narrow: bool) -> None:
        """Append a node, in float16 where it may be and its image is."""
        if each.operator == "Constant":  # a weight, or a shape
            self._append(each, [], each.kind)
            self._constants.update(each.outputs)
            return
        if each.operator == "Cast":
            self._append(each, list(each.inputs), each.kind)
            if each.inputs[0] in self._constants:
                self._constants.add(each.outputs[0])
            return
        if each.operator in _MOVING:
            self._append(each, list(each.inputs), self._types.get(each.inputs[0], 0))
            return
        images = [name for name in each.inputs if name not in self._constants]
        in_half = narrow and (
            each.operator == "Conv"
            or (
                each.operator in _VOXEL_BY_VOXEL
                and any(self._types.get(name) == _HALF for name in images)
            )
        )
        kind = _HALF if in_half else _FLOAT
        inputs = [self._as(name, kind) for name in each.inputs]
        whole = each.operator == "Shape" or not any(
            self._types.get(name) in (_FLOAT, _HALF) for name in each.inputs
        )
        self._append(each, inputs, 0 if whole else kind)

    def _as(self, name: str, kind: int) -> str:
        """Return the tensor of a name in a type, if it holds numbers of one of the two."""
        if self._types.get(name, 0) not in (_FLOAT, _HALF) or self._types[name] == kind:
            return name
        key = (name, kind)
        if key not in self._casts:
            self._casts[key] = f"{_NARROWED}{kind}/{name}"
            self.made.append(node("Cast", [name], self._casts[key], to=kind))
        return self._casts[key]

    def _append(self, each: _Node, inputs: list[str], kind: int) -> None:
        outputs = list(each.outputs)
        for i, name in enumerate(each.outputs):
            self._types[name] = kind
            if kind == _HALF and name in self._outputs:  # what the model gives stays float32
                outputs[i] = f"{_NARROWED}{name}"
                self._types[name] = _FLOAT
        self.made.append(each.with_names(inputs, outputs))
        for made, name in zip(outputs, each.outputs, strict=True):
            if made != name:
                self.made.append(node("Cast", [made], name, to=_FLOAT))


def _read_node(value: int | memoryview) -> _Node:
    named: dict[int, list[str]] = {1: [], 2: []}  # inputs, outputs
    kept: list[bytes] = []
    operator, kind = "", 0
    for number, held, whole in fields(message(value)):
        if number in named:
            named[number].append(text(held))
            continue
        kept.append(bytes(whole))
        if number == 4:
            operator = text(held)
        if number == 5 and not isinstance(held, int):
            kind = _type_in_attribute(held) or kind
    if operator in _OF_THE_FIRST and not (named[1] and named[2]):
        raise UnsuitableModelError(f"a node {operator} of it takes or gives nothing")
    return _Node(operator, tuple(named[1]), tuple(named[2]), b"".join(kept), kind)


def _type_in_attribute(attribute: memoryview) -> int:
    """Return the type that an attribute gives to what its node makes; 0: none."""
    held = {number: value for number, value, _ in fields(attribute)}
    if 6 in held or 11 in held:
        raise UnsuitableModelError("it has graphs within its graph")
    name = text(held.get(1, _NONE))
    to = held.get(3)
    if name == "to" and isinstance(to, int):
        return to
    if name == "value" and 5 in held:
        return _type_of_constant(held[5])[1]
    return _FLOAT if name in ("value_float", "value_floats") else 0


def _type_of_constant(value: int | memoryview) -> tuple[str, int]:
    found = {number: held for number, held, _ in fields(message(value))}
    kind = found.get(2, 0)
    return text(found.get(8, _NONE)), kind if isinstance(kind, int) else 0
