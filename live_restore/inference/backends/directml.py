"""ONNX Runtime through DirectML: Windows PCs whose GPU is not NVIDIA's.

Not yet run. Needs ``onnxruntime-directml`` in place of ``onnxruntime-gpu``.
"""

from __future__ import annotations

from live_restore.errors import DeviceError
from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.onnx import CPU, OnnxSession, create, runtime_version
from live_restore.inference.backends.session import Device, Shape5

_PROVIDER = "DmlExecutionProvider"


class DirectML:
    """The backend "directml"."""

    name = "directml"
    on_cpu = False

    def obstacle(self) -> str:
        """Return why DirectML cannot be tried."""
        import onnxruntime

        if _PROVIDER in onnxruntime.get_available_providers():
            return ""
        return "this ONNX Runtime was built without DirectML"

    def precisions(self) -> tuple[str, ...]:
        """Return what it computes float32 models in."""
        return ("fp32",)

    def version(self) -> str:
        """Return the runtime and its version."""
        return runtime_version()

    def open(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> OnnxSession:
        """Return a session for tiles of one shape."""
        del shape
        # DirectML refuses sessions that plan memory ahead.
        session = create(
            source, [(_PROVIDER, {"device_id": index}), CPU], limits, memory_pattern=False
        )
        if session.get_providers()[0] != _PROVIDER:
            raise DeviceError("DirectML could not be loaded", None, "update the graphics driver")
        device = Device(
            name=f"directml:{index}",
            provider=f"onnxruntime {_PROVIDER}",
            hardware=f"GPU {index}",
            precision=precision,
            on_gpu=True,
        )
        return OnnxSession(source, session, device)
