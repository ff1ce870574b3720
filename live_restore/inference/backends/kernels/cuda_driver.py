"""An NVIDIA card by its driver alone: ``libcuda``, of which every code is looked at.

No CUDA toolkit, no PyTorch, no cuDNN: this library is part of the driver. Not run on a GPU yet; a
library in C that does as this one is documented stands in for it in tests. Names with ``_v2`` are
what the names without stand for in ``cuda.h`` since CUDA 3.2 and 4.0
(https://docs.nvidia.com/cuda/cuda-driver-api).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from live_restore.inference.backends.kernels.driver import DriverError, Kernel

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"

_OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_...
_MOST_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_FREE_SHARED = 48 * 1024
"""Bytes of shared memory that a block may have without being asked for (CUDA C++ Programming
Guide, compute capabilities 7.x and later)."""

_FUNCTIONS: dict[str, list[Any]] = {
    "cuInit": [c_uint],
    "cuDriverGetVersion": [POINTER(c_int)],
    "cuDeviceGetCount": [POINTER(c_int)],
    "cuDeviceGet": [POINTER(c_int), c_int],
    "cuDeviceGetName": [c_char_p, c_int, c_int],
    "cuDeviceGetAttribute": [POINTER(c_int), c_int, c_int],
    "cuDevicePrimaryCtxRetain": [POINTER(c_void_p), c_int],
    "cuDevicePrimaryCtxRelease_v2": [c_int],
    "cuCtxPushCurrent_v2": [c_void_p],
    "cuCtxPopCurrent_v2": [POINTER(c_void_p)],
    "cuMemGetInfo_v2": [POINTER(c_size_t), POINTER(c_size_t)],
    "cuMemAlloc_v2": [POINTER(c_uint64), c_size_t],
    "cuMemFree_v2": [c_uint64],
    "cuMemcpyHtoDAsync_v2": [c_uint64, c_void_p, c_size_t, c_void_p],
    "cuMemcpyDtoHAsync_v2": [c_void_p, c_uint64, c_size_t, c_void_p],
    "cuModuleLoadData": [POINTER(c_void_p), c_char_p],
    "cuModuleUnload": [c_void_p],
    "cuModuleGetFunction": [POINTER(c_void_p), c_void_p, c_char_p],
    "cuFuncSetAttribute": [c_void_p, c_int, c_int],
    "cuLaunchKernel": [c_void_p, *[c_uint] * 7, c_void_p, POINTER(c_void_p), c_void_p],
    "cuStreamCreate": [POINTER(c_void_p), c_uint],
    "cuStreamSynchronize": [c_void_p],
    "cuStreamDestroy_v2": [c_void_p],
    "cuGetErrorName": [c_int, POINTER(c_char_p)],
    "cuGetErrorString": [c_int, POINTER(c_char_p)],
}


class CudaLibrary:
    """The driver's library; ``version`` is the newest CUDA that it knows: "13.0".

    Parameters
    ----------
    path
        Where it is; by its bare name the system finds it.

    Raises
    ------
    DriverError
        It is not there, or older than what is called in it, or has no card.
    """

    def __init__(self, path: str = LIBRARY) -> None:
        try:
            library = ctypes.CDLL(path)
            self._functions: dict[str, Any] = {}
            for name, arguments in _FUNCTIONS.items():
                function = getattr(library, name)
                function.argtypes, function.restype = arguments, c_int
                self._functions[name] = function
        except (OSError, AttributeError) as error:
            reason = str(error).splitlines()[0][:160]
            raise DriverError(f"the NVIDIA driver could not be loaded ({reason})") from None
        self.call("cuInit", 0)
        version = self._int("cuDriverGetVersion")
        self.version = f"{version // 1000}.{version % 1000 // 10}"

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function; raises ``DriverError`` where it says anything but success."""
        code = self._functions[name](*arguments)
        if code:
            raise DriverError(f"{name}: {self._words(code)}", out_of_memory=code == _OUT_OF_MEMORY)

    def count(self) -> int:
        """Return how many cards there are."""
        return self._int("cuDeviceGetCount")

    def capability(self, device: int) -> tuple[int, int]:
        """Return the compute capability of a card."""
        return (
            self._int("cuDeviceGetAttribute", _MAJOR, device),
            self._int("cuDeviceGetAttribute", _MINOR, device),
        )

    def device(self, index: int) -> int:
        """Return the driver's own number of a card."""
        return self._int("cuDeviceGet", index)

    def name(self, device: int) -> str:
        """Return the name of a card."""
        text = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", text, len(text), device)
        return text.value.decode(errors="replace")

    def _int(self, name: str, *arguments: int) -> int:
        found = c_int()
        self.call(name, byref(found), *arguments)
        return found.value

    def _words(self, code: int) -> str:
        words = []
        for name in ("cuGetErrorName", "cuGetErrorString"):
            text = c_char_p()
            known = self._functions[name](code, byref(text)) == 0 and text.value is not None
            words.append((text.value or b"").decode(errors="replace") if known else f"{code}")
        return f"{words[0]} ({words[1]})"


@dataclass(frozen=True)
class _Loaded:
    kernel: Kernel
    function: c_void_p


class CudaDriver:
    """One card; see ``driver.Driver``.

    Its primary context is held while this is open, and made current only within a call. There is
    one for the whole process: all sessions on the card share it, and so do other libraries (ONNX
    Runtime's CUDA). Once a kernel broke it, every call of all of them fails until all have released
    it; whoever opens the card then has a new one.

    Parameters
    ----------
    library
        The driver's.
    index
        Number of the card, from 0.
    """

    def __init__(self, library: CudaLibrary, index: int) -> None:
        self._library = library
        self._device = library.device(index)
        self.capability = library.capability(self._device)
        self.hardware = library.name(self._device)
        # Undone last to first: memory and modules belong to the context.
        self._undo: list[Callable[[], None]] = []
        self._context = c_void_p()
        library.call("cuDevicePrimaryCtxRetain", byref(self._context), self._device)
        self._stream = c_void_p()
        try:
            with self._current():
                library.call("cuStreamCreate", byref(self._stream), _NON_BLOCKING)
                self._undo.append(lambda: library.call("cuStreamDestroy_v2", self._stream))
        except DriverError:
            self.close()
            raise

    def free_bytes(self) -> int:
        """Return how much of its memory is free."""
        free, total = c_size_t(), c_size_t()
        with self._current():
            self._library.call("cuMemGetInfo_v2", byref(free), byref(total))
        return free.value

    def load(self, kernel: Kernel) -> _Loaded:
        """Load a program."""
        module, function = c_void_p(), c_void_p()
        with self._current():
            self._library.call("cuModuleLoadData", byref(module), kernel.content)
            self._undo.append(lambda: self._library.call("cuModuleUnload", module))
            self._library.call(
                "cuModuleGetFunction", byref(function), module, kernel.symbol.encode()
            )
            if kernel.shared > _FREE_SHARED:
                self._library.call("cuFuncSetAttribute", function, _MOST_SHARED, kernel.shared)
        return _Loaded(kernel, function)

    def allocate(self, nbytes: int) -> int:
        """Return new memory."""
        address = c_uint64()
        with self._current():
            self._library.call("cuMemAlloc_v2", byref(address), nbytes)
            self._undo.append(lambda: self._library.call("cuMemFree_v2", address))
        return address.value

    def copy_in(self, address: int, array: NDArray[Any]) -> None:
        """Copy to the card; the array may be changed afterwards."""
        with self._current():
            self._library.call(
                "cuMemcpyHtoDAsync_v2", address, array.ctypes.data, array.nbytes, self._stream
            )
            self._library.call("cuStreamSynchronize", self._stream)

    def copy_out(self, array: NDArray[Any], address: int) -> None:
        """Wait, and copy from the card."""
        with self._current():
            self._library.call(
                "cuMemcpyDtoHAsync_v2", array.ctypes.data, address, array.nbytes, self._stream
            )
            self._library.call("cuStreamSynchronize", self._stream)

    def launch(self, loaded: _Loaded, grid: tuple[int, int, int], arguments: Sequence[int]) -> None:
        """Launch a kernel."""
        kernel = loaded.kernel
        held = [
            c_uint64(number) if kind == "pointer" else c_int(number)
            for kind, number in zip(kernel.parameters, arguments, strict=True)
        ]
        where = (c_void_p * len(held))(*(ctypes.addressof(each) for each in held))
        with self._current():
            self._library.call(
                "cuLaunchKernel", loaded.function, *grid, kernel.threads, 1, 1, kernel.shared,
                self._stream, where, None,
            )  # fmt: skip

    def close(self) -> None:
        """Give everything back; what a broken context refuses ends with it."""
        if self._context.value is None:
            return
        undo, self._undo = self._undo, []
        with suppress(DriverError), self._current():
            for each in reversed(undo):
                _whatever_comes(each)
        self._context = c_void_p()
        _whatever_comes(lambda: self._library.call("cuDevicePrimaryCtxRelease_v2", self._device))

    @contextmanager
    def _current(self) -> Iterator[None]:
        self._library.call("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            self._library.call("cuCtxPopCurrent_v2", byref(c_void_p()))


def _whatever_comes(undo: Callable[[], None]) -> None:
    # A broken context takes it along when the last one lets go of it: nothing else is left to do.
    with suppress(DriverError):
        undo()
