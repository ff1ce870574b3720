"""Grey values that go to the device and come back from it: the same voxels, to the bit."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import tifffile

from live_restore.errors import DeviceError, InferenceError, ModelError, RuntimeFailureError
from live_restore.inference import load
from live_restore.inference.backends.backend import Limits, ModelSource, TakesCounts
from live_restore.inference.backends.onnx_cpu import OnnxCpu
from live_restore.inference.backends.openvino import OpenVINO
from live_restore.inference.backends.session import Counts, Device, InCounts, Scale, Shape5
from live_restore.inference.device import measure
from live_restore.inference.device.cache import DeviceCache
from live_restore.inference.device.choice import ChosenSession, DeviceRequest
from live_restore.inference.image.finished import finished_volume
from live_restore.inference.image.intensity import IntensityScale, scale_from_percentiles
from live_restore.inference.load import bundled_models, find_model
from live_restore.inference.model.card import ModelCard
from live_restore.inference.model.model import Model
from live_restore.inference.restorer import Restorer
from live_restore.settings.camera import CameraSettings
from live_restore.settings.model import InferenceSettings
from live_restore.testing.fakes import FakeBackend
from tests.support.models import write_model

BACKENDS = {"cpu": OnnxCpu(), "openvino": OpenVINO("openvino", "CPU")}
SHAPE: Shape5 = (1, 1, 16, 64, 64)
STACK = np.random.default_rng(3).integers(90, 400, SHAPE[2:]).astype(np.uint16)
CARD = ModelCard(name="m")


def source(path: Path) -> ModelSource:
    return ModelSource.of(path, path.read_bytes())


def shape_of(stack: np.ndarray) -> Shape5:
    z, y, x = stack.shape
    return (1, 1, z, y, x)


def on_the_processor(
    backend: OnnxCpu | OpenVINO,
    model: ModelSource,
    stack: np.ndarray,
    scale: IntensityScale,
    threads: int = 1,
) -> tuple[np.ndarray, int]:
    session = backend.open(model, shape_of(stack), "fp32", 0, Limits(threads))
    network = session.run(scale.normalise(stack[np.newaxis, np.newaxis]))
    return finished_volume(network, scale, stack.dtype)


def on_the_device(
    backend: OnnxCpu | OpenVINO,
    model: ModelSource,
    stack: np.ndarray,
    scale: IntensityScale,
    threads: int = 1,
) -> InCounts:
    session = backend.open_counts(model, shape_of(stack), "fp32", 0, Limits(threads))
    tile = stack[np.newaxis, np.newaxis]
    first = session.run_counts(tile, scale.as_float32())
    kept = first.volume.copy()
    session.run_counts(tile // 2, scale.as_float32())
    assert np.array_equal(first.volume, kept), "a result belongs to its caller"
    return first


STACKS = ("chromosomes", "golgi", "mitotic_plate", "nuclear_envelope", "nuclei_small")


def takes_long(model: str, backend: str, name: str) -> bool:
    """Return whether it is for ``pytest -m slow``.

    The deep networks take two seconds a stack, and OpenVINO seconds to compile them; what is scaled
    and rounded is the same for all models.
    """
    return model != "fast" and (backend == "openvino" or name != STACKS[0])


@pytest.mark.parametrize(
    ("model", "backend", "name"),
    [
        pytest.param(*each, marks=pytest.mark.slow if takes_long(*each) else ())
        for each in itertools.product(bundled_models(), BACKENDS, STACKS)
    ],
)
def test_voxels_are_equal_to_the_bit(
    shared_data: Path, model: str, backend: str, name: str
) -> None:
    if why_not := BACKENDS[backend].obstacle():
        pytest.skip(why_not)
    raw = tifffile.imread(shared_data / "stacks" / f"{name}.tif")
    side = 80 if model == "fast" else 32
    raw = np.ascontiguousarray(raw[:6, 10 : 10 + side, :side], np.uint16)
    # Scaled so that what noise adds to the brightest is clipped, and some of the darkest.
    for scale in (scale_from_percentiles(raw, 2, 99.9), IntensityScale(1.5, 60000.0)):
        given = BACKENDS[backend], source(find_model(model)), raw, scale
        expected, clipped = on_the_processor(*given)
        made = on_the_device(*given)
        assert np.array_equal(made.volume, expected)
        assert (made.clipped_voxels, made.not_finite) == (clipped, 0)


@pytest.mark.slow
@pytest.mark.timeout(800)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("model", bundled_models())
def test_voxels_of_whole_stacks_are_equal_to_the_bit(
    shared_data: Path, model: str, backend: str
) -> None:
    """Each stack as one tile, brought to the model's folds as the restorer does: minutes."""
    if why_not := BACKENDS[backend].obstacle():
        pytest.skip(why_not)
    path = find_model(model)
    multiple = load.load_trusted(path, Limits(2))[1].shape_multiple_zyx
    stacks = sorted((shared_data / "stacks").glob("*.tif"))
    assert len(stacks) >= len(STACKS)
    for stack in stacks:
        raw = tifffile.imread(stack).astype(np.uint16)
        grown = [(0, -size % m) for size, m in zip(raw.shape, multiple, strict=True)]
        raw = np.pad(raw, grown, mode="reflect")
        given = BACKENDS[backend], source(path), raw, scale_from_percentiles(raw, 2, 99.9)
        expected, clipped = on_the_processor(*given, threads=2)
        made = on_the_device(*given, threads=2)
        assert np.array_equal(made.volume, expected), stack.name
        assert (made.clipped_voxels, made.not_finite) == (clipped, 0), stack.name


def test_voxels_are_rounded_as_on_the_processor() -> None:
    """As the test above, without the shared stacks."""
    raw = np.ascontiguousarray(STACK[:4, :32, :32])
    given = OnnxCpu(), source(find_model("fast")), raw, scale_from_percentiles(raw, 2, 99.9)
    assert np.array_equal(on_the_device(*given).volume, on_the_processor(*given)[0])


def test_what_lies_outside_is_clipped_and_counted(tmp_path: Path) -> None:
    model = source(write_model(tmp_path / "m.onnx", operator="Neg"))
    scale = IntensityScale(100.0, 300.0)
    expected, clipped = on_the_processor(OnnxCpu(), model, STACK, scale)
    made = on_the_device(OnnxCpu(), model, STACK, scale)
    assert made.clipped_voxels == clipped > STACK.size // 2
    assert np.array_equal(made.volume, expected)


def test_what_is_no_number_is_counted(tmp_path: Path) -> None:
    model = source(write_model(tmp_path / "m.onnx", operator="Log"))
    made = on_the_device(OnnxCpu(), model, STACK, IntensityScale(100.0, 300.0))
    assert made.not_finite == np.count_nonzero(STACK <= 100), "log of 0, and of less"


@pytest.mark.parametrize(
    "spoil", [lambda content: content[: len(content) // 2], lambda _: b"", lambda _: b"\xff" * 20]
)
def test_what_is_no_model_is_refused_in_one_line(spoil: object) -> None:
    assert callable(spoil)
    content = spoil(find_model("fast").read_bytes())
    with pytest.raises(ModelError, match=r"m\.onnx: cannot take grey values") as caught:
        OnnxCpu().open_counts(ModelSource(Path("m.onnx"), content, ""), SHAPE, "fp32", 0, Limits(1))
    assert str(caught.value).isprintable()


def test_a_model_of_two_inputs_is_refused(tmp_path: Path) -> None:
    model = source(write_model(tmp_path / "m.onnx", operator="Add", inputs=2))
    with pytest.raises(ModelError, match="it is not one tensor in and one out"):
        OnnxCpu().open_counts(model, SHAPE, "fp32", 0, Limits(1))


def test_openvino_in_reduced_precision_would_round_grey_values() -> None:
    with pytest.raises(DeviceError, match="rounds grey values in bf16"):
        BACKENDS["openvino"].open_counts(source(find_model("fast")), SHAPE, "bf16", 0, Limits(1))


class FakeGpu(FakeBackend):
    """A GPU that halves, in network units and in grey values."""

    def __init__(self, name: str = "cuda", factor: float = 0.5, fails: str = "") -> None:
        super().__init__(name)
        self.factor = np.float32(factor)
        self.fails = fails
        self.ran: list[tuple[int, ...]] = []

    def open_counts(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> FakeGpu:
        del source, shape, precision, index, limits
        return self

    @property
    def device(self) -> Device:
        return Device(self.name, self.name, "fake", on_gpu=not self.on_cpu)

    def run_counts(self, tile: Counts, scale: Scale) -> InCounts:
        self.ran.append(tile.shape)
        if self.fails and len(self.ran) > 1:  # the known answer comes first
            raise RuntimeFailureError(self.fails)
        low, factor, divisor = scale
        adu = (tile.astype(np.float32) - low) * factor * self.factor * divisor + low
        return InCounts(np.rint(adu).astype(np.uint16), 0, 0)


def chosen(folder: Path, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> ChosenSession:
    monkeypatch.setattr(measure, "_MEASURING_S", 0.01)
    trusted = FakeBackend("cpu").open(ModelSource(Path("m"), b"", ""), SHAPE, "fp32", 0, Limits())
    return ChosenSession(
        ModelSource(Path("m.onnx"), b"", "d" * 64),
        CARD,
        trusted,
        DeviceRequest(backend.name),
        [backend],
        DeviceCache(folder / "backends.json"),
    )


def restored(session: ChosenSession, camera: CameraSettings | None = None) -> np.ndarray:
    model = Model(Path("m.onnx"), "0" * 64, CARD, session)
    settings = InferenceSettings(max_tile_mvoxel=10)
    volume = Restorer(model, settings, camera=camera).restore(STACK).volume
    return np.asarray(volume)


def test_a_gpu_gets_grey_values_and_gives_them_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = FakeGpu()
    session = chosen(tmp_path, gpu, monkeypatch)
    assert isinstance(gpu, TakesCounts)
    in_counts = restored(session)
    assert gpu.ran == [SHAPE, SHAPE], "the known answer, and the stack"
    plain = restored(chosen(tmp_path, FakeBackend("cuda"), monkeypatch))
    assert np.array_equal(in_counts, plain)
    with_camera = CameraSettings(gain_adu_per_e=1, offset_adu=100, read_noise_e=1)
    restored(session, with_camera)
    assert len(gpu.ran) == 2, "what is looked at further is wanted in network units"


def test_on_the_processor_nothing_is_gained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = FakeGpu("openvino")
    restored(chosen(tmp_path, backend, monkeypatch))
    assert backend.ran == []


def test_whether_a_device_gains_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is in a table on the disk, which no stack should have to wait for."""
    session = chosen(tmp_path, FakeGpu("openvino"), monkeypatch)
    restored(session)
    asked: list[str] = []
    monkeypatch.setattr(DeviceCache, "get", lambda _, key: asked.append(key))
    restored(session)
    assert asked == []


@pytest.mark.parametrize(
    ("gpu", "why"),
    [
        (FakeGpu(factor=0.6), "it computes wrong numbers"),
        (FakeGpu(fails="the card is gone"), "the card is gone"),
    ],
)
def test_grey_values_that_are_wrong_are_not_used_and_the_reason_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: FakeGpu, why: str
) -> None:
    session = chosen(tmp_path, gpu, monkeypatch)
    plain = restored(chosen(tmp_path, FakeBackend("cuda"), monkeypatch))
    assert np.array_equal(restored(session), plain)
    assert f"scaled on the processor: {why}" in session.device.reason
    ran = len(gpu.ran)
    restored(session)
    assert len(gpu.ran) == ran, "it is not tried again"


def test_what_is_no_number_never_becomes_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = FakeGpu()
    session = chosen(tmp_path, gpu, monkeypatch)
    restored(session)
    monkeypatch.setattr(gpu, "run_counts", lambda tile, _: InCounts(tile.copy(), 0, 1))
    with pytest.raises(InferenceError, match="not finite"):
        restored(session)
