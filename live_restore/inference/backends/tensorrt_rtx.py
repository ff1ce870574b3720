"""TensorRT for RTX as a plug-in of ONNX Runtime: GeForce and RTX cards from 30xx on.

Not yet run on a GPU. The package brings all that it needs but the driver, and goes with the plain
``onnxruntime``, not with ``onnxruntime-gpu``. It compiles a model in seconds, so stacks need not
wait as for TensorRT; what it compiled is kept. Data-centre cards of the 90 series (H100, H200) are
not among those that it supports.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from live_restore.errors import DeviceError
from live_restore.files.user_folders import state_folder
from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.onnx import (
    OnnxSession,
    create_on,
    runtime_errors,
    runtime_version,
)
from live_restore.inference.backends.onnx_cuda import nvidia_obstacle
from live_restore.inference.backends.session import Device, Shape5
from live_restore.inference.device.hardware import nvidia_gpu
from live_restore.installation import install_with

PACKAGE = "onnxruntime-ep-nv-tensorrt-rtx-cu13"
_MODULE = "onnxruntime_ep_nv_tensorrt_rtx"


def plug_in_options(limits: Limits) -> dict[str, str]:
    """Return what the plug-in is asked for, as text."""
    options = {"nv_runtime_cache_path": str(state_folder() / "engines" / "rtx")}
    if limits.gpu_memory_gb is not None:
        # Weights and features are outside it; tiles are planned for what is left.
        options["nv_max_workspace_size"] = str(int(limits.gpu_memory_gb * 1e9) // 2)
    return options


class TensorRTForRTX:
    """The backend "tensorrt-rtx"."""

    name = "tensorrt-rtx"
    on_cpu = False

    def obstacle(self) -> str:
        """Return why it cannot be tried."""
        import importlib.util

        import onnxruntime

        if importlib.util.find_spec(_MODULE) is None:
            return f"TensorRT for RTX is not installed; {install_with('rtx')}"
        if not hasattr(onnxruntime, "register_execution_provider_library"):
            return "this ONNX Runtime takes no plug-ins; version 1.24 or later does"
        if why_not := nvidia_obstacle():
            return why_not
        failures: tuple[type[BaseException], ...] = (OSError, *runtime_errors())
        try:
            return "" if _devices() else "TensorRT for RTX finds no card that it supports"
        except failures as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
            return f"TensorRT for RTX could not be loaded ({reason})"

    def precisions(self) -> tuple[str, ...]:
        """Return what it computes float32 models in."""
        return ("fp32",)

    def version(self) -> str:
        """Return the runtimes and their versions."""
        from importlib.metadata import version

        return f"{runtime_version()}, {PACKAGE} {version(PACKAGE)}"

    def open(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> OnnxSession:
        """Return a session for tiles of one shape."""
        devices = _devices()
        if index >= len(devices):
            raise DeviceError(f"TensorRT for RTX finds {len(devices)} cards, numbered from 0")
        session = create_on(source, [devices[index]], plug_in_options(limits), limits, shape)
        provider = _plug_in().get_ep_name()
        if session.get_providers()[0] != provider:
            raise DeviceError("TensorRT for RTX could not be loaded")
        hardware, free_bytes = nvidia_gpu(index)
        device = Device(
            name=f"{self.name}:{index}",
            provider=f"onnxruntime {provider}",
            hardware=hardware,
            precision=precision if source.precision == "fp32" else source.precision,
            memory_bytes=limits.gpu_bytes(free_bytes),
            on_gpu=True,
        )
        return OnnxSession(source, session, device)


def _plug_in() -> Any:
    import importlib

    return importlib.import_module(_MODULE)


@cache
def _devices() -> list[Any]:
    """Return the cards that it supports; the library is registered once per process."""
    import onnxruntime

    plug_in = _plug_in()
    name = plug_in.get_ep_name()
    onnxruntime.register_execution_provider_library(name, plug_in.get_library_path())
    return [each for each in onnxruntime.get_ep_devices() if each.ep_name == name]
