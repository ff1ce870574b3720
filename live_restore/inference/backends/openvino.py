"""OpenVINO on Intel and AMD processors, and on Intel GPUs.

On processors with AMX its bfloat16 convolutions use the matrix unit, which ONNX Runtime's CPU
provider does not: 12 times the rate on a network of 32 channels (docs/explanation/speed.md).
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from typing import Any

import numpy as np

from live_restore.errors import DeviceError, ModelError
from live_restore.inference.backends.backend import Limits, ModelSource, tile_failure
from live_restore.inference.backends.onnx_counts import counts_source
from live_restore.inference.backends.session import (
    Counts,
    Device,
    Floats,
    InCounts,
    Scale,
    Shape5,
)
from live_restore.inference.device.hardware import available_cores, available_memory_bytes
from live_restore.inference.model import counts_graph
from live_restore.installation import install_with

_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


class OpenVINO:
    """The backends "openvino" (the processor) and "openvino-gpu" (an Intel GPU)."""

    def __init__(self, name: str, unit: str) -> None:
        self.name = name
        self._unit = unit
        self.on_cpu = unit == "CPU"

    def obstacle(self) -> str:
        """Return why OpenVINO cannot be tried."""
        if importlib.util.find_spec("openvino") is None:
            return f"OpenVINO is not installed; {install_with('openvino')}"
        if self.on_cpu or any(d.startswith(self._unit) for d in _core().available_devices):
            return ""
        return "OpenVINO finds no Intel GPU"

    def precisions(self) -> tuple[str, ...]:
        """Return float32 and the narrower type that the device has units for.

        On processors that is bfloat16: OpenVINO computes float16 there, too, but at half the rate
        of float32.
        """
        narrow = "BF16" if self.on_cpu else "FP16"
        has_it = narrow in _core().get_property(self._unit, "OPTIMIZATION_CAPABILITIES")
        return ("fp32", narrow.lower()) if has_it else ("fp32",)

    def version(self) -> str:
        """Return the runtime and its version."""
        from importlib.metadata import version

        return f"openvino {version('openvino')}"

    def open(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> OpenVINOSession:
        """Return a session for tiles of one shape."""
        request, device = self._compiled(source, shape, precision, index, limits)
        return OpenVINOSession(request, shape, device)

    def open_counts(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> OpenVINOCountsSession:
        """Return a session for tiles of grey values; see ``TakesCounts``."""
        if precision != "fp32":
            # OpenVINO would compute the grey values in that, too (seen: up to 67 of them wrong).
            raise DeviceError(f"OpenVINO rounds grey values in {precision}")
        extended = counts_source(source, shape)
        request, device = self._compiled(extended, shape, precision, index, limits)
        return OpenVINOCountsSession(request, shape, device)

    def _compiled(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> tuple[Any, Device]:
        core = _core()
        unit = f"{self._unit}.{index}" if index else self._unit
        hints: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
        }
        if self.on_cpu:
            hints["INFERENCE_NUM_THREADS"] = limits.threads or available_cores()
            # Pinned threads would hold cores that the acquisition program may want.
            hints["ENABLE_CPU_PINNING"] = False
        try:
            model = core.read_model(source.content, b"")
            if len(model.inputs) == 1:  # else it has been given its shape
                model.reshape(list(shape))
            compiled = core.compile_model(model, unit, hints)
            request = compiled.create_infer_request()
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1][:160]
            raise ModelError(f"cannot be loaded by OpenVINO ({reason})", source.path) from None
        device = Device(
            name=self.name if not index else f"{self.name}:{index}",
            provider=f"openvino {unit}",
            hardware=str(core.get_property(unit, "FULL_DEVICE_NAME")).strip(),
            precision=precision,
            memory_bytes=available_memory_bytes() if self.on_cpu else 0,
            on_gpu=not self.on_cpu,
        )
        return request, device


class OpenVINOSession:
    """A compiled model for one tile shape."""

    def __init__(self, request: Any, shape: Shape5, device: Device) -> None:
        self.device = device
        self._request = request
        self._shape = shape

    def run(self, tile: Floats) -> Floats:
        """Run one tile of the session's shape."""
        if tile.shape != self._shape:
            raise ValueError(f"a tile of {tile.shape} for a session of {self._shape}")
        try:
            outputs = self._request.infer({0: tile}, share_inputs=True)
        except (RuntimeError, MemoryError) as error:
            raise tile_failure(tile.shape, error) from error
        return np.asarray(outputs[0])


class OpenVINOCountsSession:
    """The same of a model that takes grey values."""

    def __init__(self, request: Any, shape: Shape5, device: Device) -> None:
        self.device = device
        self._request = request
        self._shape = shape

    def run_counts(self, tile: Counts, scale: Scale) -> InCounts:
        """Run one tile of the session's shape."""
        if tile.shape != self._shape:
            raise ValueError(f"a tile of {tile.shape} for a session of {self._shape}")
        names = (counts_graph.LOW, counts_graph.FACTOR, counts_graph.DIVISOR)
        numbers = (np.asarray(number, np.float32) for number in scale)
        given = {counts_graph.COUNTS: tile, **dict(zip(names, numbers, strict=True))}
        try:
            found = self._request.infer(given, share_inputs=True)
        except (RuntimeError, MemoryError) as error:
            raise tile_failure(tile.shape, error) from error
        names = (counts_graph.RESTORED, counts_graph.OUTSIDE, counts_graph.BROKEN)
        return InCounts.of(*(found[name] for name in names))


@functools.cache
def _core() -> Any:
    # One for the whole process, as its makers advise: compiled models live in its plugins.
    # Importing openvino reports that to its makers over the network, from a process and a thread of
    # its own. It does not where this package is missing, and an instrument PC has no business to.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino.Core()
