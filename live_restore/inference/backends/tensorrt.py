"""TensorRT through ONNX Runtime: engines per model, tile shape and GPU, built on request.

Not yet run on a GPU. Building takes minutes, so it never happens while stacks arrive: only
``live-restore prepare`` builds, everything else uses what is there.
"""

from __future__ import annotations

from pathlib import Path

from live_restore.errors import DeviceError
from live_restore.files.user_folders import state_folder
from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.onnx import CPU, create, runtime_version
from live_restore.inference.backends.onnx_cuda import BoundSession, cuda_obstacle
from live_restore.inference.backends.session import Device, Shape5
from live_restore.inference.device.hardware import nvidia_gpu
from live_restore.installation import pip_install

_PROVIDER = "TensorrtExecutionProvider"
_INPUT = "input"  # what live-restore-export calls it


def engine_folder(source: ModelSource, shape: Shape5) -> Path:
    """Return where the engines of a model and a tile shape are kept on this computer."""
    tile = "x".join(map(str, shape))
    return state_folder() / "engines" / f"{source.digest[:16]}-{tile}"


class TensorRT:
    """The backend "tensorrt"; float32 models run in float32, reduced ones in their own types."""

    name = "tensorrt"
    on_cpu = False

    def obstacle(self) -> str:
        """Return why TensorRT cannot be tried."""
        import importlib.util

        import onnxruntime

        if _PROVIDER not in onnxruntime.get_available_providers():
            return "this ONNX Runtime was built without TensorRT"
        if why_not := cuda_obstacle():
            return why_not
        if importlib.util.find_spec("tensorrt") is None:
            remedy = pip_install("tensorrt-cu13<11")
            return f"TensorRT 10, which this ONNX Runtime loads, is not installed; {remedy}"
        return ""

    def precisions(self) -> tuple[str, ...]:
        """Return what it computes float32 models in."""
        return ("fp32",)

    def version(self) -> str:
        """Return the runtimes and their versions."""
        from importlib.metadata import version

        return f"{runtime_version()}, tensorrt {version('tensorrt')}"

    def open(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> BoundSession:
        """Return a session on engines that are there; with ``limits.build``, build them."""
        import tensorrt  # type: ignore[import-not-found, unused-ignore]  # noqa: F401 - loads its libraries

        folder = engine_folder(source, shape)
        if not limits.build and not any(folder.glob("*.engine")):
            tile = ",".join(map(str, shape[2:]))
            raise DeviceError(
                f"no TensorRT engine was built for tiles of {tile}",
                source.path,
                f"run: live-restore prepare --device tensorrt --shape {tile}",
            )
        folder.mkdir(parents=True, exist_ok=True)
        sizes = f"{_INPUT}:{'x'.join(map(str, shape))}"
        options = {
            "device_id": index,
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": str(folder),
            "trt_profile_min_shapes": sizes,
            "trt_profile_opt_shapes": sizes,
            "trt_profile_max_shapes": sizes,
        }
        beside: dict[str, int] = {"device_id": index}
        hardware, free_bytes = nvidia_gpu(index)
        if limits.gpu_memory_gb is not None:
            most = int(limits.gpu_memory_gb * 1e9)
            # Weights and features are outside these; tiles are planned for what is left.
            options["trt_max_workspace_size"] = most // 2
            beside["gpu_mem_limit"] = most
        providers = [(_PROVIDER, options), ("CUDAExecutionProvider", beside), CPU]
        session = create(source, providers, limits)
        if session.get_providers()[0] != _PROVIDER:
            raise DeviceError("the TensorRT libraries could not be loaded")
        device = Device(
            name=f"tensorrt:{index}",
            provider=f"onnxruntime {_PROVIDER}",
            hardware=hardware,
            precision=precision,
            memory_bytes=limits.gpu_bytes(free_bytes),
            on_gpu=True,
        )
        return BoundSession(source, session, device, shape, index)
