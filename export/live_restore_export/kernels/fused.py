"""A 3D RCAN that runs in the fused kernels: each feature volume is written once per convolution.

What the network has besides convolutions rides on them (bias, ReLU, means, skips), but for channel
attention's scaling, which needs the means of the whole volume first.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from live_restore_export.kernels.convolution import convolve, scale_and_add
from live_restore_export.kernels.plan import FORMS, LARGEST_PLANE, VOXELS, Form, padded
from live_restore_export.network import (
    RCAN,
    AttentionBlock,
    ResidualGroup,
    fold_lateral,
    unfold_lateral,
)

__all__ = ["FusedConvolution", "FusedNetwork"]


class FusedConvolution:
    """A 3 x 3 x 3 convolution with weights as the kernel takes them.

    Parameters
    ----------
    convolution
        Of 3 x 3 x 3 taps, padded with zeros to keep the shape; its weights are rounded to float16.
    device
        Where it runs: a CUDA device, or the processor in Triton's interpreter.
    form
        How it is cut.
    """

    def __init__(self, convolution: nn.Conv3d, device: torch.device, form: Form = FORMS[0]) -> None:
        outputs, inputs = convolution.weight.shape[:2]
        self.inputs, self.outputs, self.form = inputs, outputs, form
        taps = convolution.weight.detach().permute(2, 3, 4, 1, 0).reshape(27, inputs, outputs)
        self._weights = torch.zeros(27, padded(inputs), padded(outputs), dtype=torch.float16)
        self._weights[:, :inputs, :outputs] = taps
        self._bias = torch.zeros(padded(outputs))
        if convolution.bias is not None:
            self._bias[:outputs] = convolution.bias.detach()
        self._weights, self._bias = self._weights.to(device), self._bias.to(device)

    def __call__(
        self, volume: Tensor, *, relu: bool = False, earlier: Tensor | None = None
    ) -> Tensor:
        """Return (Z, Y, X, outputs) in float16 of a contiguous volume (Z, Y, X, inputs) in float16.

        ``earlier`` is added in the end. Raises ``ValueError`` where a plane has too many values.
        """
        return self._run(volume, relu, earlier, None)

    def with_means(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        """Return the result, and the mean of each of its channels in float32."""
        z, y, x, _ = volume.shape
        programs = math.prod(self._grid(z, y, x))
        sums = torch.empty(programs, padded(self.outputs), device=volume.device)
        result = self._run(volume, False, None, sums)
        return result, sums.sum(0)[: self.outputs] / (z * y * x)

    def _grid(self, z: int, y: int, x: int) -> tuple[int, int, int]:
        return -(-x // self.form.columns), -(-y // self.form.rows), z

    def _run(
        self, volume: Tensor, relu: bool, earlier: Tensor | None, sums: Tensor | None
    ) -> Tensor:
        z, y, x, channels = volume.shape
        if channels != self.inputs or volume.dtype != torch.float16 or not volume.is_contiguous():
            raise ValueError(
                f"the convolution takes contiguous (Z, Y, X, {self.inputs}) in float16, not "
                f"{tuple(volume.shape)} in {volume.dtype}"
            )
        if y * x * max(self.inputs, self.outputs) >= LARGEST_PLANE:
            raise ValueError(f"planes of {y} x {x} are too large: restore the stack in tiles")
        result = volume.new_empty(z, y, x, self.outputs)
        convolve[self._grid(z, y, x)](
            volume, self._weights, self._bias, result if earlier is None else earlier, result,
            self._bias if sums is None else sums, z, y, x,
            self.inputs, self.outputs, padded(self.inputs), padded(self.outputs),
            self.form.rows, self.form.columns, relu, earlier is not None, sums is not None,
            **self.form.options,
        )  # fmt: skip
        return result


class _Block:
    """conv + ReLU, conv + means, then scaling + skip: three kernels."""

    def __init__(self, block: AttentionBlock, device: torch.device, form: Form) -> None:
        self._first = FusedConvolution(block.conv1, device, form)
        self._second = FusedConvolution(block.conv2, device, form)
        attention = block.attention
        self._squeeze = attention.squeeze.weight.detach().float().flatten(1).to(device)
        self._excite = attention.excite.weight.detach().float().flatten(1).to(device)
        assert attention.squeeze.bias is not None
        assert attention.excite.bias is not None
        self._squeeze_bias = attention.squeeze.bias.detach().float().to(device)
        self._excite_bias = attention.excite.bias.detach().float().to(device)
        self._scaling = 1.0 if block.scaling is None else block.scaling
        self._with_skip = block.with_skip

    def __call__(self, x: Tensor) -> Tensor:
        residual, means = self._second.with_means(self._first(x, relu=True))
        squeezed = torch.relu(self._squeeze @ means + self._squeeze_bias)
        attended = torch.sigmoid(self._excite @ squeezed + self._excite_bias) * self._scaling
        channels = x.shape[-1]
        factors = attended.new_zeros(padded(channels))
        factors[:channels] = attended
        result = torch.empty_like(x)
        voxels = x.numel() // channels
        scale_and_add[(-(-voxels // VOXELS),)](
            residual, factors, x, result, voxels, channels, padded(channels), VOXELS,
            self._with_skip,
        )  # fmt: skip
        return result


class _Group:
    """Blocks, and where it has one a convolution whose kernel adds the short skip."""

    def __init__(self, group: ResidualGroup, device: torch.device, form: Form) -> None:
        self._blocks = [_Block(cast(AttentionBlock, block), device, form) for block in group.blocks]
        self._tail = None if group.tail is None else FusedConvolution(group.tail, device, form)

    def __call__(self, x: Tensor) -> Tensor:
        y = x
        for block in self._blocks:
            y = block(y)
        return y if self._tail is None else self._tail(y, earlier=x)


class FusedNetwork:
    """The network of ``model`` in fused kernels; weights and features in float16.

    Parameters
    ----------
    model
        A 3D RCAN of one image channel in and out.
    device
        Where it runs: a CUDA device, or the processor in Triton's interpreter.
    form
        How its convolutions are cut.
    """

    def __init__(self, model: RCAN, device: torch.device, form: Form = FORMS[0]) -> None:
        if model.config.in_channels != 1 or model.config.out_channels != 1:
            raise ValueError("fused kernels take networks of one image channel in and out")
        self._config = model.config
        self._head = FusedConvolution(model.head, device, form)
        self._body = FusedConvolution(model.body, device, form)
        self._tail = FusedConvolution(model.tail, device, form)
        self._groups = [_Group(cast(ResidualGroup, group), device, form) for group in model.groups]

    def __call__(self, stack: Tensor) -> Tensor:
        """Return the restored stack (Z, Y, X) in float32, in network units like what is given."""
        shuffle, standardise = self._config.lateral_shuffle, self._config.standardise
        x = stack.float()[None, None]
        x = fold_lateral(2.0 * x - 1.0 if standardise else x, shuffle)
        head = self._head(x[0].permute(1, 2, 3, 0).to(torch.float16).contiguous())
        y = head
        for group in self._groups:
            y = group(y)
        y = self._tail(self._body(y, earlier=head))
        result = unfold_lateral(y.float().permute(3, 0, 1, 2)[None], shuffle)[0, 0]
        return 0.5 * result + 0.5 if standardise else result
