"""ONNX Runtime on the CPU in float32: always there, and the path that the others must agree with.

Models are checked against it when they are exported (``live_restore_export.onnx.verify``).
"""

from __future__ import annotations

from live_restore.errors import ModelError
from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.onnx import CPU, OnnxSession, create, runtime_version
from live_restore.inference.backends.onnx_counts import OnnxCountsSession, create_counts
from live_restore.inference.backends.session import Device, Shape5
from live_restore.inference.device.hardware import available_memory_bytes, cpu_name


class TrustedSession(OnnxSession):
    """The session that also reads what is written into the model file."""

    def __init__(self, source: ModelSource, limits: Limits) -> None:
        session = create(source, [CPU], limits)
        super().__init__(source, session, _device())
        try:
            self.metadata = dict(session.get_modelmeta().custom_metadata_map)
        except UnicodeDecodeError:
            raise ModelError(
                "has metadata that are no text", source.path, "export it again"
            ) from None


class OnnxCpu:
    """The backend "cpu"."""

    name = "cpu"
    on_cpu = True

    def obstacle(self) -> str:
        """There is none."""
        return ""

    def precisions(self) -> tuple[str, ...]:
        """Return what it computes float32 models in."""
        return ("fp32",)

    def version(self) -> str:
        """Return the runtime and its version."""
        return runtime_version()

    def open(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> OnnxSession:
        """Return a session; it takes tiles of any shape."""
        del shape, precision, index
        return TrustedSession(source, limits)

    def open_counts(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> OnnxCountsSession:
        """Return a session for tiles of grey values; see ``TakesCounts``."""
        del precision, index
        return OnnxCountsSession(
            create_counts(source, shape, [CPU], limits), _device(), shape, "cpu", 0
        )


def _device() -> Device:
    return Device(
        name="cpu",
        provider=f"onnxruntime {CPU}",
        hardware=cpu_name(),
        memory_bytes=available_memory_bytes(),
    )
