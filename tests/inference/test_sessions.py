"""Sessions: the device that is said is the device that is used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from live_restore.errors import DeviceError, InferenceError
from live_restore.inference import sessions
from live_restore.inference.model import find_model
from live_restore.inference.sessions import OnnxSession, available_cores, cpu_name, cuda_obstacle
from tests.support.models import write_model

FAST = find_model("fast")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "cuda_obstacle", lambda: "no NVIDIA GPU was found")


def session(device: str) -> OnnxSession:
    return OnnxSession(FAST, FAST.read_bytes(), device, 1)


def test_cpu_as_asked_is_said_and_not_warned_about() -> None:
    device = session("cpu").device
    assert (device.name, device.provider) == ("cpu", "onnxruntime CPUExecutionProvider")
    assert device.hardware == cpu_name() != ""
    assert device.warning == ""


@pytest.mark.usefixtures("no_gpu")
def test_cpu_instead_of_a_gpu_is_said_loudly() -> None:
    device = session("auto").device
    assert device.name == "cpu"
    assert device.warning == "running on the CPU: no NVIDIA GPU was found"


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("wish", ["cuda", "cuda:1"])
def test_cuda_where_there_is_none_is_one_line(wish: str) -> None:
    with pytest.raises(DeviceError) as caught:
        session(wish)
    assert caught.value.exit_code == 2
    assert str(caught.value) == (
        f'device "{wish}" cannot be used: no NVIDIA GPU was found; or set device = "auto"'
    )


@pytest.mark.skipif(cuda_obstacle() != "no NVIDIA GPU was found", reason="needs a GPU build")
def test_a_runtime_that_falls_back_in_silence_is_found_out(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The GPU build without CUDA libraries runs on the CPU and tells nobody."""
    monkeypatch.setattr(sessions, "cuda_obstacle", lambda: "")
    with pytest.raises(DeviceError, match="CUDA"):
        session("cuda")
    found = session("auto").device
    assert found.name == "cpu"
    assert found.provider == "onnxruntime CPUExecutionProvider"
    assert "running on the CPU: " in found.warning
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err


def test_a_build_without_cuda_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    assert cuda_obstacle() == "this ONNX Runtime was built without CUDA"
    with pytest.raises(DeviceError, match="built without CUDA"):
        session("cuda:0")


def test_the_bundled_model_keeps_the_shape() -> None:
    tile = np.random.default_rng(1).random((1, 1, 4, 16, 20), np.float32)
    out = session("cpu").run(tile)
    assert (out.shape, out.dtype) == (tile.shape, np.float32)
    assert np.isfinite(out).all()


@pytest.mark.parametrize("shape", [(1, 2, 4, 16, 16), (1, 4, 16, 16)])
def test_a_tile_that_does_not_fit_the_model_is_an_inference_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(InferenceError, match="the model failed on a tile") as caught:
        session("cpu").run(np.zeros(shape, np.float32))
    assert "\n" not in str(caught.value)


def test_metadata_are_read(tmp_path: Path) -> None:
    path = write_model(tmp_path / "x.onnx", card="text")
    found = OnnxSession(path, path.read_bytes(), "cpu", 1)
    assert found.metadata == {"live_restore_card": "text"}


def test_cores_are_those_of_this_process() -> None:
    assert available_cores() >= 1
