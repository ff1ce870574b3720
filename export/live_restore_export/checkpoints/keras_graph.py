"""Recognise a 3D RCAN in a Keras graph, node by node from the output back to the input.

Nothing is assumed from counts: every convolution, skip and attention has to be where the paper's
graph has it, otherwise the file is refused. That also shows which weights belong where, whatever
the layers are called and in whatever order the file lists them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from live_restore_export.checkpoints.keras_config import KerasGraph, Node, NotThisNetwork


@dataclass
class Recognised:
    """What the graph is.

    Parameters
    ----------
    layers
        Our module path of every convolution and Keras' name of it.
    residual_scaling
        ``None`` without; ``nan`` where there is one whose factor the file does not record.
    scaling_in_code
        Whether the factor is the only constant of a Lambda's code: likely, not certain.
    """

    groups: int = 0
    blocks: int = 0
    tails: bool = False
    residual_scaling: float | None = None
    scaling_in_code: bool = False
    standardise: bool = True
    input_shape: tuple[int | None, ...] = ()
    layers: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Block:
    conv1: str
    conv2: str
    squeeze: str
    excite: str
    scaling: tuple[Node, ...]
    block_input: str
    pool: Node


@dataclass(frozen=True)
class _Group:
    blocks: tuple[_Block, ...]
    tail: str | None


class _Reader:
    """Walks a graph backwards; every method takes the name of the node where it starts."""

    def __init__(self, graph: KerasGraph) -> None:
        self.graph = graph

    def node(self, name: str) -> Node:
        if name not in self.graph.nodes:
            raise NotThisNetwork(f"its layer {name!r} is missing")
        return self.graph.nodes[name]

    def only_input(self, node: Node) -> str:
        if len(node.inputs) != 1:
            raise NotThisNetwork(f"its layer {node.name!r} has {len(node.inputs)} inputs")
        return node.inputs[0]

    def expect(self, name: str, kind: str, size: int = 0) -> Node:
        node = self.node(name)
        if node.kind != kind or node.size != size:
            wanted = f"a {size}x{size}x{size} convolution" if size else f"a {kind}"
            raise NotThisNetwork(f"it has a {node.kind} ({name!r}) where {wanted} belongs")
        return node

    def strip_maps(self, name: str) -> tuple[str, tuple[Node, ...]]:
        """Return the node before any affine maps and Lambdas, and those, first applied first."""
        maps: list[Node] = []
        while (node := self.node(name)).kind in ("affine", "lambda"):
            maps.insert(0, node)
            name = self.only_input(node)
        return name, tuple(maps)

    def two_inputs(self, name: str, kind: str) -> tuple[str, str]:
        node = self.expect(name, kind)
        if len(node.inputs) != 2:
            raise NotThisNetwork(f"its layer {name!r} has {len(node.inputs)} inputs, not two")
        return node.inputs[0], node.inputs[1]

    def is_head(self, name: str) -> bool:
        node = self.node(name)
        if node.kind != "conv" or len(node.inputs) != 1:
            return False
        return self.node(self.strip_maps(node.inputs[0])[0]).kind == "input"

    def attention(self, name: str) -> tuple[str, str, str, Node]:
        """``multiply(features, weights)``: return features, squeeze, excite and the pool."""
        first, second = self.two_inputs(name, "multiply")
        if self.node(first).kind == "sigmoid":
            first, second = second, first
        features = first
        excite = self.expect(self.only_input(self.expect(second, "sigmoid")), "conv", 1)
        relu = self.expect(self.only_input(excite), "relu")
        squeeze = self.expect(self.only_input(relu), "conv", 1)
        pool = self.node(self.only_input(squeeze))
        # The pool was written as a Lambda before Keras could keep its dimensions.
        if pool.kind not in ("pool", "lambda") or self.only_input(pool) != features:
            raise NotThisNetwork(f"its attention {name!r} does not pool what it weighs")
        return features, squeeze.name, excite.name, pool

    def block(self, name: str) -> _Block:
        """``add(scaled attention, block input)``."""
        for residual, skip in (order := self.two_inputs(name, "add")), order[::-1]:
            attended, maps = self.strip_maps(residual)
            if self.node(attended).kind != "multiply":
                continue
            features, squeeze, excite, pool = self.attention(attended)
            conv2 = self.expect(features, "conv", 3)
            relu = self.expect(self.only_input(conv2), "relu")
            conv1 = self.expect(self.only_input(relu), "conv", 3)
            if self.only_input(conv1) != skip:
                raise NotThisNetwork(f"its block {name!r} does not add its own input")
            return _Block(conv1.name, conv2.name, squeeze, excite, maps, skip, pool)
        raise NotThisNetwork(f"its sum {name!r} has no channel attention in it")

    def blocks(self, name: str, until: str) -> tuple[_Block, ...]:
        found: list[_Block] = []
        while name != until:
            found.insert(0, self.block(name))
            name = found[0].block_input
        return tuple(found)

    def groups(self, name: str, head: str) -> tuple[_Group, ...]:
        """All residual groups between the head's output and ``name``."""
        found: list[_Group] = []
        while name != head:
            first, second = self.two_inputs(name, "add")
            tails = [
                (a, b)
                for a, b in ((first, second), (second, first))
                if self.node(a).kind == "conv" and a != head
            ]
            if not tails:
                # No convolution in the sum: the only group, which has neither tail nor skip.
                found.insert(0, _Group(self.blocks(name, head), None))
                break
            tail = self.expect(tails[0][0], "conv", 3)
            group_input = tails[0][1]
            found.insert(0, _Group(self.blocks(self.only_input(tail), group_input), tail.name))
            name = group_input
        return tuple(found)


def recognise(graph: KerasGraph) -> Recognised:
    """Return what 3D RCAN a graph is.

    Raises
    ------
    NotThisNetwork
        It is another network; names the layer.
    """
    reader, result = _Reader(graph), Recognised()
    name, last_maps = reader.strip_maps(graph.output)
    tail = reader.expect(name, "conv", 3)
    first, second = reader.two_inputs(reader.only_input(tail), "add")
    if reader.is_head(second):
        first, second = second, first
    if not reader.is_head(first):
        raise NotThisNetwork("its long skip does not start at the first convolution")
    head, body = reader.expect(first, "conv", 3), reader.expect(second, "conv", 3)
    source, first_maps = reader.strip_maps(reader.only_input(head))
    result.input_shape = reader.node(source).shape
    groups = reader.groups(reader.only_input(body), head.name)
    sizes = {len(group.blocks) for group in groups}
    if len(sizes) != 1 or 0 in sizes or len({group.tail is None for group in groups}) != 1:
        raise NotThisNetwork("its residual groups are not alike")
    result.groups, result.blocks = len(groups), sizes.pop()
    result.tails = groups[0].tail is not None
    if not result.tails and result.groups > 1:
        raise NotThisNetwork("its residual groups have no tail convolution")
    result.layers = {"head": head.name, "body": body.name, "tail": tail.name}
    for g, group in enumerate(groups):
        if group.tail is not None:
            result.layers[f"groups.{g}.tail"] = group.tail
        for b, block in enumerate(group.blocks):
            path = f"groups.{g}.blocks.{b}"
            result.layers |= {
                f"{path}.conv1": block.conv1,
                f"{path}.conv2": block.conv2,
                f"{path}.attention.squeeze": block.squeeze,
                f"{path}.attention.excite": block.excite,
            }
    inward = _standard_map(first_maps, (2.0, -1.0), {1.0, 2.0}, "input", result.notes)
    outward = _standard_map(last_maps, (0.5, 0.5), {0.5}, "output", result.notes)
    if inward != outward:
        raise NotThisNetwork("it maps the intensities of only one of its input and output")
    result.standardise = inward
    blocks = [block for group in groups for block in group.blocks]
    if any(block.pool.kind == "lambda" for block in blocks):
        result.notes.append("assumed that the Lambdas in its attention average: code is not run")
    scalings = [_scaling(block.scaling) for block in blocks]
    if len(set(map(str, scalings))) != 1:  # as text, because nan differs from itself
        raise NotThisNetwork("its blocks have different residual scalings")
    result.residual_scaling = scalings[0]
    result.scaling_in_code = any(
        node.kind == "lambda" and not node.numbers for node in blocks[0].scaling
    )
    return result


def _standard_map(
    maps: tuple[Node, ...],
    wanted: tuple[float, float],
    constants: set[float],
    where: str,
    notes: list[str],
) -> bool:
    """Return whether ``maps`` are the paper's intensity map; ``False`` where there are none."""
    if not maps:
        return False
    if any(node.kind == "lambda" for node in maps):
        # `2 * x - 1` and `0.5 * x + 0.5` show their constants; the code itself is not run.
        seen = {abs(n) for node in maps for n in node.code_numbers}
        if len(maps) != 1 or not constants <= seen:
            notes.append(
                f"assumed that the Lambda at its {where} is the usual {wanted[0]:g} * x "
                f"{'+' if wanted[1] > 0 else '-'} {abs(wanted[1]):g}: its code is not run"
            )
        return True
    scale, offset = 1.0, 0.0
    for node in maps:
        scale, offset = scale * node.scale, offset * node.scale + node.offset
    if (scale, offset) == (1.0, 0.0):
        return False
    # Written so that NaN, which JSON may hold, is refused too.
    if not (abs(scale - wanted[0]) <= 1e-6 and abs(offset - wanted[1]) <= 1e-6):
        raise NotThisNetwork(f"it maps its {where} by {scale:g} * x + {offset:g}")
    return True


def _scaling(maps: tuple[Node, ...]) -> float | None:
    """Return the factor on a block's residual: ``None`` without one, ``nan`` where it is hidden."""
    factor = 1.0
    for node in maps:
        if node.kind == "lambda":
            factor *= _lambda_factor(node)
        elif node.offset != 0:
            raise NotThisNetwork(f"its block adds a constant ({node.name!r})")
        else:
            factor *= node.scale
    if factor == 0 or math.isinf(factor):
        raise NotThisNetwork(f"its blocks are scaled by {factor:g}")
    return None if factor == 1.0 else factor


def _lambda_factor(node: Node) -> float:
    """Return the number by which a Lambda most likely multiplies, else ``nan``.

    Its code is not run, so that ``x / 10`` looks like ``x * 10``: a factor above 1, which no
    residual scaling of the literature is, is believed only where the code calls it scaling. What
    stands in the code has to be a short decimal, because other bytes can look like a number.
    """
    found = node.numbers or node.code_numbers
    if len(found) != 1 or not (0 < found[0] <= 1 or (node.numbers and node.names_scaling)):
        return math.nan
    if not node.numbers and float(f"{found[0]:.4g}") != found[0]:
        return math.nan
    return found[0]
