"""Runs a plan on a card, for tiles of one shape: memory once, then launches in order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from live_restore.errors import DeviceError
from live_restore.inference.backends.kernels.driver import Driver, DriverError, Kernel
from live_restore.inference.backends.kernels.kernel_file import KernelFile
from live_restore.inference.backends.kernels.plan import Size
from live_restore.inference.backends.kernels.weights import laid_out
from live_restore.inference.backends.session import Floats

_ALIGNED = 256
"""Bytes: the kernels are compiled for addresses that are multiples of 16, and cards give out
memory in multiples of 256 (CUDA C++ Programming Guide, device memory accesses)."""


class Execution:
    """A network on a card, for tiles of one size.

    What it holds there is given back when its driver is closed.

    Parameters
    ----------
    driver
        The card; whoever opened it closes it, also where this fails.
    kernels
        What is run.
    tensors
        The model's weights, by name.
    zyx
        Voxels of a tile: a multiple of what the plan asks for.
    most_bytes
        Memory that it may take. (On Windows a card gives more than it has, and crawls.)

    Raises
    ------
    DriverError
        The card refuses; or it has too little memory for such tiles, or offsets for them would be
        too large for the kernels, and then ``out_of_memory`` is set.
    UnsuitableWeightsError
        The weights are not those of the plan.
    DeviceError
        There are no programs for the card, or a tile is not what the plan has room for.
    """

    def __init__(
        self,
        driver: Driver,
        kernels: KernelFile,
        tensors: dict[str, NDArray[Any]],
        zyx: tuple[int, int, int],
        most_bytes: int,
    ) -> None:
        self._driver = driver
        self._zyx = zyx
        plan = kernels.manifest.plan
        if plan.too_large(zyx):
            raise DriverError("the tile is too large for the kernels", out_of_memory=True)
        for end in (plan.given, plan.made):
            held = plan.buffer(end).size.of(zyx)
            if held != math.prod(zyx):  # the host copies a whole tile there, and from there
                raise DeviceError(
                    f"{kernels.path.name} is damaged ({end} has {held} values, a tile "
                    f"{math.prod(zyx)})",
                    None,
                    kernels.remedy,
                )
        wanted = sum(each.nbytes(zyx) for each in plan.buffers)
        wanted += sum(_aligned(each.nbytes) for each in plan.weights)
        if wanted > most_bytes:
            raise DriverError(
                f"it takes {wanted >> 20} MiB of {most_bytes >> 20}", out_of_memory=True
            )
        capability = kernels.capability_for(driver.capability)
        loaded = {
            each.name: driver.load(
                Kernel(
                    each.symbol,
                    each.threads,
                    each.cubins[capability].shared,
                    each.parameters,
                    kernels.cubin(each, capability),
                )
            )
            for each in kernels.manifest.programs
        }
        addresses = self._weights(kernels, tensors)
        for buffer in plan.buffers:
            addresses[buffer.name] = driver.allocate(max(1, buffer.nbytes(zyx)))
        self._given, self._made = addresses[plan.given], addresses[plan.made]
        self._launches = [
            (
                loaded[launch.program],
                launch.grid_for(zyx),
                [self._number(each, addresses) for each in launch.arguments],
            )
            for launch in plan.launches
        ]

    def run(self, tile: Floats) -> Floats:
        """Return what the network makes of a tile (Z, Y, X), both in network units.

        Raises
        ------
        DriverError
            The card failed.
        """
        if tile.shape != self._zyx:
            raise ValueError(f"a tile of {tile.shape} for kernels of {self._zyx}")
        self._driver.copy_in(self._given, np.ascontiguousarray(tile, np.float32))
        for loaded, grid, arguments in self._launches:
            self._driver.launch(loaded, grid, arguments)
        made = np.empty(self._zyx, np.float32)
        self._driver.copy_out(made, self._made)
        return made

    def _number(self, argument: str | Size | None, addresses: dict[str, int]) -> int:
        if argument is None:
            return 0
        return argument.of(self._zyx) if isinstance(argument, Size) else addresses[argument]

    def _weights(self, kernels: KernelFile, tensors: dict[str, NDArray[Any]]) -> dict[str, int]:
        """Copy all weights to the card at once; return where each is."""
        ends, parts, at = {}, [], 0
        for weight in kernels.manifest.plan.weights:
            ends[weight.name] = at
            content = laid_out(weight, tensors).tobytes()
            content += bytes(_aligned(len(content)) - len(content))
            parts.append(content)
            at += len(content)
        if not at:
            return {}
        base = self._driver.allocate(at)
        self._driver.copy_in(base, np.frombuffer(b"".join(parts), np.uint8))
        return {name: base + offset for name, offset in ends.items()}


def _aligned(nbytes: int) -> int:
    return -(-nbytes // _ALIGNED) * _ALIGNED
