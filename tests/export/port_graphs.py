"""The torch ports, written again from their key names: state dictionaries and what they compute.

Plain functions on plain dictionaries, float64, nothing of the project's own network: whatever
this agrees with was understood twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from deferred import deferred

if TYPE_CHECKING:
    from torch import Tensor

torch = deferred("torch")

State: TypeAlias = "dict[str, Tensor]"


@dataclass(frozen=True)
class Sizes:
    """Of a network."""

    groups: int = 2
    blocks: int = 2
    channels: int = 8
    reduction: int = 4
    inputs: int = 1
    outputs: int = 1
    scaling: float = 1.0


def _conv(state: State, name: str, x: Tensor) -> Tensor:
    weight = state[f"{name}.weight"].double()
    return torch.nn.functional.conv3d(
        x, weight, state[f"{name}.bias"].double(), padding=weight.shape[-1] // 2
    )


def _attend(state: State, squeeze: str, excite: str, x: Tensor) -> Tensor:
    pooled = x.mean(dim=(2, 3, 4), keepdim=True)
    return x * torch.sigmoid(_conv(state, excite, torch.relu(_conv(state, squeeze, pooled))))


def _fill(shapes: Iterator[tuple[str, int, int, int]], seed: int) -> State:
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, outputs, inputs, size in shapes:
        scale = 0.7 / (inputs * size**3) ** 0.5
        shape = (outputs, inputs, size, size, size)
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) * scale
        state[f"{name}.bias"] = torch.randn(outputs, generator=generator) * 0.2
    return state


def gently_deabe_names(s: Sizes) -> Iterator[tuple[str, int, int, int]]:
    c, q = s.channels, s.channels // s.reduction
    yield "head_conv", c, s.inputs, 3
    for g in range(s.groups):
        for b in range(s.blocks):
            yield f"groups.{g}.blocks.{b}.conv1", c, c, 3
            yield f"groups.{g}.blocks.{b}.conv2", c, c, 3
            yield f"groups.{g}.blocks.{b}.attn.conv1", q, c, 1
            yield f"groups.{g}.blocks.{b}.attn.conv2", c, q, 1
        if s.groups > 1:
            yield f"groups.{g}.tail_conv", c, c, 3
    yield "body_conv", c, c, 3
    yield "tail_conv", s.outputs, c, 3


def gently_deabe(state: State, s: Sizes, x: Tensor) -> Tensor:
    x = head = _conv(state, "head_conv", 2 * x - 1)
    for g in range(s.groups):
        group_input = x
        for b in range(s.blocks):
            p = f"groups.{g}.blocks.{b}"
            y = _conv(state, f"{p}.conv2", torch.relu(_conv(state, f"{p}.conv1", x)))
            x = x + s.scaling * _attend(state, f"{p}.attn.conv1", f"{p}.attn.conv2", y)
        if s.groups > 1:
            x = group_input + _conv(state, f"groups.{g}.tail_conv", x)
    return 0.5 * _conv(state, "tail_conv", head + _conv(state, "body_conv", x)) + 0.5


def hd2net_names(s: Sizes) -> Iterator[tuple[str, int, int, int]]:
    c, q = s.channels, s.channels // s.reduction
    yield "conv1.conv", c, s.inputs, 3
    for g in range(s.groups):
        for b in range(s.blocks):
            p = f"residual_groups.{g}.blocks.{b}"
            yield f"{p}.conv1.conv", c, c, 3
            yield f"{p}.conv2.conv", c, c, 3
            yield f"{p}.channel_attention.fc1.conv", q, c, 1
            yield f"{p}.channel_attention.fc2.conv", c, q, 1
        yield f"residual_groups.{g}.conv.conv", c, c, 3
    yield "conv2.conv", c, c, 3
    yield "conv3.conv", s.outputs, c, 3


def hd2net(state: State, s: Sizes, x: Tensor) -> Tensor:
    x = head = _conv(state, "conv1.conv", 2 * x - 1)
    for g in range(s.groups):
        group_input = x
        for b in range(s.blocks):
            p = f"residual_groups.{g}.blocks.{b}"
            y = _conv(state, f"{p}.conv2.conv", torch.relu(_conv(state, f"{p}.conv1.conv", x)))
            a = f"{p}.channel_attention"
            x = x + s.scaling * _attend(state, f"{a}.fc1.conv", f"{a}.fc2.conv", y)
        x = group_input + _conv(state, f"residual_groups.{g}.conv.conv", x)
    return 0.5 * _conv(state, "conv3.conv", head + _conv(state, "conv2.conv", x)) + 0.5


def fluoresfm_names(s: Sizes) -> Iterator[tuple[str, int, int, int]]:
    c, q = s.channels, s.channels // s.reduction
    yield "conv_head.conv", c, s.inputs, 3
    for g in range(s.groups):
        for b in range(s.blocks):
            p = f"res_groups.{g}.blocks.{b}"
            yield f"{p}.conv1.conv", c, c, 3
            yield f"{p}.conv2.conv", c, c, 3
            yield f"{p}.cab.block.0.conv", q, c, 1
            yield f"{p}.cab.block.2.conv", c, q, 1
        yield f"res_groups.{g}.blocks.{s.blocks}.conv", c, c, 3
    yield "conv_rr.conv", c, c, 3
    yield "conv_tail.conv", s.outputs, c, 3


def fluoresfm(state: State, s: Sizes, x: Tensor) -> Tensor:
    x = head = _conv(state, "conv_head.conv", 2 * x - 1)
    for g in range(s.groups):
        group_input = x
        for b in range(s.blocks):
            p = f"res_groups.{g}.blocks.{b}"
            y = _conv(state, f"{p}.conv2.conv", torch.relu(_conv(state, f"{p}.conv1.conv", x)))
            x = x + s.scaling * _attend(state, f"{p}.cab.block.0.conv", f"{p}.cab.block.2.conv", y)
        x = group_input + _conv(state, f"res_groups.{g}.blocks.{s.blocks}.conv", x)
    return 0.5 * _conv(state, "conv_tail.conv", head + _conv(state, "conv_rr.conv", x)) + 0.5


def sim_denoising_names(s: Sizes) -> Iterator[tuple[str, int, int, int]]:
    c, q = s.channels, s.channels // s.reduction
    for g in range(s.groups):
        for b in range(s.blocks):
            yield f"rcab_list.{g}.conv_list.{b}.0", c, c, 3
            yield f"rcab_list.{g}.conv_list.{b}.2", c, c, 3
            attention = f"rcab_list.{g}.channel_attention_block_list.{b}"
            yield f"{attention}.conv_1.0", q, c, 1
            yield f"{attention}.conv_2.0", c, q, 1
    yield "conv_input", c, s.inputs, 3
    for g in range(s.groups + 1):
        yield f"conv_list.{g}", c, c, 3
    yield "conv_output", s.outputs, c, 3


def sim_denoising(state: State, s: Sizes, x: Tensor) -> Tensor:
    """Blocks feed each other without a skip; only the last block's input is added to its output."""
    x = head = _conv(state, "conv_input", 2 * x - 1)
    for g in range(s.groups):
        group_input = last_input = x
        for b in range(s.blocks):
            last_input = x
            p, a = f"rcab_list.{g}.conv_list.{b}", f"rcab_list.{g}.channel_attention_block_list.{b}"
            y = _conv(state, f"{p}.2", torch.relu(_conv(state, f"{p}.0", x)))
            x = s.scaling * _attend(state, f"{a}.conv_1.0", f"{a}.conv_2.0", y)
        x = x + last_input
        if s.groups > 1:
            x = group_input + _conv(state, f"conv_list.{g}", x)
    return 0.5 * _conv(state, "conv_output", head + _conv(state, f"conv_list.{s.groups}", x)) + 0.5


@dataclass(frozen=True)
class PortGraph:
    """How a port names its weights and what it computes."""

    names: Callable[[Sizes], Iterator[tuple[str, int, int, int]]]
    run: Callable[[State, Sizes, Tensor], Tensor]

    def state(self, sizes: Sizes, seed: int = 0) -> State:
        return _fill(self.names(sizes), seed)


PORT_GRAPHS = {
    "gently-deabe": PortGraph(gently_deabe_names, gently_deabe),
    "HD2Net (BasicSR)": PortGraph(hd2net_names, hd2net),
    "fluoresfm": PortGraph(fluoresfm_names, fluoresfm),
    "sim_denoising": PortGraph(sim_denoising_names, sim_denoising),
}
