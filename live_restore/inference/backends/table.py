"""The backends there are (a new one: a file here and a line below), and what device names mean."""

from __future__ import annotations

from live_restore.inference.backends.backend import Backend
from live_restore.inference.backends.cuda_kernels import CudaKernels
from live_restore.inference.backends.directml import DirectML
from live_restore.inference.backends.onnx_cpu import OnnxCpu
from live_restore.inference.backends.onnx_cuda import OnnxCuda
from live_restore.inference.backends.openvino import OpenVINO
from live_restore.inference.backends.plug_in import plug_ins
from live_restore.inference.backends.tensorrt import TensorRT
from live_restore.inference.backends.tensorrt_rtx import TensorRTForRTX


def make_backends() -> tuple[Backend, ...]:
    """Return every backend: ours, those first that are likely to be the fastest, then others'.

    Where two are equally fast, the first one is taken.
    """
    ours = (
        TensorRT(),
        TensorRTForRTX(),
        OnnxCuda(),
        CudaKernels(),
        DirectML(),
        OpenVINO("openvino-gpu", "GPU"),
        OpenVINO("openvino", "CPU"),
        OnnxCpu(),
    )
    return (*ours, *plug_ins(backend.name for backend in ours))


def parse_device(device: str) -> tuple[str, int]:
    """Return the backend's name and the number of the device.

    Examples
    --------
    >>> parse_device("cuda:1"), parse_device("auto")
    (('cuda', 1), ('auto', 0))
    """
    request, _, number = device.partition(":")
    return request, int(number or 0)
