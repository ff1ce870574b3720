"""Sessions: the device that is said is the device that is used."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from live_restore.errors import DeviceError, InferenceError
from live_restore.inference import load
from live_restore.inference.backends import onnx, onnx_cuda, tensorrt_rtx
from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.cuda_options import FORMS, CudaForm, provider_options
from live_restore.inference.backends.onnx_cpu import TrustedSession
from live_restore.inference.backends.onnx_cuda import cuda_obstacle
from live_restore.inference.backends.openvino import OpenVINO
from live_restore.inference.backends.session import Device
from live_restore.inference.device.hardware import available_cores, cpu_name
from live_restore.inference.load import find_model, load_model
from tests.support.models import write_model

FAST = find_model("fast")
needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="needs the extra [openvino]"
)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_cuda, "cuda_obstacle", lambda: "no NVIDIA GPU was found")


def source(path: Path = FAST) -> ModelSource:
    return ModelSource.of(path, path.read_bytes())


def trusted(path: Path = FAST) -> TrustedSession:
    return TrustedSession(source(path), Limits(threads=1))


def device(request: str) -> Device:
    return load_model(FAST, request, 1).session.device


def test_cpu_as_asked_is_said_and_not_warned_about() -> None:
    found = device("cpu")
    assert (found.name, found.provider) == ("cpu", "onnxruntime CPUExecutionProvider")
    assert found.hardware == cpu_name() != ""
    assert (found.warning, found.precision, found.reason) == ("", "fp32", 'device = "cpu"')


@pytest.mark.usefixtures("no_gpu")
def test_cpu_instead_of_a_gpu_is_said_loudly() -> None:
    assert device("auto").warning == "running on the CPU: no NVIDIA GPU was found"


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("asked", ["cuda", "cuda:1"])
def test_cuda_where_there_is_none_is_one_line(asked: str) -> None:
    with pytest.raises(DeviceError) as caught:
        device(asked)
    assert caught.value.exit_code == 2
    assert str(caught.value) == (
        f'device "{asked}" cannot be used: no NVIDIA GPU was found; or set device = "auto"'
    )


@pytest.mark.skipif(cuda_obstacle() != "no NVIDIA GPU was found", reason="needs a GPU build")
def test_a_runtime_that_falls_back_in_silence_is_found_out(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The GPU build without CUDA libraries runs on the CPU and tells nobody."""
    monkeypatch.setattr(onnx_cuda, "cuda_obstacle", lambda: "")
    with pytest.raises(DeviceError, match="CUDA"):
        device("cuda")
    found = device("auto")
    assert found.name in ("cpu", "openvino")
    assert "running on the CPU: " in found.warning
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err


def test_a_build_without_cuda_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    assert cuda_obstacle() == "this ONNX Runtime was built without CUDA"
    for request, why in (("cuda:0", "CUDA"), ("tensorrt", "TensorRT"), ("directml", "DirectML")):
        with pytest.raises(DeviceError, match=f"built without {why}"):
            device(request)


def test_openvino_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DeviceError, match=r"pip install .*\[openvino\]"):
        device("openvino")


@needs_openvino
def test_openvino_computes_what_onnx_runtime_does() -> None:
    tile = np.random.default_rng(1).random((1, 1, 6, 30, 22), np.float32)
    before = tile.copy()
    session = OpenVINO("openvino", "CPU").open(source(), (1, 1, 6, 30, 22), "fp32", 0, Limits(1))
    out = session.run(tile)
    np.testing.assert_allclose(out, trusted().run(tile), atol=1e-5)
    assert (session.device.name, session.device.provider) == ("openvino", "openvino CPU")
    first = out.copy()
    session.run(tile * 2)
    assert np.array_equal(out, first), "a result belongs to its caller, not to the next tile"
    assert np.array_equal(tile, before)


@needs_openvino
def test_openvino_tells_nobody() -> None:
    code = (
        "import sys, threading; from live_restore.inference.backends.openvino import OpenVINO; "
        "assert OpenVINO('openvino', 'CPU').precisions()[0] == 'fp32'; "
        "assert 'openvino' in sys.modules; "
        "sys.exit('openvino_telemetry.main' in sys.modules or threading.active_count() > 1)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_bundled_model_keeps_the_shape() -> None:
    tile = np.random.default_rng(1).random((1, 1, 4, 16, 20), np.float32)
    out = trusted().run(tile)
    assert (out.shape, out.dtype) == (tile.shape, np.float32)
    assert np.isfinite(out).all()


@pytest.mark.parametrize("shape", [(1, 2, 4, 16, 16), (1, 4, 16, 16)])
def test_a_tile_that_does_not_fit_the_model_is_an_inference_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(InferenceError, match="the model failed on a tile") as caught:
        trusted().run(np.zeros(shape, np.float32))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", FORMS, ids=[form.name for form in FORMS])
def test_a_form_adds_to_what_all_forms_are_asked_for(form: CudaForm) -> None:
    model = ModelSource(Path("m.onnx"), b"", "0" * 64, "fp16")
    plain = provider_options(model, "fp32", 0, Limits())
    assert provider_options(model, "fp32", 0, Limits(), form) == {**plain, **form.options}
    assert form.static or "enable_cuda_graph" not in form.options, "a graph has one shape"


def test_a_session_for_one_shape_gives_the_same_voxels() -> None:
    shape = (1, 1, 6, 30, 22)
    tile = np.random.default_rng(1).random(shape, np.float32)
    session = onnx.create(source(), [onnx.CPU], Limits(threads=1), static=shape)
    assert session.get_inputs()[0].shape == list(shape)
    found = session.run(None, {session.get_inputs()[0].name: tile})[0]
    np.testing.assert_array_equal(found, trusted().run(tile))


def test_a_plug_in_that_is_not_there_or_finds_no_card_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = tensorrt_rtx.TensorRTForRTX()
    if importlib.util.find_spec("onnxruntime_ep_nv_tensorrt_rtx") is None:
        with pytest.raises(DeviceError, match=r"not installed; .*\[rtx\]"):
            device("tensorrt-rtx")
    plug_in = types.SimpleNamespace(
        get_ep_name=lambda: "NvTensorRTRTXExecutionProvider", get_library_path=lambda: "/no/such.so"
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    monkeypatch.setattr(tensorrt_rtx, "_plug_in", lambda: plug_in)
    monkeypatch.setattr(tensorrt_rtx, "nvidia_obstacle", lambda: "")
    assert "could not be loaded" in backend.obstacle(), "the real runtime refuses the library"
    monkeypatch.setattr(tensorrt_rtx, "_devices", list)
    assert "no card" in backend.obstacle()
    options = tensorrt_rtx.plug_in_options(Limits(gpu_memory_gb=4))
    assert options["nv_max_workspace_size"] == "2000000000"


def test_metadata_are_read(tmp_path: Path) -> None:
    path = write_model(tmp_path / "x.onnx", card="text")
    assert trusted(path).metadata == {"live_restore_card": "text"}


def test_cores_are_those_of_this_process() -> None:
    assert available_cores() >= 1


@pytest.mark.parametrize(
    ("in_file", "precision", "tensor_cores"),
    [("fp32", "fp32", 0), ("fp32", "tf32", 1), ("fp16", "fp32", 1), ("bf16", "fp32", 1)],
)
def test_half_precision_keeps_the_tensor_cores(
    in_file: str, precision: str, tensor_cores: int
) -> None:
    """Told not to use TF32, ONNX Runtime drops the tensor cores of every type."""
    model = ModelSource(Path("m.onnx"), b"", "0" * 64, in_file)
    options = provider_options(model, precision, 1, Limits(gpu_memory_gb=2))
    assert options["use_tf32"] == tensor_cores
    assert (options["device_id"], options["gpu_mem_limit"]) == (1, 2_000_000_000)
    assert "gpu_mem_limit" not in provider_options(model, precision, 0, Limits())


def test_a_model_says_what_its_file_computes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ModelSource] = []

    def chosen(source: ModelSource, *_: object) -> object:
        seen.append(source)
        return object()

    monkeypatch.setattr(load, "ChosenSession", chosen)
    load.load_model(FAST, "cpu")
    assert seen[0].precision == "fp32"


@pytest.mark.gpu
@pytest.mark.skipif(bool(cuda_obstacle()), reason=cuda_obstacle())
@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_cuda_gives_the_right_numbers_in_the_precision_that_it_names(precision: str) -> None:
    """An error of 3e-4 under the name fp32 would be TF32 in silence; float32 has 1e-6."""
    shape = (1, 1, 16, 128, 128)
    tile = np.random.default_rng(1).random(shape, dtype=np.float32)
    session = onnx_cuda.OnnxCuda().open(source(), shape, precision, 0, Limits())
    assert (session.device.precision, session.device.on_gpu) == (precision, True)
    right = trusted().run(tile)
    error = float(np.sqrt(np.mean((session.run(tile) - right) ** 2)) / right.std())
    assert error < {"fp32": 5e-5, "tf32": 2e-3}[precision]
