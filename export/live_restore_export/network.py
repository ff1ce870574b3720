"""The 3-D residual channel attention network (3D RCAN), written from the paper.

Chen et al., "Three-dimensional residual channel attention networks denoise and sharpen
fluorescence microscopy image volumes", Nature Methods 18, 678 (2021),
doi 10.1038/s41592-021-01155-x; channel attention after Zhang et al., ECCV 2018.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

# Far above every 3D RCAN; below it, building a network that a file claims takes no harm.
_MOST = {"groups": 100, "blocks": 100, "channels": 4096, "lateral_shuffle": 16}


@dataclass(frozen=True)
class RCANConfig:
    """Architecture of a 3D RCAN.

    Parameters
    ----------
    groups, blocks, channels, reduction
        Residual groups G, attention blocks per group B, feature channels C, and the factor r by
        which channel attention squeezes the channels. The paper uses 5, 3 (large: 5), 32, 8.
    in_channels, out_channels
        Image channels in and out.
    residual_scaling
        Factor on each block's residual; ``None`` leaves it out.
    single_group_tail
        The reference graph has no group tail convolution and no short skip when G is 1; some ports
        keep both. ``True`` keeps them.
    lateral_shuffle
        Ours, not the paper's: 2 folds each 2 x 2 (Y, X) neighbourhood into channels before the
        first convolution and unfolds it after the last one (pixel shuffle, Shi et al., CVPR 2016).
        A quarter of the work and twice the lateral field of view for the same features; Y and X
        must then be multiples of 2.
    block_skip
        Which blocks add their input to their output. ``"every"`` is the paper's graph; in
        ``"last"`` only the last block of each group does (the graph of the sim_denoising port:
        its forward pass overwrites the skip inside the loop and adds it once, after the loop).
    standardise
        Map network units to -1 ... 1 before the first convolution and back after the last one.
        ``False`` leaves both out (an option of the fluoresfm port).
    """

    groups: int = 5
    blocks: int = 3
    channels: int = 32
    reduction: int = 8
    in_channels: int = 1
    out_channels: int = 1
    residual_scaling: float | None = None
    single_group_tail: bool = False
    lateral_shuffle: int = 1
    block_skip: Literal["every", "last"] = "every"
    standardise: bool = True

    def __post_init__(self) -> None:
        for name in (
            "groups",
            "blocks",
            "channels",
            "reduction",
            "in_channels",
            "out_channels",
            "lateral_shuffle",
        ):
            value, most = getattr(self, name), _MOST.get(name, 1024)
            if type(value) is not int or not 1 <= value <= most:
                raise ValueError(f"{name} must be a whole number from 1 to {most}, not {value!r}")
        if self.channels < self.reduction:
            raise ValueError(
                f"reduction {self.reduction} leaves no channel of {self.channels} to attend with"
            )
        scaling = self.residual_scaling
        if scaling is not None and not (
            type(scaling) in (int, float) and math.isfinite(scaling) and scaling != 0
        ):
            raise ValueError(f"residual_scaling must be a number other than 0, not {scaling!r}")
        for name in ("single_group_tail", "standardise"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, not {getattr(self, name)!r}")
        if self.block_skip not in ("every", "last"):
            raise ValueError(f"block_skip must be 'every' or 'last', not {self.block_skip!r}")

    @property
    def has_group_tails(self) -> bool:
        """Whether groups end in a convolution and a short skip."""
        return self.groups > 1 or self.single_group_tail

    def as_dict(self) -> dict[str, Any]:
        """Return the configuration as plain JSON types, as it stands in a card or checkpoint."""
        return asdict(self)


def conv3(inputs: int, outputs: int) -> nn.Conv3d:
    """Return a 3 x 3 x 3 convolution that keeps the shape (zero padding, as the paper's code)."""
    return nn.Conv3d(inputs, outputs, kernel_size=3, padding=1)


class ChannelAttention(nn.Module):
    """Weigh each feature channel by what it holds on average: pool, squeeze, excite, multiply."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv3d(channels, channels // reduction, kernel_size=1)
        self.excite = nn.Conv3d(channels // reduction, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean(dim=(2, 3, 4), keepdim=True)
        return x * torch.sigmoid(self.excite(torch.relu(self.squeeze(pooled))))


class AttentionBlock(nn.Module):
    """conv, ReLU, conv, channel attention, optional scaling, + skip (unless it has none)."""

    def __init__(self, config: RCANConfig, with_skip: bool = True) -> None:
        super().__init__()
        self.conv1 = conv3(config.channels, config.channels)
        self.conv2 = conv3(config.channels, config.channels)
        self.attention = ChannelAttention(config.channels, config.reduction)
        self.scaling = config.residual_scaling
        self.with_skip = with_skip

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.attention(self.conv2(torch.relu(self.conv1(x))))
        if self.scaling is not None:
            residual = residual * self.scaling
        return x + residual if self.with_skip else residual


class ResidualGroup(nn.Module):
    """B attention blocks, a convolution and a short skip (or the blocks alone)."""

    def __init__(self, config: RCANConfig, with_tail: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            AttentionBlock(config, config.block_skip == "every" or block == config.blocks - 1)
            for block in range(config.blocks)
        )
        self.tail = conv3(config.channels, config.channels) if with_tail else None

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for block in self.blocks:
            y = block(y)
        return y if self.tail is None else x + self.tail(y)


class RCAN(nn.Module):
    """3D RCAN: (N, C, Z, Y, X) in network units (about 0 to 1) in and out, any Z, Y, X.

    Network units are the stack between two of its percentiles mapped to 0 and 1; the graph itself
    maps them to -1 and 1 and back.
    """

    def __init__(self, config: RCANConfig) -> None:
        super().__init__()
        self.config = config
        fold = config.lateral_shuffle**2
        self.head = conv3(config.in_channels * fold, config.channels)
        self.groups = nn.ModuleList(
            ResidualGroup(config, config.has_group_tails) for _ in range(config.groups)
        )
        self.body = conv3(config.channels, config.channels)
        self.tail = conv3(config.channels, config.out_channels * fold)

    def forward(self, x: Tensor) -> Tensor:
        shuffle = self.config.lateral_shuffle
        if self.config.standardise:
            x = 2.0 * x - 1.0
        head = self.head(fold_lateral(x, shuffle) if shuffle > 1 else x)
        y = head
        for group in self.groups:
            y = group(y)
        y = self.tail(head + self.body(y))
        y = unfold_lateral(y, shuffle) if shuffle > 1 else y
        return 0.5 * y + 0.5 if self.config.standardise else y


@torch.no_grad()
def begin_near_identity(model: RCAN) -> None:
    """Let a network with random weights return nearly what it is given.

    The first features carry the image from the first convolution over the long skip to the last
    one. Nothing about the graph changes; training spends no steps on learning to copy, and a
    network that can copy exactly can leave a stack alone that has hardly any noise.
    """
    # Further channels that go in, such as the noise, tell of the first ones and are not copied.
    carried = model.tail.out_channels
    if carried > model.head.in_channels or carried > model.config.channels:
        return  # nothing to copy one to one
    for convolution in (model.head, model.tail):
        for feature in range(carried):
            convolution.weight[feature].mul_(0.1 if convolution is model.tail else 0.0)
            convolution.weight[feature, feature, 1, 1, 1] = 1.0
            if convolution.bias is not None:
                convolution.bias[feature] = 0.0
    model.body.weight.mul_(0.1)


def parameter_shapes(config: RCANConfig) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the weights of a network, without memory for them."""
    with torch.device("meta"):
        return {name: tuple(t.shape) for name, t in RCAN(config).state_dict().items()}


def fold_lateral(x: Tensor, factor: int) -> Tensor:
    """(N, C, Z, Y, X) -> (N, C * factor**2, Z, Y / factor, X / factor)."""
    n, c, z, y, x_size = x.shape
    x = x.reshape(n, c, z, y // factor, factor, x_size // factor, factor)
    x = x.permute(0, 1, 4, 6, 2, 3, 5)
    return x.reshape(n, c * factor * factor, z, y // factor, x_size // factor)


def unfold_lateral(x: Tensor, factor: int) -> Tensor:
    """Undo :func:`fold_lateral`."""
    n, c, z, y, x_size = x.shape
    channels = c // (factor * factor)
    x = x.reshape(n, channels, factor, factor, z, y, x_size)
    x = x.permute(0, 1, 4, 5, 2, 6, 3)
    return x.reshape(n, channels, z, y * factor, x_size * factor)
