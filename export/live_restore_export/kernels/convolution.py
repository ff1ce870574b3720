"""A 3 x 3 x 3 convolution and all that follows it in one kernel: float16, summed in float32.

A convolution of the network is followed by its bias, and by a ReLU, or by the mean of each channel
(channel attention), or by the addition of an earlier volume (a skip). As passes of their own these
move more bytes than the convolution itself; here they happen while its result is in registers.

Triton compiles them for NVIDIA GPUs, and interprets them on a processor where ``TRITON_INTERPRET``
is 1. Volumes are (Z, Y, X, C), channels last. A matrix product wants powers of two, and at least 16
channels: those that lack are masked, and zero in the weights.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["convolve", "scale_and_add"]


# Sizes of 1 would become constants, of which no wider type can be asked.
@triton.jit(do_not_specialize=["depth", "height", "width"])
def convolve(
    volume,
    weights,
    bias,
    earlier,
    result,
    sums,
    depth,
    height,
    width,
    channels_in: tl.constexpr,
    channels_out: tl.constexpr,
    padded_in: tl.constexpr,
    padded_out: tl.constexpr,
    rows: tl.constexpr,
    columns: tl.constexpr,
    relu: tl.constexpr,
    adds: tl.constexpr,
    sums_up: tl.constexpr,
):
    """Convolve ``rows`` x ``columns`` voxels of a plane: those of program (x, y, z) of the grid.

    Parameters
    ----------
    volume, earlier, result
        (Z, Y, X, C) in float16: what is convolved, what is added in the end (where ``adds``), and
        what comes out, which may be in float32.
    weights
        (27, ``padded_in``, ``padded_out``) in float16, taps in the order of (Z, Y, X).
    bias
        (``padded_out``,) in float32.
    sums
        (programs, ``padded_out``) in float32: of what comes out, before it is rounded and anything
        is added to it (where ``sums_up``). Each program has a row of its own, so that they do not
        depend on which ends first.
    depth, height, width
        Z, Y, X; Y * X * C must be below 2**31.
    """
    block_x, block_y, z = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    voxel = tl.arange(0, rows * columns)
    y = block_y * rows + voxel // columns
    x = block_x * columns + voxel % columns
    in_channel = tl.arange(0, padded_in)
    out_channel = tl.arange(0, padded_out)
    # Volumes may have more than 2**31 values, planes have not.
    plane = height.to(tl.int64) * width
    total = tl.zeros((rows * columns, padded_out), dtype=tl.float32)
    # The first and the last plane have a neighbour on one side only: nine taps less.
    for tap in range(tl.where(z > 0, 0, 9), tl.where(z < depth - 1, 27, 18)):
        tap_z, tap_y, tap_x = z + tap // 9 - 1, y + tap // 3 % 3 - 1, x + tap % 3 - 1
        inside = (tap_y >= 0) & (tap_y < height) & (tap_x >= 0) & (tap_x < width)
        offset = (tap_y * width + tap_x)[:, None] * channels_in + in_channel[None, :]
        seen = tl.load(
            volume + tap_z * plane * channels_in + offset,
            mask=inside[:, None] & (in_channel < channels_in)[None, :],
            other=0.0,
        )
        row = tap * padded_in + in_channel
        factors = tl.load(weights + row[:, None] * padded_out + out_channel[None, :])
        total = tl.dot(seen, factors, total)
    total += tl.load(bias + out_channel)[None, :]
    if relu:
        total = tl.maximum(total, 0.0)
    inside = (y < height) & (x < width)
    if sums_up:
        program = (z * tl.num_programs(1) + block_y) * tl.num_programs(0) + block_x
        counted = tl.where(inside[:, None], total, 0.0)
        tl.store(sums + program * padded_out + out_channel, tl.sum(counted, axis=0))
    offset = (y * width + x)[:, None] * channels_out + out_channel[None, :]
    mask = inside[:, None] & (out_channel < channels_out)[None, :]
    start = z * plane * channels_out
    if adds:
        total += tl.load(earlier + start + offset, mask=mask, other=0.0).to(tl.float32)
    tl.store(result + start + offset, total.to(result.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["voxels"])
def scale_and_add(
    volume,
    factors,
    earlier,
    result,
    voxels,
    channels: tl.constexpr,
    padded: tl.constexpr,
    block: tl.constexpr,
    adds: tl.constexpr,
):
    """Scale channels and add a skip, channel attention's second half, in one pass.

    Parameters
    ----------
    volume, earlier, result
        (voxels, ``channels``) in float16; ``earlier`` is added where ``adds``.
    factors
        (``padded``,) in float32, one per channel.
    voxels
        How many there are. A program takes ``block`` of them.
    """
    voxel = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    channel = tl.arange(0, padded)
    offset = voxel[:, None] * channels + channel[None, :]
    mask = (voxel < voxels)[:, None] & (channel < channels)[None, :]
    total = tl.load(volume + offset, mask=mask, other=0.0).to(tl.float32)
    total *= tl.load(factors + channel)[None, :]
    if adds:
        total += tl.load(earlier + offset, mask=mask, other=0.0).to(tl.float32)
    tl.store(result + offset, total.to(tl.float16), mask=mask)
