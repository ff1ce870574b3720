"""ONNX Runtime on an NVIDIA GPU, tensors bound to its memory.

Seen to run, with right numbers, on one NVIDIA H100 (docs/explanation/speed.md). What the provider
is asked for is in ``cuda_options.py``. Its other forms, and float16 made from a float32 model when
it is opened, have not run on a GPU yet.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from live_restore.errors import DeviceError, ModelError
from live_restore.inference.backends.backend import Form, Limits, ModelSource, tile_failure
from live_restore.inference.backends.cuda_options import FORMS, PLAIN, CudaForm, provider_options
from live_restore.inference.backends.onnx import (
    CPU,
    create,
    runtime_version,
    signature,
    tile_errors,
)
from live_restore.inference.backends.onnx_counts import OnnxCountsSession, counts_source
from live_restore.inference.backends.recording import GPUS, Turn
from live_restore.inference.backends.session import Device, Floats, Shape5
from live_restore.inference.device.hardware import nvidia_gpu
from live_restore.inference.model.counts_graph import UnsuitableModelError
from live_restore.inference.model.half_graph import with_half
from live_restore.installation import install_with

_PROVIDER = "CUDAExecutionProvider"
_MEMORY = "cuda"


def cuda_obstacle() -> str:
    """Return why CUDA cannot even be tried here, or "" when it is worth trying."""
    import onnxruntime

    if _PROVIDER not in onnxruntime.get_available_providers():
        return "this ONNX Runtime was built without CUDA"
    return nvidia_obstacle()


def nvidia_obstacle() -> str:
    """Return why there is no NVIDIA GPU to try, or "" where there is its driver."""
    if sys.platform == "win32":
        driver = Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "nvcuda.dll"
        present = driver.exists()
    else:
        present = Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()
    return "" if present else "no NVIDIA GPU was found"


class OnnxCuda:
    """The backend "cuda"; ``form`` is how it runs a network."""

    name = "cuda"
    on_cpu = False

    def __init__(self, form: CudaForm = PLAIN) -> None:
        self._form = form

    def obstacle(self) -> str:
        """Return why there is no GPU to try."""
        return cuda_obstacle()

    def precisions(self) -> tuple[str, ...]:
        """Return what it computes float32 models in."""
        return ("fp32", "tf32")

    def forms(self) -> tuple[Form, ...]:
        """Return its other forms; float16 has no ordinary one."""
        return tuple(
            Form(OnnxCuda(form), precision, form.name)
            for precision in ("fp16", "tf32", "fp32")
            for form in FORMS
            if precision == "fp16" or form != PLAIN
        )

    def version(self) -> str:
        """Return the runtime and its version."""
        return runtime_version()

    def open(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> BoundSession:
        """Return a session for tiles of one shape."""
        source = _in(precision, source)
        with GPUS.beside_others():
            session, device = self._created(source, shape, precision, index, limits)
            return BoundSession(source, session, device, shape, index, fixed=self._form.graph)

    def open_counts(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> OnnxCountsSession:
        """Return a session for tiles of grey values; see ``TakesCounts``."""
        extended = counts_source(_in(precision, source), shape)
        fixed = self._form.graph
        with GPUS.beside_others():
            session, device = self._created(extended, shape, precision, index, limits)
            return OnnxCountsSession(session, device, shape, _MEMORY, index, fixed=fixed)

    def _created(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> tuple[Any, Device]:
        """Return a session on the GPU, which it is known to be on, and the GPU."""
        import onnxruntime

        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()
        options = provider_options(source, precision, index, limits, self._form)
        static = shape if self._form.static else None
        # A pattern of memory is known after the first run, and the block for it would be allocated
        # in the second, which is the one that is recorded: nothing may be allocated then.
        session = create(
            source,
            [(_PROVIDER, options), CPU],
            limits,
            memory_pattern=not self._form.graph,
            static=static,
        )
        if session.get_providers()[0] != _PROVIDER:
            raise DeviceError(
                "the CUDA libraries could not be loaded",
                None,
                f"install them with: {install_with('cuda')}",
            )
        hardware, free_bytes = nvidia_gpu(index)
        device = Device(
            name=f"cuda:{index}",
            provider=f"onnxruntime {_PROVIDER}",
            hardware=hardware,
            precision=precision if source.precision == "fp32" else source.precision,
            memory_bytes=limits.gpu_bytes(free_bytes),
            on_gpu=True,
        )
        return session, device


def _in(precision: str, source: ModelSource) -> ModelSource:
    """Return a model in float16 where that is asked for; raises ``ModelError``."""
    if precision != "fp16" or source.precision != "fp32":
        return source
    try:
        return replace(source, content=with_half(source.content), precision="fp16")
    except UnsuitableModelError as error:
        raise ModelError(f"cannot be made one in float16 ({error})", source.path) from None


class BoundSession:
    """A session whose input and output stay in GPU memory.

    ``fixed``: the output at one place, too, as a CUDA graph asks for, which repeats a run to the
    same addresses; it needs a session for one shape.
    """

    def __init__(
        self,
        source: ModelSource,
        session: Any,
        device: Device,
        shape: Shape5,
        index: int,
        *,
        fixed: bool = False,
    ) -> None:
        import onnxruntime

        self.device = device
        self._session = session
        self._shape = shape
        self._turn = Turn(GPUS, records=fixed)
        input_name, output_name = signature(source, session)
        on_gpu = onnxruntime.OrtValue.ortvalue_from_shape_and_type
        try:
            self._input = on_gpu(shape, np.float32, _MEMORY, index)
            self._binding = session.io_binding()
            self._binding.bind_ortvalue_input(input_name, self._input)
            if fixed:
                given = on_gpu(shape, np.float32, _MEMORY, index)
                self._binding.bind_ortvalue_output(output_name, given)
            else:
                self._binding.bind_output(output_name, _MEMORY, index)
        except tile_errors() as error:
            raise tile_failure(shape, error) from error

    def run(self, tile: Floats) -> Floats:
        """Run one tile of the session's shape."""
        if tile.shape != self._shape:
            raise ValueError(f"a tile of {tile.shape} for a session of {self._shape}")
        try:
            with self._turn.run():
                self._input.update_inplace(np.ascontiguousarray(tile))
                self._session.run_with_iobinding(self._binding)
                return np.asarray(self._binding.copy_outputs_to_cpu()[0])
        except tile_errors() as error:
            raise tile_failure(tile.shape, error) from error
