"""Sessions that hold a GPU's memory: few are kept, and none outlives its use."""

from __future__ import annotations

import collections
import gc
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live_restore.errors import DeviceMemoryError, ModelError
from live_restore.inference.backends import onnx_cuda
from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.onnx import CPU, create
from live_restore.inference.backends.session import Device, Floats, Shape5
from live_restore.inference.device import forms, measure
from live_restore.inference.device.cache import DeviceCache
from live_restore.inference.device.choice import ChosenSession, DeviceRequest
from live_restore.inference.device.kept import MOST
from live_restore.inference.load import bundled_models, load_trusted
from live_restore.inference.model.card import ModelCard
from live_restore.testing.fakes import FakeBackend, FakeFormsBackend, FakeSession, halve

SOURCE = ModelSource(Path("m.onnx"), b"", "d" * 64)


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_MEASURING_S", 0.001)
    monkeypatch.setattr(forms, "_MEASURING_S", 0.0)
    monkeypatch.setattr(forms, "_TILES_ZYX", ((16, 64, 64), (16, 64, 64)))


class Card(FakeBackend):
    """A GPU whose memory holds what was recorded for so many voxels."""

    def __init__(self, voxels: float = np.inf) -> None:
        super().__init__("cuda", precisions=("fp16",))
        self.voxels = voxels
        self.most = 0
        self.alive: weakref.WeakSet[Recorded] = weakref.WeakSet()
        self.of_shape: collections.Counter[Shape5] = collections.Counter()

    def open(self, _: Any, shape: Shape5, precision: str, *rest: Any) -> FakeSession:
        del rest
        self.of_shape[shape] += 1
        session = Recorded(self, shape)
        session.device = Device("cuda", "cuda", "fake", precision=precision, on_gpu=True)
        self.alive.add(session)
        return session


class Recorded(FakeSession):
    """A session that records a graph in its first run, and holds memory for it from then on."""

    def __init__(self, card: Card, shape: Shape5) -> None:
        super().__init__()
        self.card, self.voxels, self.recorded = card, int(np.prod(shape)), False

    def run(self, tile: Floats) -> Floats:
        if not self.recorded:
            held = sum(each.voxels for each in self.card.alive if each.recorded)
            if held + self.voxels > self.card.voxels:
                raise DeviceMemoryError("CUDA failure 2: out of memory")
            self.card.most = max(self.card.most, held + self.voxels)
            self.recorded = True
        return halve(tile)


def chosen(folder: Path, card: Card) -> ChosenSession:
    trusted = FakeBackend("cpu").open(SOURCE, (1, 1, 1, 1, 1), "fp32", 0, Limits())
    return ChosenSession(
        SOURCE,
        ModelCard(name="m"),
        trusted,
        DeviceRequest("cuda"),
        [FakeFormsBackend("cuda", {"graph": card}, 0.03)],
        DeviceCache(folder / "backends.json"),
    )


def shape_of(size: int) -> Shape5:
    return (1, 1, 16, 64, size)


def run(session: ChosenSession, size: int) -> str:
    session.run(np.zeros(shape_of(size), np.float32))
    return session.device.form


def test_of_thirty_shapes_few_are_kept_and_the_one_that_returns_is_recorded_once(
    tmp_path: Path,
) -> None:
    card = Card()
    session = chosen(tmp_path, card)
    assert run(session, 300) == "graph"
    opened = card.of_shape[shape_of(300)]
    for size in range(70, 100):
        run(session, size)
        run(session, 300)
        assert len(session._kept) <= MOST
    gc.collect()
    assert len(card.alive) <= MOST
    assert card.of_shape[shape_of(300)] == opened, "it was never let go"
    least = min(card.of_shape[shape_of(size)] for size in range(70, 100))
    assert {card.of_shape[shape_of(size)] for size in range(70, 100)} == {least}
    assert least <= 2, "once to be measured, once to be used"


def test_recorded_sessions_of_other_shapes_are_let_go_where_memory_runs_out(
    tmp_path: Path,
) -> None:
    card = Card(voxels=int(np.prod(shape_of(300))) * 1.5)
    session = chosen(tmp_path, card)
    for size in (300, 280, 290, 300, 280):
        assert run(session, size) == "graph", "one after the other they fit"
    assert card.most <= card.voxels


def test_a_tile_that_fits_no_more_is_run_once_more_and_then_told(tmp_path: Path) -> None:
    card = Card()
    session = chosen(tmp_path, card)

    def memory_is_taken_by_others() -> None:
        for each in card.alive:
            each.run = out_of_memory  # type: ignore[method-assign]

    assert run(session, 200) == "graph"
    assert len(session._kept) == 2, "that of the start, too"
    memory_is_taken_by_others()
    assert run(session, 200) == "graph", "once more, when the other one was let go"
    memory_is_taken_by_others()
    with pytest.raises(DeviceMemoryError):
        run(session, 200)
    gc.collect()
    assert not card.alive, "all memory is for smaller tiles"


def out_of_memory(_: Floats) -> Floats:
    raise DeviceMemoryError("CUDA failure 2: out of memory")


def test_a_form_that_was_refused_holds_no_memory(tmp_path: Path) -> None:
    card = Card(voxels=int(np.prod(shape_of(100))))
    session = chosen(tmp_path, card)
    assert run(session, 64) == "graph"
    gc.disable()  # what a cycle holds is held until somebody looks
    try:
        assert run(session, 200) == "", "the ordinary way"
        assert {each.voxels for each in card.alive} <= {int(np.prod(shape_of(64)))}
    finally:
        gc.enable()
    assert "out of memory" in session.device.reason
    assert run(session, 64) == "graph"


class Failing:
    """A runtime's session or binding, of which one method fails."""

    def __init__(self, inner: Any, name: str, error: BaseException) -> None:
        self._inner, self._name, self._error = inner, name, error

    def __getattr__(self, name: str) -> Any:
        if name == self._name:
            return self._fail
        return getattr(self._inner, name)

    def _fail(self, *_: object, **__: object) -> None:
        raise self._error


OUT_OF_MEMORY = [
    MemoryError(),
    RuntimeError("CUDA failure 2: out of memory ; GPU=0 ; hostname=pc"),
    RuntimeError("Failed to allocate memory for requested buffer of size 1073741824"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["host", "card", "arena"])
@pytest.mark.parametrize("in_counts", [False, True])
def test_memory_that_runs_out_on_a_card_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, in_counts: bool
) -> None:
    monkeypatch.setattr(onnx_cuda, "create", lambda of, _, limits, **rest: create(
        of, [CPU], limits, **rest))  # fmt: skip
    monkeypatch.setattr(onnx_cuda, "_PROVIDER", CPU)
    monkeypatch.setattr(onnx_cuda, "_MEMORY", "cpu")
    source, _, _ = load_trusted(bundled_models()["fast"], Limits(1))
    shape: Shape5 = (1, 1, 4, 16, 16)
    backend: Any = next(f.backend for f in onnx_cuda.OnnxCuda().forms() if "graph" in f.name)
    opened = backend.open_counts if in_counts else backend.open
    session = opened(source, shape, "fp32", 0, Limits(1))
    counts, tile = np.zeros(shape, np.uint16), np.zeros(shape, np.float32)
    scale = (np.float32(0), np.float32(1), np.float32(1))
    run_it = partial(session.run_counts, counts, scale) if in_counts else partial(session.run, tile)
    for name in ("run_with_iobinding", "copy_outputs_to_cpu"):
        part = "_session" if name.startswith("run") else "_binding"
        inner = getattr(session, part)
        setattr(session, part, Failing(inner, name, error))
        with pytest.raises(DeviceMemoryError, match="set a smaller"):
            run_it()
        setattr(session, part, inner)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["host", "card", "arena"])
def test_memory_that_runs_out_while_a_model_is_opened_says_nothing_about_the_model(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    import onnxruntime

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(onnxruntime, "InferenceSession", fails)
    with pytest.raises(DeviceMemoryError, match="too little memory"):
        create(SOURCE, [("CUDAExecutionProvider", {}), CPU], Limits(1))
    with pytest.raises(ModelError):
        create(SOURCE, [CPU], Limits(1))
