"""Run the fused kernels in Triton's interpreter, and print how far they are from float64 as JSON.

A process of its own: Triton decides while it is imported whether it compiles or interprets.
"""

from __future__ import annotations

import json
import os
import sys

os.environ["TRITON_INTERPRET"] = "1"

import torch
from live_restore_export.kernels.fused import FORMS, FusedConvolution, FusedNetwork
from live_restore_export.network import RCAN, RCANConfig, conv3
from torch import Tensor, nn

CPU = torch.device("cpu")
# Neither a multiple of the 8 x 16 voxels of a program; one plane has no neighbour at all.
SHAPES = ((3, 9, 17), (1, 5, 18))
NETWORKS = {
    "fast": RCANConfig(groups=2, blocks=2, channels=24, lateral_shuffle=2),
    "unusual": RCANConfig(groups=1, blocks=2, channels=8, residual_scaling=0.1, block_skip="last",
                          single_group_tail=True, standardise=False),
}  # fmt: skip


def difference(found: Tensor, wanted: Tensor) -> float:
    """Return the rms difference, over the rms of what is wanted."""
    return float((found.double() - wanted).square().mean().sqrt() / wanted.square().mean().sqrt())


def convolutions() -> dict[str, float]:
    found = {}
    for shape in SHAPES:
        convolution = conv3(24, 12)
        ours = FusedConvolution(convolution, CPU, FORMS[0])
        volume, earlier = torch.randn(*shape, 24).half(), torch.randn(*shape, 12).half()
        bias = convolution.bias
        assert bias is not None
        wanted = nn.functional.conv3d(
            volume.double().permute(3, 0, 1, 2)[None],
            convolution.weight.half().double(),
            bias.double(),
            padding=1,
        )[0].permute(1, 2, 3, 0)
        result, means = ours.with_means(volume)
        name = " x ".join(map(str, shape))
        found[f"{name}: bias"] = difference(result, wanted)
        found[f"{name}: means"] = difference(means, wanted.mean((0, 1, 2)))
        found[f"{name}: ReLU"] = difference(ours(volume, relu=True), wanted.relu())
        found[f"{name}: skip"] = difference(ours(volume, earlier=earlier), wanted + earlier)
    return found


def networks() -> dict[str, float]:
    found = {}
    for name, config in NETWORKS.items():
        model = RCAN(config).eval()
        stack = torch.rand(2, 8, 18)
        ours = FusedNetwork(model, CPU)(stack)
        found[name] = difference(ours, model.double()(stack.double()[None, None])[0, 0])
    return found


with torch.no_grad():
    torch.manual_seed(0)
    print(json.dumps(networks() if "networks" in sys.argv else convolutions()))
