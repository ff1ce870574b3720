"""What runs kernels: a card, by its driver (``cuda_driver.py``), or in tests something like one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from live_restore.inference.backends.kernels.plan import Kind


class DriverError(Exception):
    """A call that failed: which one, and what the driver says.

    ``out_of_memory`` is whether smaller tiles may help.
    """

    def __init__(self, text: str, *, out_of_memory: bool = False) -> None:
        super().__init__(text)
        self.out_of_memory = out_of_memory


@dataclass(frozen=True)
class Kernel:
    """A program for the card at hand; see ``plan.Program`` and ``plan.Cubin``."""

    symbol: str
    threads: int
    shared: int
    parameters: tuple[Kind, ...]
    content: bytes


class Driver(Protocol):
    """A card, from when it is opened until it is closed; every method raises ``DriverError``.

    Threads may use it one after the other. What is launched and copied happens in that order.
    """

    @property
    def capability(self) -> tuple[int, int]:
        """Which programs it runs: (8, 6)."""
        ...

    @property
    def hardware(self) -> str:
        """The card's name."""
        ...

    def free_bytes(self) -> int:
        """Return how much of its memory is free."""
        ...

    def load(self, kernel: Kernel) -> Any:
        """Return what :meth:`launch` takes."""
        ...

    def allocate(self, nbytes: int) -> int:
        """Return the address of new memory, a multiple of 256."""
        ...

    def copy_in(self, address: int, array: NDArray[Any]) -> None:
        """Copy a contiguous array there."""
        ...

    def copy_out(self, array: NDArray[Any], address: int) -> None:
        """Wait for all that was launched, and copy from there into a contiguous array."""
        ...

    def launch(self, loaded: Any, grid: tuple[int, int, int], arguments: Sequence[int]) -> None:
        """Run a kernel over a grid of blocks (x, y, z).

        Arguments are addresses and whole numbers, as the kernel's parameters are.
        """
        ...

    def close(self) -> None:
        """Give back all that was allocated and loaded; never raises, and may be called twice."""
        ...
