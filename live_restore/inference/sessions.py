"""Sessions: one model on one device behind one seam. ONNX Runtime lives here and nowhere else."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from live_restore.errors import DeviceError, InferenceError, ModelError

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Device:
    """Where a model really runs.

    Parameters
    ----------
    name
        "cpu" or "cuda:0".
    provider
        The runtime and its provider, as the runtime itself reported it.
    hardware
        Name of the processor or card, as far as it can be told.
    warning
        Why this is not what a person would hope for; empty when it is.
    """

    name: str
    provider: str
    hardware: str
    warning: str = ""


class Session(Protocol):
    """A warm model."""

    device: Device
    metadata: dict[str, str]

    def run(self, tile: Floats) -> Floats:
        """Run one (N, C, Z, Y, X) float32 tile; raises ``InferenceError``."""
        ...


class OnnxSession:
    """An ONNX Runtime session whose real provider has been checked.

    Parameters
    ----------
    path
        The .onnx file, for messages.
    content
        Its bytes.
    device
        "auto", "cpu", "cuda" or "cuda:N".
    threads
        CPU threads; 0: one per core that this process may use.

    Raises
    ------
    ModelError
        The bytes are not an ONNX model that this runtime can load, or its input or output is not
        one 5-D float tensor.
    DeviceError
        CUDA was asked for by name and does not work.
    """

    def __init__(self, path: Path, content: bytes, device: str = "auto", threads: int = 0) -> None:
        wish, index = _parse_device(device)
        why_not = cuda_obstacle() if wish in ("auto", "cuda") else ""
        session: Any = None
        if wish in ("auto", "cuda") and not why_not:
            session, why_not = _try_cuda(path, content, index, threads)
        if session is None:
            # Also when CUDA was asked for: a model that the CPU refuses too is itself to blame.
            session = _create(path, content, ["CPUExecutionProvider"], threads)
        if wish == "cuda" and why_not:
            raise DeviceError(
                f'device "{device}" cannot be used: {why_not}', None, 'or set device = "auto"'
            )
        provider = session.get_providers()[0]
        on_cpu = provider == "CPUExecutionProvider"
        self.device = Device(
            name="cpu" if on_cpu else f"cuda:{index}",
            provider=f"onnxruntime {provider}",
            hardware=cpu_name() if on_cpu else f"NVIDIA GPU {index}",
            warning=f"running on the CPU: {why_not}" if wish == "auto" and on_cpu else "",
        )
        self._session = session
        self.metadata = dict(session.get_modelmeta().custom_metadata_map)
        self._input, self._output = _check_signature(path, session)

    def run(self, tile: Floats) -> Floats:
        """Run one (N, C, Z, Y, X) float32 tile."""
        try:
            return np.asarray(self._session.run([self._output], {self._input: tile})[0])
        except _runtime_errors() as error:
            raise InferenceError(
                f"the model failed on a tile of {tile.shape} ({str(error).splitlines()[0][:160]})",
                None,
                "set a smaller inference.max_tile_mvoxel if memory ran out",
            ) from error


def _parse_device(device: str) -> tuple[str, int]:
    wish, _, number = device.partition(":")
    return wish, int(number or 0)


def _try_cuda(path: Path, content: bytes, index: int, threads: int) -> tuple[Any, str]:
    """Return a session on a GPU, or ``None`` and why there is none."""
    providers = [("CUDAExecutionProvider", {"device_id": index}), "CPUExecutionProvider"]
    try:
        session = _create(path, content, providers, threads)
    except ModelError as error:  # no such GPU, no memory left on it, or the model
        return None, error.what
    if session.get_providers()[0] == "CUDAExecutionProvider":
        return session, ""
    return None, (
        "the CUDA libraries could not be loaded; "
        "install them with: pip install 'live-restore[cuda]'"
    )


def _runtime_errors() -> tuple[type[BaseException], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return tuple(
        getattr(state, name)
        for name in ("Fail", "RuntimeException", "InvalidArgument", "EPFail", "InvalidGraph",
                     "InvalidProtobuf", "NoSuchFile", "NotImplemented", "NoModel", "EngineError")
        if hasattr(state, name)
    )  # fmt: skip


def _create(path: Path, content: bytes, providers: list[Any], threads: int) -> Any:
    import onnxruntime

    # Failing to load CUDA is a long text on stderr otherwise; we look at the result instead.
    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads or available_cores()
    options.inter_op_num_threads = 1
    # Waiting threads that spin would take cores from the acquisition on the same PC.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if any(p != "CPUExecutionProvider" for p in providers) and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    try:
        return onnxruntime.InferenceSession(content, options, providers=providers)
    except _runtime_errors() as error:
        raise ModelError(
            f"is not a model that ONNX Runtime can load ({str(error).splitlines()[0][:160]})",
            path,
            "export it again with live-restore-export onnx",
        ) from None


def _check_signature(path: Path, session: Any) -> tuple[str, str]:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    good = len(inputs) == 1 and len(outputs) == 1
    good = good and all(
        t.type == "tensor(float)" and len(t.shape) == 5 for t in (*inputs, *outputs)
    )
    if not good:
        raise ModelError(
            "is an ONNX model, but not one (N, C, Z, Y, X) float tensor in and out",
            path,
            "export a 3D RCAN with live-restore-export onnx",
        )
    return inputs[0].name, outputs[0].name


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cuda_obstacle() -> str:
    """Return why CUDA cannot even be tried here, or "" when it is worth trying."""
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return "this ONNX Runtime was built without CUDA"
    if sys.platform == "win32":
        driver = Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "nvcuda.dll"
        present = driver.exists()
    else:
        present = Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()
    return "" if present else "no NVIDIA GPU was found"


def cpu_name() -> str:
    """Return the processor's name, as far as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
