"""Run the fused kernels in Triton's interpreter, and print how far they are from float64 as JSON.

A process of its own: Triton decides while it is imported whether it compiles or interprets.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"

import numpy as np
import torch
from live_restore_export.kernels.ahead import KERNELS, pointer_type
from live_restore_export.kernels.fused import FusedConvolution, FusedNetwork
from live_restore_export.kernels.package import network_of, package
from live_restore_export.kernels.plan import ARGUMENTS, FORMS, NUMBERS
from live_restore_export.network import RCAN, RCANConfig, conv3
from stated_kernels import Card, said_in, state  # beside this file
from torch import Tensor, nn

from live_restore.inference.backends.kernels.driver import Kernel
from live_restore.inference.backends.kernels.execution import Execution
from live_restore.inference.backends.kernels.kernel_file import read_kernels
from live_restore.inference.backends.kernels.weights import read_initialisers
from live_restore.inference.load import find_model, load_model

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


class InterpretedCard(Card):
    """The same card, whose kernels are Triton's, interpreted."""

    def launch(self, loaded: Kernel, grid: tuple[int, int, int], arguments: Sequence[int]) -> None:
        source = said_in(loaded.content)
        named = dict(zip(ARGUMENTS[source.kernel], arguments[:-2], strict=True))
        given = {
            name: value if name in NUMBERS else self._tensor(value, pointer_type(name, source))
            for name, value in named.items()
        }
        KERNELS[source.kernel][grid](**given, **source.constants)

    def _tensor(self, address: int, kind: str) -> Tensor | None:
        """Return all of its piece that is behind an address."""
        for start, piece in self.pieces.items():
            if start <= address < start + piece.nbytes:
                held = piece[address - start :]
                return torch.from_numpy(held.view(np.float16 if kind == "*fp16" else np.float32))
        assert address == 0
        return None


def plan(name: str) -> dict[str, float]:
    """Run a bundled model's plan; from the statement in numpy, and from ONNX Runtime."""
    model = find_model(name)
    loaded, content = load_model(model, "cpu"), model.read_bytes()
    network = network_of(content, loaded.card.architecture)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.kernels.zip"
        path.write_bytes(package(name, content, network, "", state))
        kernels = read_kernels(path, loaded.digest)
    stack = np.random.default_rng(2).random((2, 10, 38), dtype=np.float32)
    wanted = loaded.session.run(stack[None, None])[0, 0]
    cards = (InterpretedCard(), Card())
    found, stated = (
        Execution(card, kernels, read_initialisers(content), stack.shape, 2**30).run(stack)
        for card in cards
    )
    return {
        "stated": difference(torch.from_numpy(found), torch.from_numpy(stated).double()),
        "onnx": difference(torch.from_numpy(found), torch.from_numpy(wanted).double()),
    }


with torch.no_grad():
    torch.manual_seed(0)
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    if what == "plan":
        print(json.dumps(plan(sys.argv[2])))
    else:
        print(json.dumps(networks() if what == "networks" else convolutions()))
