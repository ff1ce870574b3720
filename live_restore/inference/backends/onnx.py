"""What all backends of ONNX Runtime share: loading, checking, running, its errors."""

from __future__ import annotations

from typing import Any

import numpy as np

from live_restore.errors import DeviceMemoryError, ModelError
from live_restore.inference.backends.backend import (
    Limits,
    ModelSource,
    ran_out_of_memory,
    tile_failure,
)
from live_restore.inference.backends.session import Device, Floats, Shape5
from live_restore.inference.device.hardware import available_cores

CPU = "CPUExecutionProvider"
# What live-restore-export calls the axes whose sizes a model leaves open.
_FREE_AXES = ("N", "Z", "Y", "X")


def runtime_version() -> str:
    """Return "onnxruntime" and its version."""
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"


def runtime_errors() -> tuple[type[BaseException], ...]:
    """Return what ONNX Runtime raises; its classes have no common base of their own.

    A ``RuntimeError`` is what C++ exceptions of none of its classes become.
    """
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    named = tuple(
        getattr(state, name)
        for name in ("Fail", "RuntimeException", "InvalidArgument", "EPFail", "InvalidGraph",
                     "InvalidProtobuf", "NoSuchFile", "NotImplemented", "NoModel", "EngineError")
        if hasattr(state, name)
    )  # fmt: skip
    return (*named, RuntimeError)


def tile_errors() -> tuple[type[BaseException], ...]:
    """Return what running a tile, or finding room for one, may raise."""
    return (MemoryError, *runtime_errors())


def create(
    source: ModelSource,
    providers: list[Any],
    limits: Limits,
    *,
    memory_pattern: bool = True,
    static: Shape5 | None = None,
) -> Any:
    """Return an ``InferenceSession``; the caller compares its providers with what was asked.

    With ``static``, for tiles of that shape alone.

    Raises
    ------
    ModelError
        The runtime cannot load the model with these providers.
    DeviceMemoryError
        A device has no memory for it.
    """
    options = _options(limits, static)
    options.enable_mem_pattern = memory_pattern
    return _created(source, options, providers)


def create_on(
    source: ModelSource, devices: list[Any], asked: dict[str, str], limits: Limits, static: Shape5
) -> Any:
    """Return a session on devices of a plug-in, for tiles of one shape; raises as ``create``."""
    options = _options(limits, static)
    options.add_provider_for_devices(devices, asked)
    return _created(source, options, None)


def _options(limits: Limits, static: Shape5 | None) -> Any:
    import onnxruntime

    # Failing to load CUDA is a long text on stderr otherwise; we look at the result instead.
    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = limits.threads or available_cores()
    options.inter_op_num_threads = 1
    # Waiting threads that spin would take cores from the acquisition on the same PC.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for axis, size in zip(_FREE_AXES, (static or ())[:1] + (static or ())[2:], strict=False):
        options.add_free_dimension_override_by_name(axis, size)
    return options


def _created(source: ModelSource, options: Any, providers: list[Any] | None) -> Any:
    import onnxruntime

    # Names in a damaged model need not be text.
    failures: tuple[type[BaseException], ...] = (UnicodeDecodeError, *tile_errors())
    try:
        # Its own fallback would run on the processor, and print on the screen why.
        return onnxruntime.InferenceSession(
            source.content, options, providers=providers, enable_fallback=0
        )
    except failures as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        if providers != [CPU] and ran_out_of_memory(error):
            raise DeviceMemoryError(
                f"a device has too little memory to open the model ({reason})",
                source.path,
                "close what else uses it, or set a smaller inference.max_tile_mvoxel",
            ) from None
        raise ModelError(
            f"is not a model that ONNX Runtime can load ({reason})",
            source.path,
            "export it again with live-restore-export onnx",
        ) from None


def signature(source: ModelSource, session: Any) -> tuple[str, str]:
    """Return the names of input and output; raises ``ModelError`` where there are others."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    try:
        good = len(inputs) == 1 and len(outputs) == 1
        good = good and all(
            t.type == "tensor(float)" and len(t.shape) == 5 for t in (*inputs, *outputs)
        )
        if good:
            return inputs[0].name, outputs[0].name
    except UnicodeDecodeError:
        pass  # a name that is no text is none of an export of ours, either
    raise ModelError(
        "is an ONNX model, but not one (N, C, Z, Y, X) float tensor in and out",
        source.path,
        "export a 3D RCAN with live-restore-export onnx",
    )


class OnnxSession:
    """An ONNX Runtime session on a device that keeps its tensors in main memory."""

    def __init__(self, source: ModelSource, session: Any, device: Device) -> None:
        self.device = device
        self._session = session
        self._input, self._output = signature(source, session)

    def run(self, tile: Floats) -> Floats:
        """Run one (N, C, Z, Y, X) float32 tile."""
        try:
            return np.asarray(self._session.run([self._output], {self._input: tile})[0])
        except tile_errors() as error:
            raise tile_failure(tile.shape, error) from error
