"""Our own fused kernels: right or not, and how fast, in each form of theirs.

    python benchmarks/gpu/kernels.py ROWS.json [--rounds 5] [--tiny]

A convolution against PyTorch in float64 on a small volume and at the far end of the largest one,
then its rate; the whole networks against PyTorch in float64, then their rates. About 3 minutes.
With ``--tiny`` Triton interprets the kernels: numbers are those of a card, rates mean nothing.
"""

from __future__ import annotations

import math
import os
import sys
from dataclasses import replace
from typing import Any

if "--tiny" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"  # read when the kernels are imported

import torch
from live_restore_export.kernels.fused import FusedConvolution, FusedNetwork
from live_restore_export.kernels.plan import FORMS, Form
from live_restore_export.network import RCAN, conv3
from torch import Tensor, nn
from workload import Rows, Workload, arguments, best, network  # beside this file

_CHANNELS = (24, 32)
_SMALL = {"cuda": (12, 70, 85), "cpu": (3, 9, 17)}
_MOST_WRONG = 2e-3
"""rms difference over the standard deviation; float16 alone makes some 2e-4 of a convolution and
3e-4 to 1e-3 of a network."""


def difference(found: Tensor, wanted: Tensor) -> float:
    """Return the rms difference, over the standard deviation of what is wanted."""
    wanted = wanted.double()
    return float((found.double() - wanted).square().mean().sqrt() / wanted.std())


def convolved(convolution: nn.Conv3d, volume: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what PyTorch makes of (Z, Y, X, C), with weights rounded as ours are."""
    inputs = volume.to(dtype).permute(3, 0, 1, 2)[None]
    weights, bias = convolution.weight.half(), convolution.bias
    assert bias is not None
    made = nn.functional.conv3d(inputs, weights.to(inputs), bias.to(inputs), padding=1)
    return made[0].permute(1, 2, 3, 0)


@torch.no_grad()
def measure_convolution(
    workload: Workload, channels: int, form: Form, rows: Rows, rounds: int
) -> None:
    """Keep its errors, and its rate over the largest stack."""
    device = torch.device(workload.device)
    torch.manual_seed(0)
    convolution = conv3(channels, channels).to(device)
    ours = FusedConvolution(convolution, device, form)
    volume = torch.rand(*_SMALL[workload.device], channels, device=device).half()
    result, means = ours.with_means(volume)
    wanted = convolved(convolution, volume, torch.float64)
    row: dict[str, Any] = {"what": f"convolution C {channels}", "form": str(form)}
    row["error"] = difference(result, wanted)
    row["error_of_means"] = difference(means, wanted.mean((0, 1, 2)))

    shape = workload.shapes[-1]  # not folded: more values than 2**31 with 32 channels
    volume = torch.rand(*shape, channels, dtype=torch.float16, device=device)
    # Offsets that wrap around would show in the last planes.
    end = convolved(convolution, volume[-3:], torch.float32)[-2:]
    row["error_at_the_end"] = difference(ours(volume)[-2:], end)
    taken = best(lambda: ours(volume, relu=True), rounds)
    voxels = math.prod(shape)
    row["tflops"] = 2 * 27 * channels**2 * voxels / taken / 1e12
    row["gb_per_s"] = 2 * 2 * channels * voxels / taken / 1e9
    rows.add(**row)
    _must_be_right(row)


@torch.no_grad()
def measure_network(
    workload: Workload, name: str, model: RCAN, form: Form, rows: Rows, rounds: int
) -> None:
    """Keep its error on a small stack, and its rate on each stack."""
    device = torch.device(workload.device)
    model = model.to(device)
    ours = FusedNetwork(model, device, form)
    z, y, x = _SMALL[workload.device]
    small = torch.rand(z, y // 2 * 2, x // 2 * 2, device=device)
    wanted = model.double()(small.double()[None, None])[0, 0]
    row: dict[str, Any] = {"what": name, "form": str(form)}
    row["error"] = difference(ours(small), wanted)
    for shape in workload.shapes:
        stack = torch.rand(shape, device=device)
        taken = best(lambda stack=stack: ours(stack), rounds)
        rows.add(**row, shape=shape, mvoxel_per_s=math.prod(shape) / taken / 1e6)
    _must_be_right(row)


def _must_be_right(row: dict[str, Any]) -> None:
    errors = {name: value for name, value in row.items() if "error" in name}
    wrong = [name for name, value in errors.items() if not value <= _MOST_WRONG]  # NaN, too
    if wrong:
        raise ValueError(f"{row['what']} is wrong: {', '.join(wrong)}")


def main() -> int:
    """Measure all of it; return 1 where nothing was right."""
    workload, rows, rounds = arguments(__doc__)
    forms = FORMS
    if workload.device == "cpu":  # the interpreter takes some 0.1 s for 128 voxels
        forms, workload = FORMS[:1], replace(workload, shapes=((2, 8, 16),))
    right = 0
    for form in forms:
        for channels in _CHANNELS:
            if rows.out_of_time(what=f"convolution C {channels}", form=str(form)):
                continue
            try:
                measure_convolution(workload, channels, form, rows, rounds)
                right += 1
            except (RuntimeError, ValueError) as error:
                rows.failed(error, what=f"convolution C {channels}", form=str(form))
        for name, config in workload.networks.items():
            if rows.out_of_time(what=name, form=str(form)):
                continue
            try:
                measure_network(workload, name, network(config), form, rows, rounds)
                right += 1
            except (RuntimeError, ValueError) as error:
                rows.failed(error, what=name, form=str(form))
    return int(not right)


if __name__ == "__main__":
    sys.exit(main())
