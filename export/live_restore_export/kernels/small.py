"""What a network has besides convolutions, in kernels: folding, and channel attention's products.

They move little, and compute less: what counts is that nothing is left for the processor between
two convolutions. Like ``convolution``: Triton, channels last, padded to powers of two.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["add_up", "attend", "fold", "unfold"]


@triton.jit(do_not_specialize=["height", "width"])
def fold(
    stack,
    result,
    height,
    width,
    factor: tl.constexpr,
    padded: tl.constexpr,
    block: tl.constexpr,
    standardise: tl.constexpr,
):
    """Fold ``factor`` x ``factor`` pixels into channels: ``block`` voxels of a row per program.

    Parameters
    ----------
    stack
        (Z, Y * ``factor``, X * ``factor``) in float32, network units.
    result
        (Z, Y, X, ``factor`` ** 2) in float16, from -1 to 1 where ``standardise``. Program (x, y, z)
        of the grid writes row y of plane z.
    height, width
        Y, X.
    """
    y, z = tl.program_id(1), tl.program_id(2)
    x = tl.program_id(0) * block + tl.arange(0, block)
    channel = tl.arange(0, padded)
    mask = (x < width)[:, None] & (channel < factor * factor)[None, :]
    plane = z * height.to(tl.int64) * width * (factor * factor)
    row = y * factor + channel // factor
    column = x[:, None] * factor + (channel % factor)[None, :]
    value = tl.load(stack + plane + row[None, :] * (width * factor) + column, mask=mask, other=0.0)
    if standardise:
        value = 2.0 * value - 1.0
    offset = (y * width + x)[:, None] * (factor * factor) + channel[None, :]
    tl.store(result + plane + offset, value.to(tl.float16), mask=mask)


@triton.jit(do_not_specialize=["height", "width"])
def unfold(
    volume,
    result,
    height,
    width,
    factor: tl.constexpr,
    padded: tl.constexpr,
    block: tl.constexpr,
    standardise: tl.constexpr,
):
    """Undo ``fold``: of (Z, Y, X, ``factor`` ** 2) in float32 make the stack."""
    y, z = tl.program_id(1), tl.program_id(2)
    x = tl.program_id(0) * block + tl.arange(0, block)
    channel = tl.arange(0, padded)
    mask = (x < width)[:, None] & (channel < factor * factor)[None, :]
    plane = z * height.to(tl.int64) * width * (factor * factor)
    offset = (y * width + x)[:, None] * (factor * factor) + channel[None, :]
    value = tl.load(volume + plane + offset, mask=mask, other=0.0)
    if standardise:
        value = 0.5 * value + 0.5
    row = y * factor + channel // factor
    column = x[:, None] * factor + (channel % factor)[None, :]
    tl.store(result + plane + row[None, :] * (width * factor) + column, value, mask=mask)


@triton.jit(do_not_specialize=["rows"])
def add_up(sums, result, rows, padded: tl.constexpr, many: tl.constexpr):
    """Add up ``many`` rows of ``convolve``'s sums per program, always in the same order.

    Parameters
    ----------
    sums
        (``rows``, ``padded``) in float32.
    result
        (programs, ``padded``) in float32.
    rows
        How many there are.
    """
    row = tl.program_id(0) * many + tl.arange(0, many)
    channel = tl.arange(0, padded)
    offset = row[:, None] * padded + channel[None, :]
    value = tl.load(sums + offset, mask=(row < rows)[:, None], other=0.0)
    tl.store(result + tl.program_id(0) * padded + channel, tl.sum(value, axis=0))


@triton.jit(do_not_specialize=["rows", "voxels"])
def attend(
    sums,
    squeeze,
    squeeze_bias,
    excite,
    excite_bias,
    factors,
    rows,
    voxels,
    padded: tl.constexpr,
    hidden: tl.constexpr,
    many: tl.constexpr,
    scaling: tl.constexpr,
):
    """Make each channel's factor of the channels' means: channel attention, in one program.

    Parameters
    ----------
    sums
        (``rows``, ``padded``) in float32, of ``voxels`` voxels together.
    squeeze, excite
        (``hidden``, ``padded``) and (``padded``, ``hidden``) in float32.
    squeeze_bias, excite_bias
        (``hidden``,) and (``padded``,) in float32.
    factors
        (``padded``,) in float32: what comes out, times ``scaling``.
    """
    channel = tl.arange(0, padded)
    within = tl.arange(0, hidden)
    total = tl.zeros((padded,), dtype=tl.float32)
    for first in range(0, rows, many):
        row = first + tl.arange(0, many)
        offset = row[:, None] * padded + channel[None, :]
        total += tl.sum(tl.load(sums + offset, mask=(row < rows)[:, None], other=0.0), axis=0)
    means = total / voxels.to(tl.float32)
    taken = tl.load(squeeze + within[:, None] * padded + channel[None, :])
    squeezed = tl.sum(taken * means[None, :], axis=1) + tl.load(squeeze_bias + within)
    squeezed = tl.maximum(squeezed, 0.0)
    given = tl.load(excite + channel[:, None] * hidden + within[None, :])
    excited = tl.sum(given * squeezed[None, :], axis=1) + tl.load(excite_bias + channel)
    tl.store(factors + channel, scaling / (1.0 + tl.exp(-excited)))
