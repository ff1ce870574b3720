"""What each kernel computes, stated in numpy; and a card that computes it, on the processor.

A second, independent statement: tests compare it with Triton's interpreter, and run plans in it
where there is no Triton. A "program" here is its kernel's name and constants as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from live_restore_export.kernels.conventions import SCRATCH
from live_restore_export.kernels.package import Built, parameters_of
from live_restore_export.kernels.plan import ARGUMENTS, KernelSource
from numpy.typing import NDArray

from live_restore.inference.backends.kernels.driver import DriverError, Kernel

Array = NDArray[Any]
Memory = Callable[[int, Any, tuple[int, ...]], Array]
"""Gives a view into memory: address, type, shape. It fails where that is not all of one piece."""
HALF, SINGLE = np.float16, np.float32


def state(source: KernelSource, capability: int) -> Built:
    """Build a "program" for the cards of this file."""
    del capability
    text = json.dumps(
        {"kernel": source.kernel, "single": sorted(source.single), **source.constants}
    )
    return Built(source.kernel, parameters_of(source), 60_000, text.encode())


def said_in(program: bytes) -> KernelSource:
    """Return of which kernel a "program" was built."""
    said = json.loads(program.decode())
    kernel, single = said.pop("kernel"), frozenset(said.pop("single"))
    return KernelSource(kernel, said, single=single)


def run(
    program: bytes, grid: tuple[int, int, int], arguments: Sequence[int], memory: Memory
) -> None:
    """Do what a kernel does."""
    source = said_in(program)
    given, scratch = arguments[: -len(SCRATCH)], arguments[-len(SCRATCH) :]
    assert not any(scratch)
    named = dict(zip(ARGUMENTS[source.kernel], given, strict=True))
    result = SINGLE if "result" in source.single else HALF
    _STATED[source.kernel](grid, memory, result, **named, **source.constants)


def _convolve(
    grid: tuple[int, int, int], memory: Memory, kind: Any, *, volume: int, weights: int, bias: int,
    earlier: int, result: int, sums: int, depth: int, height: int, width: int, channels_in: int,
    channels_out: int, padded_in: int, padded_out: int, rows: int, columns: int, relu: bool,
    adds: bool, sums_up: bool,
) -> None:  # fmt: skip
    across, down = -(-width // columns), -(-height // rows)
    assert grid == (across, down, depth)
    shape = (depth, height, width)
    seen = memory(volume, HALF, (*shape, channels_in)).astype(SINGLE)
    taps = memory(weights, HALF, (27, padded_in, padded_out)).astype(SINGLE)
    bordered = np.pad(seen, ((1, 1), (1, 1), (1, 1), (0, 0)))
    total = np.zeros((*shape, padded_out), SINGLE)
    for tap in range(27):
        z, y, x = tap // 9, tap // 3 % 3, tap % 3
        part = bordered[z : z + depth, y : y + height, x : x + width]
        total += part @ taps[tap, :channels_in]
    total += memory(bias, SINGLE, (padded_out,))
    if relu:
        total = np.maximum(total, 0)
    if sums_up:
        whole = np.pad(
            total, ((0, 0), (0, down * rows - height), (0, across * columns - width), (0, 0))
        )
        blocks = whole.reshape(depth, down, rows, across, columns, padded_out).sum(axis=(2, 4))
        memory(sums, SINGLE, (depth, down, across, padded_out))[:] = blocks
    made = total[..., :channels_out]
    if adds:
        made = made + memory(earlier, HALF, (*shape, channels_out)).astype(SINGLE)
    memory(result, kind, (*shape, channels_out))[:] = made


def _scale_and_add(
    grid: tuple[int, int, int], memory: Memory, kind: Any, *, volume: int, factors: int,
    earlier: int, result: int, voxels: int, channels: int, padded: int, block: int, adds: bool,
) -> None:  # fmt: skip
    assert grid == (-(-voxels // block), 1, 1)
    total = memory(volume, HALF, (voxels, channels)).astype(SINGLE)
    total *= memory(factors, SINGLE, (padded,))[:channels]
    if adds:
        total += memory(earlier, HALF, (voxels, channels))
    memory(result, kind, (voxels, channels))[:] = total


def _fold(
    grid: tuple[int, int, int], memory: Memory, kind: Any, *, stack: int, result: int, height: int,
    width: int, factor: int, padded: int, block: int, standardise: bool,
) -> None:  # fmt: skip
    assert grid[:2] == (-(-width // block), height)
    assert padded >= factor**2
    seen = memory(stack, SINGLE, (grid[2], height, factor, width, factor))
    seen = 2 * seen - 1 if standardise else seen
    made = seen.transpose(0, 1, 3, 2, 4)
    memory(result, kind, made.shape)[:] = made


def _unfold(
    grid: tuple[int, int, int], memory: Memory, kind: Any, *, volume: int, result: int, height: int,
    width: int, factor: int, padded: int, block: int, standardise: bool,
) -> None:  # fmt: skip
    assert grid[:2] == (-(-width // block), height)
    assert padded >= factor**2
    seen = memory(volume, SINGLE, (grid[2], height, width, factor, factor))
    seen = SINGLE(0.5) * seen + SINGLE(0.5) if standardise else seen
    made = seen.transpose(0, 1, 3, 2, 4)
    memory(result, kind, made.shape)[:] = made


def _add_up(
    grid: tuple[int, int, int], memory: Memory, kind: Any, *, sums: int, result: int, rows: int,
    padded: int, many: int,
) -> None:  # fmt: skip
    assert grid == (-(-rows // many), 1, 1)
    seen = memory(sums, SINGLE, (rows, padded))
    made = np.add.reduceat(seen, np.arange(0, rows, many), axis=0)
    memory(result, kind, (grid[0], padded))[:] = made


def _attend(
    grid: tuple[int, int, int], memory: Memory, kind: Any, *, sums: int, squeeze: int,
    squeeze_bias: int, excite: int, excite_bias: int, factors: int, rows: int, voxels: int,
    padded: int, hidden: int, many: int, scaling: float,
) -> None:  # fmt: skip
    del kind, many
    assert grid == (1, 1, 1)
    means = memory(sums, SINGLE, (rows, padded)).sum(axis=0) / SINGLE(voxels)
    squeezed = memory(squeeze, SINGLE, (hidden, padded)) @ means
    squeezed = np.maximum(squeezed + memory(squeeze_bias, SINGLE, (hidden,)), 0)
    excited = memory(excite, SINGLE, (padded, hidden)) @ squeezed
    excited += memory(excite_bias, SINGLE, (padded,))
    memory(factors, SINGLE, (padded,))[:] = SINGLE(scaling) / (1 + np.exp(-excited))


_STATED: dict[str, Callable[..., None]] = {
    "convolve": _convolve, "scale_and_add": _scale_and_add, "fold": _fold, "unfold": _unfold,
    "add_up": _add_up, "attend": _attend,
}  # fmt: skip


@dataclass
class Card:
    """A card on the processor; see ``driver.Driver``.

    New memory holds NaN, and each piece is exactly as large as was asked for: what reads what
    nobody wrote, or beyond, is found out.
    """

    capability: tuple[int, int] = (8, 6)
    hardware: str = "the processor"
    most_bytes: int = 2**30
    pieces: dict[int, Array] = field(default_factory=dict)
    launched: list[str] = field(default_factory=list)
    closed: bool = False

    def free_bytes(self) -> int:
        return self.most_bytes - sum(each.nbytes for each in self.pieces.values())

    def load(self, kernel: Kernel) -> Kernel:
        return kernel

    def allocate(self, nbytes: int) -> int:
        if nbytes > self.free_bytes():
            raise DriverError("no memory", out_of_memory=True)
        piece = np.full(nbytes, 0xFF, np.uint8)
        self.pieces[piece.ctypes.data] = piece
        return piece.ctypes.data

    def copy_in(self, address: int, array: Array) -> None:
        self.view(address, np.uint8, (array.nbytes,))[:] = array.reshape(-1).view(np.uint8)

    def copy_out(self, array: Array, address: int) -> None:
        array.reshape(-1).view(np.uint8)[:] = self.view(address, np.uint8, (array.nbytes,))

    def launch(self, loaded: Kernel, grid: tuple[int, int, int], arguments: Sequence[int]) -> None:
        assert len(arguments) == len(loaded.parameters)
        self.launched.append(loaded.symbol)
        run(loaded.content, grid, arguments, self.view)

    def close(self) -> None:
        self.pieces.clear()
        self.closed = True

    def view(self, address: int, kind: Any, shape: tuple[int, ...]) -> Array:
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        for start, piece in self.pieces.items():
            if start <= address and address + size <= start + piece.nbytes:
                inside = piece[address - start : address - start + size]
                return inside.view(kind).reshape(shape)
        raise AssertionError(f"{size} bytes at {address:#x} are in no piece of memory")
