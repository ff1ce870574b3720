"""Kernels of our own on an NVIDIA GPU, run by its driver alone: asked for by name only.

Not run on a GPU yet, so ``auto`` does not take it (docs/decisions, "Own kernels by name only").
It needs a file of kernels beside the model, which the workshop compiles; nothing else but the
driver: no CUDA, no cuDNN.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import numpy as np

from live_restore.errors import (
    DeviceError,
    DeviceMemoryError,
    ModelError,
    RuntimeFailureError,
)
from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.kernels.cuda_driver import (
    LIBRARY,
    CudaDriver,
    CudaLibrary,
)
from live_restore.inference.backends.kernels.driver import Driver, DriverError
from live_restore.inference.backends.kernels.execution import Execution
from live_restore.inference.backends.kernels.kernel_file import (
    kernels_beside,
    kernels_digest,
    read_kernels,
)
from live_restore.inference.backends.kernels.weights import (
    UnsuitableWeightsError,
    read_initialisers,
)
from live_restore.inference.backends.recording import GPUS
from live_restore.inference.backends.session import Device, Floats, Shape5

NAME = "cuda-kernels"

_DROPPED: deque[Driver] = deque()
"""Cards of sessions that nobody has any more, of all backends of this process."""


@contextmanager
def beside_others() -> Iterator[None]:
    """Let nobody record on a GPU meanwhile; first, close the cards of sessions that were dropped.

    Python drops a session wherever it happens to clear up: while another one is recorded, when a
    free would spoil the recording, or on the very thread that records, where waiting would never
    end. So its memory is given back here, when the next session of this backend is opened or runs.
    """
    with GPUS.beside_others():
        while _DROPPED:
            try:
                dropped = _DROPPED.popleft()
            except IndexError:  # another thread took the last one
                break
            dropped.close()
        yield


class CudaKernels:
    """The backend "cuda-kernels"; ``library`` is the driver's."""

    name = NAME
    on_cpu = False

    def __init__(self, library: str = LIBRARY) -> None:
        self._path = library

    @cached_property
    def _library(self) -> CudaLibrary:
        return CudaLibrary(self._path)

    def obstacle(self) -> str:
        """Return why there is no card to try."""
        try:
            return "" if self._library.count() else "no NVIDIA GPU was found"
        except DriverError as error:
            return str(error)

    def precisions(self) -> tuple[str, ...]:
        """Return what it computes in: kernels take nothing else."""
        return ("fp16",)

    def version(self) -> str:
        """Return the CUDA of the driver."""
        return f"own kernels, driver of CUDA {self._library.version}"

    def file_digest(self, source: ModelSource) -> str:
        """Return the digest of the model's kernels; see ``RunsFile``."""
        return kernels_digest(kernels_beside(source.path))

    def open(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> KernelSession:
        """Return a session for tiles of one shape."""
        del precision
        with beside_others():
            try:
                driver = self._card(index)
            except DriverError as error:
                raise DeviceError(f"the driver refuses ({error})") from None
            return KernelSession(source, shape, driver, index, limits)

    def _card(self, index: int) -> CudaDriver:
        count = self._library.count()
        if index >= count:
            raise DeviceError(f"the driver finds {count} cards, numbered from 0")
        return CudaDriver(self._library, index)


class KernelSession:
    """A model in kernels, for tiles of one shape.

    It is opened and run :func:`beside_others`, and once dropped closed by the next of them.

    Parameters
    ----------
    source
        The model; its kernels are beside it.
    shape
        Of the tiles.
    driver
        The card; closed some time after this is dropped, and at once where this fails.
    index
        Its number.
    limits
        How much of its memory may be taken.

    Raises
    ------
    DeviceError
        There are no kernels for the model or the card, or the driver refuses.
    ModelError
        The weights are not those that the kernels were compiled for.
    DeviceMemoryError
        Such tiles are too large.
    """

    def __init__(
        self, source: ModelSource, shape: Shape5, driver: Driver, index: int, limits: Limits
    ) -> None:
        self._shape = shape
        try:
            self.device = Device(
                name=f"{NAME}:{index}",
                provider="own kernels, by the driver",
                hardware=driver.hardware,
                precision="fp16",
                memory_bytes=limits.gpu_bytes(driver.free_bytes()),
                on_gpu=True,
            )
            self._execution = _execution(source, shape, driver, self.device.memory_bytes)
        except BaseException as error:
            driver.close()
            if not isinstance(error, DriverError):
                raise
            if error.out_of_memory:
                raise _failure(shape, error) from error
            raise DeviceError(f"the driver refuses ({error})") from None
        weakref.finalize(self, _DROPPED.append, driver)

    def run(self, tile: Floats) -> Floats:
        """Run one tile of the session's shape."""
        if tile.shape != self._shape:
            raise ValueError(f"a tile of {tile.shape} for a session of {self._shape}")
        try:
            with beside_others():
                return np.asarray(self._execution.run(tile[0, 0])[np.newaxis, np.newaxis])
        except DriverError as error:
            raise _failure(tile.shape, error) from error


def _execution(source: ModelSource, shape: Shape5, driver: Driver, most_bytes: int) -> Execution:
    kernels = read_kernels(kernels_beside(source.path), source.digest)
    multiple = kernels.manifest.plan.multiple_zyx
    if shape[:2] != (1, 1) or any(
        size % each for size, each in zip(shape[2:], multiple, strict=True)
    ):
        raise DeviceError(f"the kernels take one channel and multiples of {multiple}, not {shape}")
    try:
        tensors = read_initialisers(source.content)
        return Execution(driver, kernels, tensors, shape[2:], most_bytes)
    except UnsuitableWeightsError as error:
        raise ModelError(f"does not fit its kernels ({error})", source.path) from None


def _failure(shape: tuple[int, ...], error: DriverError) -> RuntimeFailureError:
    kind = DeviceMemoryError if error.out_of_memory else RuntimeFailureError
    return kind(
        f"the model failed on a tile of {shape} ({error})",
        None,
        "set a smaller inference.max_tile_mvoxel if memory ran out",
    )
