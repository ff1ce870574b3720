"""The choice of a backend: fast, right, remembered."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from live_restore.errors import DeviceError, DeviceMemoryError, RuntimeFailureError
from live_restore.inference.backends.backend import Backend, Limits, ModelSource
from live_restore.inference.backends.session import Floats, Shape5
from live_restore.inference.device import check, measure
from live_restore.inference.device.cache import DeviceCache
from live_restore.inference.device.choice import ChosenSession, DeviceRequest
from live_restore.inference.device.precision import ERROR_BOUND
from live_restore.inference.model.card import ModelCard
from live_restore.testing.fakes import FakeBackend, FakeSession, halve

SOURCE = ModelSource(Path("m.onnx"), b"", "d" * 64)
CARD = ModelCard(name="m")
LARGE: Shape5 = (1, 1, 16, 160, 160)


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_MEASURING_S", 0.03)


def slow_cpu() -> FakeBackend:
    return FakeBackend("cpu", seconds=0.02)


def choose(
    backends: Sequence[Backend],
    folder: Path,
    device: str = "auto",
    card: ModelCard = CARD,
    *,
    reduced: bool = True,
) -> ChosenSession:
    trusted = slow_cpu().open(SOURCE, LARGE, "fp32", 0, Limits())
    device_cache = DeviceCache(folder / "backends.json")
    return ChosenSession(
        SOURCE, card, trusted, DeviceRequest(device, reduced), backends, device_cache
    )


def ran(session: ChosenSession, shape: Shape5 = LARGE) -> str:
    """Run a tile; return where it ran."""
    session.run(np.zeros(shape, np.float32))
    return f"{session.device.name} {session.device.precision}"


def wrong_when_large(tile: Floats) -> Floats:
    """Right for all but large tiles, and there wrong in one corner only."""
    out = halve(tile)
    if tile.size > 200_000:
        out[..., -20:, -20:] *= 0.9
    return out


def test_the_fastest_is_taken_and_the_reason_told(tmp_path: Path) -> None:
    session = choose([FakeBackend("openvino"), slow_cpu()], tmp_path)
    assert ran(session) == "openvino fp32"
    assert "measured on this computer" in session.device.reason
    assert "openvino fp32" in session.device.reason
    assert session.device.mvoxel_per_s > 0
    assert ran(choose([FakeBackend("openvino", seconds=0.1), slow_cpu()], tmp_path / "b")) == (
        "cpu fp32"
    )


def test_a_backend_that_lies_only_at_the_full_tile_size_is_refused_by_name(tmp_path: Path) -> None:
    liar = FakeBackend("cuda", wrong_when_large)
    session = choose([liar, FakeBackend("openvino", seconds=0.005), slow_cpu()], tmp_path)
    assert session.device.name == "cuda", "small tiles are right"
    assert ran(session) == "openvino fp32"
    assert "cuda fp32 is not used: it computes wrong numbers" in session.device.warning
    assert "16 x 160 x 160" in session.device.warning
    for shape in ((1, 1, 16, 64, 64), (1, 1, 16, 170, 160)):
        assert ran(session, shape) == "openvino fp32", "nor is it believed for other shapes"


def test_a_liar_that_was_asked_for_by_name_is_an_error(tmp_path: Path) -> None:
    liar = FakeBackend("cuda", lambda tile: tile * 0.49)
    with pytest.raises(DeviceError, match="cuda fp32: it computes wrong numbers"):
        choose([liar, slow_cpu()], tmp_path, "cuda")
    assert choose([liar, slow_cpu()], tmp_path).device.name == "cpu"


def test_a_device_that_nobody_has_measured_is_taken_by_its_name_only(tmp_path: Path) -> None:
    kernels = FakeBackend("cuda-kernels", precisions=("fp16",))
    assert choose([kernels, slow_cpu()], tmp_path).device.name == "cpu"
    assert choose([kernels, slow_cpu()], tmp_path, "cuda-kernels").device.name == "cuda-kernels"
    with pytest.raises(DeviceError, match="fp16 is less than the settings allow"):
        choose([kernels, slow_cpu()], tmp_path, "cuda-kernels", reduced=False)
    half = ModelCard(name="m", precision="fp16")
    with pytest.raises(DeviceError, match="the model itself is in fp16"):
        choose([kernels, slow_cpu()], tmp_path, "cuda-kernels", half)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_wrong(tmp_path: Path, bad: float) -> None:
    def spoil(tile: Floats) -> Floats:
        out = halve(tile)
        out[..., -1] = bad
        return out

    assert choose([FakeBackend("cuda", spoil), slow_cpu()], tmp_path).device.name == "cpu"


def test_a_gpu_is_measured_with_tiles_that_take_it_longer_than_to_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "_LARGE_VOXELS", 16 * 160 * 96)
    gpu, cpu = FakeBackend("cuda", precisions=("fp32", "tf32")), slow_cpu()
    ran(choose([gpu, cpu], tmp_path))
    shapes = {shape for shape, _ in gpu.opened}
    assert (1, 1, 16, 96, 160) in shapes, "rows of the stack, as many as are enough"
    assert {shape for shape, _ in cpu.opened} <= {LARGE, (1, 1, 16, 64, 64)}


def test_a_gpu_without_memory_for_that_is_measured_with_small_ones(tmp_path: Path) -> None:
    def small_memory(tile: Floats) -> Floats:
        if tile.size > 16 * 64 * 64:
            raise DeviceMemoryError("out of memory")
        return halve(tile)

    session = choose([FakeBackend("cuda", small_memory), slow_cpu()], tmp_path)
    with pytest.raises(DeviceMemoryError):
        ran(session)  # whoever asked takes smaller tiles
    assert ran(session, (1, 1, 16, 64, 64)) == "cuda fp32"
    assert "cuda fp32" in session.device.reason


def test_what_was_measured_is_remembered(tmp_path: Path) -> None:
    first = FakeBackend("openvino")
    choose([first, slow_cpu()], tmp_path)
    again, cpu = FakeBackend("openvino", seconds=0.1), slow_cpu()
    # Though it has become slower: nobody looks again, until a runtime or the model changes.
    assert ran(choose([again, cpu], tmp_path)) == "openvino fp32"
    newer = FakeBackend("openvino", seconds=0.1)
    newer.version = lambda: "openvino 2.0"  # type: ignore[method-assign]
    assert ran(choose([newer, cpu], tmp_path)) == "cpu fp32"


def test_the_right_answer_is_computed_once(tmp_path: Path) -> None:
    asked = []
    trusted = FakeBackend("cpu").open(SOURCE, LARGE, "fp32", 0, Limits())
    trusted.function = lambda tile: asked.append(tile.shape) or halve(tile)  # type: ignore[func-returns-value]
    for _ in range(2):
        device_cache = DeviceCache(tmp_path / "backends.json")
        backends = [FakeBackend("openvino")]
        request = DeviceRequest("openvino")
        ran(ChosenSession(SOURCE, CARD, trusted, request, backends, device_cache))
    assert len(asked) == len(set(asked)) == 2, "one small tile, one for the large one"


@pytest.mark.parametrize("content", ["", "[]", '{"x": 1}', "\0", "[" * 100_000])
def test_a_damaged_memory_is_measured_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "backends.json").write_text(content)
    assert choose([FakeBackend("openvino"), slow_cpu()], tmp_path).device.name == "openvino"
    table = json.loads((tmp_path / "backends.json").read_text())
    assert any("openvino" in key for key in table)
    for entry in table.values():
        entry["mvoxel_per_s"] = {"cpu fp32": "fast"}
    (tmp_path / "backends.json").write_text(json.dumps(table))
    assert choose([FakeBackend("openvino"), slow_cpu()], tmp_path).device.name == "openvino"


def test_a_disk_that_refuses_costs_a_measurement_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    session = choose([FakeBackend("openvino"), slow_cpu()], tmp_path / "file")
    assert ran(session) == "openvino fp32"


def reduced_backend(error: float) -> FakeBackend:
    noise = np.random.default_rng(1)

    def rounded(tile: Floats) -> Floats:
        out = halve(tile)
        spread = np.float32(error * float(out.std()))
        return out + spread * noise.standard_normal(out.shape, dtype=np.float32)

    return FakeBackend("openvino", rounded, precisions=("bf16",))


@pytest.mark.parametrize(("error", "used"), [(0.5 * ERROR_BOUND, True), (1.2 * ERROR_BOUND, False)])
def test_reduced_precision_only_far_below_the_noise(
    tmp_path: Path, error: float, used: bool
) -> None:
    """Also without a record in the card: the error is then the one measured here."""
    session = choose([reduced_backend(error), slow_cpu()], tmp_path)
    assert (session.device.precision == "bf16") is used


def test_tf32_does_not_go_by_the_name_of_float32(tmp_path: Path) -> None:
    """Where no other kernel exists ONNX Runtime takes TF32 unasked; its error gives it away."""
    noise = np.random.default_rng(1)

    def rounded(tile: Floats) -> Floats:
        out = halve(tile)
        spread = np.float32(3e-4 * float(out.std()))
        return out + spread * noise.standard_normal(out.shape, dtype=np.float32)

    found = choose([FakeBackend("cuda", rounded), slow_cpu()], tmp_path, "cuda")
    assert found.device.precision == "tf32"
    exact = choose([FakeBackend("cuda", rounded), slow_cpu()], tmp_path, reduced=False)
    assert exact.device.name == "cpu"
    assert "cuda fp32 is not used: it computes wrong numbers" in exact.device.warning
    right = choose([FakeBackend("cuda"), slow_cpu()], tmp_path / "right", "cuda", reduced=False)
    assert right.device.precision == "fp32"


def test_the_card_can_forbid_reduced_precision(tmp_path: Path) -> None:
    for recorded, expected in ((0.004, "bf16"), (0.03, "fp32"), (float("nan"), "fp32")):
        metrics = {"precision_errors": {"bf16": {"relative_rms": recorded}}}
        card = ModelCard(name="m", metrics=metrics)
        found = choose([reduced_backend(0.0), slow_cpu()], tmp_path, card=card)
        assert found.device.precision == expected


def test_the_settings_can_forbid_reduced_precision(tmp_path: Path) -> None:
    found = choose([reduced_backend(0.0), slow_cpu()], tmp_path, reduced=False)
    assert found.device.precision == "fp32"


def test_a_backend_that_cannot_be_opened_is_passed_over(tmp_path: Path) -> None:
    class Broken(FakeBackend):
        def open(self, *_: object) -> FakeSession:
            raise DeviceError("its library is missing")

    session = choose([Broken("cuda"), slow_cpu()], tmp_path)
    assert session.device.name == "cpu"
    assert session.device.warning == "running on the CPU: its library is missing"
    with pytest.raises(DeviceError, match="its library is missing"):
        choose([Broken("cuda"), slow_cpu()], tmp_path, "cuda")


class Fragile(FakeBackend):
    """One that a test breaks, for all tiles or for large ones."""

    def __init__(self, name: str) -> None:
        super().__init__(name, self._maybe)
        self.broken_from: float = np.inf

    def _maybe(self, tile: Floats) -> Floats:
        if tile.size >= self.broken_from:
            raise RuntimeFailureError("broke")
        return halve(tile)


def test_a_failure_on_the_way_is_not_swallowed(tmp_path: Path) -> None:
    backend = Fragile("openvino")
    session = choose([backend, slow_cpu()], tmp_path)
    ran(session)
    backend.broken_from = 200_000
    with pytest.raises(RuntimeFailureError, match="broke"):
        ran(session)
    backend.broken_from = np.inf
    assert ran(session) == "openvino fp32"


def test_a_device_that_is_lost_is_told_and_the_next_one_takes_over(tmp_path: Path) -> None:
    backend = Fragile("cuda")
    session = choose([backend, slow_cpu()], tmp_path)
    assert ran(session) == "cuda fp32"
    backend.broken_from = 0
    assert ran(session) == "cpu fp32"
    assert "cuda fp32 is not used: it failed (broke)" in session.device.warning
    assert "running on the CPU" in session.device.warning


def test_a_device_that_was_asked_for_by_name_may_come_back(tmp_path: Path) -> None:
    backend = Fragile("cuda")
    session = choose([backend, slow_cpu()], tmp_path, "cuda")
    backend.broken_from = 0
    with pytest.raises(RuntimeFailureError, match="broke"):
        ran(session, check.small_shape(CARD))
    backend.broken_from = np.inf
    assert ran(session, check.small_shape(CARD)) == "cuda fp32"


def test_too_little_memory_at_full_size_does_not_change_the_device(tmp_path: Path) -> None:
    def full(tile: Floats) -> Floats:
        if tile.size > 200_000:
            raise DeviceMemoryError("out of memory")
        return halve(tile)

    session = choose([FakeBackend("cuda", full), slow_cpu()], tmp_path)
    with pytest.raises(DeviceMemoryError):
        ran(session)
    assert ran(session, (1, 1, 8, 100, 100)) == "cuda fp32"


def test_a_gpu_that_is_full_at_the_start_is_told_whatever_was_measured_before(
    tmp_path: Path,
) -> None:
    class Full(FakeBackend):
        def open(self, *_: object) -> FakeSession:
            raise DeviceMemoryError("a device has too little memory to open the model")

    for device in ("auto", "cuda"):
        choose([FakeBackend("cuda"), slow_cpu()], tmp_path, device)
    found = choose([Full("cuda"), slow_cpu()], tmp_path)
    assert found.device.name == "cpu"
    assert "running on the CPU: a device has too little memory" in found.device.warning
    with pytest.raises(DeviceError, match="too little memory to open the model"):
        choose([Full("cuda"), slow_cpu()], tmp_path, "cuda")


def test_sessions_of_many_shapes_do_not_pile_up(tmp_path: Path) -> None:
    backend = FakeBackend("openvino")
    session = choose([backend, slow_cpu()], tmp_path)
    for size in range(20, 30):
        ran(session, (1, 1, 4, size, size))
    assert len(session._kept) == 4
    before = len(backend.opened)
    ran(session, (1, 1, 4, 29, 29))
    assert len(backend.opened) == before, "the last shape is still warm"


def test_a_session_runs_one_tile_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def run(tile: Floats) -> Floats:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.005)
        inside.pop()
        return halve(tile)

    session = choose([FakeBackend("openvino", run)], tmp_path)
    tile = np.zeros((1, 1, 16, 64, 64), np.float32)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(session.run, [tile] * 8))
    assert max(most) == 1
